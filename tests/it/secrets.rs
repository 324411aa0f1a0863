//! Secrets of workflows on a host that serves: what no file, page or record holds, and what only
//! the bound host gets.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::support::host::{Host, Workflow};
use crate::support::http::Request;
use crate::support::python;
use crate::support::python_host::SecureServer;
use crate::support::wait;

const PLANTED: usize = 100;

/// A host with the Python runtime, and a server with TLS that it trusts.
struct World {
    host: Host,
    secure: SecureServer,
}

impl World {
    fn start() -> Self {
        let secure = SecureServer::start();
        let host = Host::with(&[
            ("egress.allow_private", "127.0.0.1"),
            ("egress.ca_file", secure.ca_file.to_str().unwrap()),
            ("run.log_bytes_max", "1048576"),
        ]);
        let installed =
            host.request("PUT", "/api/v1/runtimes/python").body("application/wasm", python::runtime());
        installed.send(host.api).expect(201);
        Self { host, secure }
    }

    fn queue_figure(&self, name: &str) -> u64 {
        let health = self.host.get("/metrics").expect(200).text();
        let line = format!("tidegate_queue_{name} ");
        let line = health.lines().find_map(|found| found.strip_prefix(&line)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no tidegate_queue_{name} in {health}")).parse().unwrap()
    }

    fn deploy(&self, name: &str, source: &str) -> Workflow {
        let workflow = self.host.create(&json!({ "name": name, "kind": "catch" }));
        self.host.upload(name, "text/x-python", source.as_bytes()).expect(201);
        workflow
    }
}

/// The forms in which a secret is looked for: made here, so that the host's own list is checked.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let mut forms = vec![
        value.to_owned(),
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
        form_urlencoded::byte_serialize(bytes).collect(),
        serde_json::to_string(value).unwrap().trim_matches('"').to_owned(),
        value.chars().rev().collect(),
    ];
    for before in ["", "a", "ab"] {
        let shifted = format!("{before}{value}");
        for text in [BASE64.encode(shifted.as_bytes()), BASE64URL_NOPAD.encode(shifted.as_bytes())] {
            // Without what neighbours take part in.
            forms.push(text[4.min(before.len() * 4)..text.trim_end_matches('=').len() - 2].to_owned());
        }
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn planted() -> Vec<String> {
    (0..PLANTED).map(|n| format!("s3c&r+t/{:032x}~{n:03}", rand::random::<u128>())).collect()
}

const PRINTS: &str = r#"
import base64, json, logging, sys, urllib.parse


def workflow(_request, settings):
    names = [name for name in settings if name.startswith("KEY_")]
    for name in names:
        value = settings[name]
        data = value.encode()
        sys.stdout.write("in pieces " + value[:9])
        sys.stdout.flush()
        print(value[9:])
        for before in (b"", b"a", b"ab"):
            print(base64.b64encode(before + data).decode(), base64.urlsafe_b64encode(before + data).decode())
        print(data.hex(), data.hex().upper(), urllib.parse.quote(value), urllib.parse.quote_plus(value))
        logging.warning("json %s", json.dumps({name: value}))
        print(value[::-1], file=sys.stderr)
    if _request.get("fail"):
        raise ValueError("cannot use " + settings["KEY_0"])
    return dict(status_code=200, body=json.dumps({"first": settings["KEY_0"]}), headers={"x-key": settings["KEY_1"]})
"#;

const SENDS: &str = r#"
import base64, json, requests
from hrflow import Hrflow


def workflow(_request, settings):
    key, url = settings["KEY"], settings["URL"]
    print("the code has", key)
    told = requests.post(
        url + "/digests?key=" + key, json={"key": key}, headers={"X-API-KEY": key, "Authorization": "Bearer " + key}
    )
    basic = requests.get(url + "/digests", auth=("me", key)).json()
    packed = None
    try:
        requests.get(url + "/gzip", headers={"X-API-KEY": key})
    except requests.exceptions.RequestException as error:
        packed = type(error).__name__
    hrflow = Hrflow(api_secret=key, api_user="me@example.org", api_url=url + "/v1/")
    answer = hrflow.profile.indexing.get(source_key="s", key="k")
    saved = None
    try:
        settings["COPY"] = key
        settings.save()
    except Exception as error:
        saved = str(error)
        del settings["COPY"]
    body = {"told": told.json(), "basic": basic, "packed": packed, "key": key, "hrflow": answer, "saved": saved}
    return dict(status_code=200, body=json.dumps(body))
"#;

#[test]
fn secrets_stay_where_they_are() {
    let world = World::start();
    nothing_that_is_kept_or_shown_holds_a_secret(&world.host, &world);
    only_the_bound_host_gets_a_sealed_value(&world);
}

fn nothing_that_is_kept_or_shown_holds_a_secret(host: &Host, world: &World) {
    let workflow = world.deploy("prints", PRINTS);
    let secrets = planted();
    let patch: Value =
        secrets.iter().enumerate().map(|(n, value)| (format!("KEY_{n}"), json!(value))).collect();
    let path = "/api/v1/workflows/prints/settings";
    let answered = host.tell("PATCH", path, &patch).expect(200);
    let mut pages = vec![("the answer to a change", answered.text())];
    let body = json!({ "echo": secrets[2], "fail": false });
    let request = || {
        Request::new("POST", &format!("{}?token={}", workflow.path, secrets[3]))
            .header("x-secret", &secrets[4])
    };
    // Its caller gets what the code wanted it to have.
    let reply = request().json(&body).send(host.catch).expect(200);
    assert_eq!(reply.json()["first"], json!(secrets[0]));
    assert_eq!(reply.header("x-key"), Some(secrets[1].as_str()));
    let failed = request().json(&json!({ "fail": true })).send(host.catch).expect(502);
    for reply in [&reply, &failed] {
        let run = reply.header("tidegate-run").unwrap().to_owned();
        pages.push(("a run", host.get(&format!("/api/v1/runs/{run}")).expect(200).text()));
        pages.push(("a log", host.get(&format!("/api/v1/runs/{run}/log")).expect(200).text()));
    }
    pages.push(("the runs", host.get("/api/v1/workflows/prints/runs").expect(200).text()));
    pages.push(("the settings", host.get(path).expect(200).text()));
    pages.push(("the workflow", host.get("/api/v1/workflows/prints").expect(200).text()));
    pages.push(("the metrics", host.get("/metrics").text()));
    let run = &pages[1].1;
    assert!(
        run.contains("[masked KEY_2]") && run.contains("[masked KEY_3]") && run.contains("[masked KEY_4]"),
        "{run}"
    );
    assert!(pages[3].1.contains("cannot use [masked KEY_0]"), "{}", pages[3].1);
    assert!(pages[2].1.contains("in pieces [masked KEY_99]"));
    // A replay has what the record has.
    let id = reply.header("tidegate-run").unwrap().to_owned();
    pages.push((
        "a replay",
        host.tell("POST", &format!("/api/v1/runs/{id}/replay"), &Value::Null).expect(200).text(),
    ));

    let waiting = work_that_waits(host, &workflow, &secrets);
    assert_eq!(world.queue_figure("waiting"), 1);
    for run in waiting {
        pages.push(("a run that waits", host.get(&format!("/api/v1/runs/{run}")).expect(200).text()));
    }
    pages.push(("the dead letters", host.get("/api/v1/dead").expect(200).text()));
    pages.push(("the metrics then", host.get("/metrics").text()));
    let console = pages_of_console(host);

    let backup = tempfile::tempdir().unwrap();
    let folder = backup.path().join("backup");
    let ended = host.command(&["backup", folder.to_str().unwrap()]).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let rotated = host.command(&["key", "rotate", "--json"]).output().unwrap();
    let rotated: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    assert_eq!((&rotated["keys"][0]["current"], &rotated["keys"][0]["workflows"]), (&json!(true), &json!(1)));
    assert_eq!(request().json(&body).send(host.catch).expect(200).json()["first"], json!(secrets[0]));

    let mut kept = Vec::new();
    files(host.data(), &mut kept);
    files(&folder, &mut kept);
    assert!(kept.len() > 10, "{kept:?}");
    let kept = kept.iter().filter_map(|path| Some((path.display().to_string(), std::fs::read(path).ok()?)));
    assert!(kept.clone().any(|(path, _)| path.contains("/queue/")), "the waiting events are among them");
    let pages = pages.into_iter().map(|(name, text)| (name.to_owned(), text)).chain(console);
    let pages = pages.map(|(name, text)| (name, text.into_bytes()));
    let all: Vec<(String, Vec<u8>)> = kept.chain(pages).filter(|(_, bytes)| bytes.len() < 16 << 20).collect();
    for (name, bytes) in &all {
        // What all have in common is looked for first: most files hold nothing like it.
        for secret in &secrets {
            // The random middle stands in most forms as it is.
            let middle = &secret.as_bytes()[8..40];
            assert!(!holds(bytes, middle), "{name} holds {secret}");
        }
    }
    for secret in [&secrets[0], &secrets[2], &secrets[50], &secrets[99]] {
        for form in forms(secret) {
            for (name, bytes) in &all {
                assert!(!holds(bytes, &form), "{name} holds {}", String::from_utf8_lossy(&form));
            }
        }
    }
}

/// Has a dead letter and an event that waits for its next attempt, both of requests with
/// secrets wherever one can stand. Returns the runs of the attempts that are known.
fn work_that_waits(host: &Host, workflow: &Workflow, secrets: &[String]) -> Vec<String> {
    let path = format!("/api/v1/workflows/{}", workflow.name);
    let endpoint = json!({ "endpoint": { "callback_hosts": ["hooks.example"] } });
    host.tell("PATCH", &path, &endpoint).expect(200);
    let mut events = Vec::new();
    for attempts in [1, 2] {
        let retry = json!({ "attempts": attempts, "backoff_ms": 3_600_000, "backoff_max_ms": 3_600_000 });
        host.tell("PATCH", &path, &json!({ "retry": retry })).expect(200);
        let query: String = form_urlencoded::byte_serialize(secrets[5].as_bytes()).collect();
        let reply = Request::new("POST", &format!("{}?token={query}", workflow.path))
            .header("prefer", "respond-async")
            .header("tidegate-callback", &format!("https://hooks.example/?token={query}"))
            .header("x-secret", &secrets[6])
            .json(&json!({ "fail": true, "echo": secrets[7], "again": secrets }))
            .send(host.catch)
            .expect(202);
        let event = reply.field("run");
        wait::until("the first attempt's end", || {
            let run = host.get(&format!("/api/v1/runs/{event}")).expect(200).json();
            run["status"] == "failed"
        });
        events.push(event);
    }
    let next = wait::for_some("the attempt that waits", || {
        host.runs(workflow).into_iter().find(|run| run["status"] == "queued")
    });
    events.push(next["id"].as_str().unwrap().to_owned());
    events
}

/// Every page of the console, with those that it leads to.
fn pages_of_console(host: &Host) -> Vec<(String, String)> {
    let admin = json!({ "login": "looks", "password": "correct horse battery", "role": "admin" });
    host.tell("POST", "/api/v1/users", &admin).expect(201);
    let signed_in = Request::new("POST", "/sign-in")
        .header("sec-fetch-site", "same-origin")
        .body("application/x-www-form-urlencoded", "login=looks&password=correct+horse+battery")
        .send(host.api)
        .expect(303);
    let cookie = signed_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut pages: BTreeMap<String, String> = BTreeMap::new();
    let mut next = vec!["/workflows".to_owned(), "/schedule-preview?every=1h".to_owned()];
    while let Some(path) = next.pop() {
        let route = path.split('?').next().unwrap();
        // Streams have no end; what is static is in the repository.
        if pages.contains_key(&path) || route.ends_with("/events") || route.starts_with("/static/") {
            continue;
        }
        let page = Request::new("GET", &path).header("accept", "text/html").header("cookie", &cookie);
        let text = page.send(host.api).text();
        for attribute in [" href=\"", " hx-get=\""] {
            for part in text.split(attribute).skip(1) {
                let link = part.split(['"', '#']).next().unwrap().replace("&amp;", "&");
                if link.starts_with('/') && !link.starts_with("/api/") {
                    next.push(link);
                }
            }
        }
        pages.insert(path, text);
    }
    // Who is signed in is led on from there.
    let sign_in = Request::new("GET", "/sign-in").header("accept", "text/html").send(host.api);
    pages.insert("/sign-in".to_owned(), sign_in.expect(200).text());
    // Each route that shows a page was seen.
    let routes = include_str!("../../host/src/server/console/mod.rs").split(".route(\"").skip(1);
    for route in routes.filter(|route| route.lines().next().unwrap().contains("get(")) {
        let route = route.split('"').next().unwrap();
        let is_page = !route.ends_with("/events") && !route.starts_with("/static/");
        let fits = |path: &String| {
            let path = path.split('?').next().unwrap();
            path.split('/').count() == route.split('/').count()
                && path
                    .split('/')
                    .zip(route.split('/'))
                    .all(|(own, named)| named.starts_with('{') || own == named)
        };
        assert!(!is_page || pages.keys().any(fits), "{route} is not among {:?}", pages.keys());
    }
    pages.into_iter().map(|(path, text)| (format!("the console's page {path}"), text)).collect()
}

fn only_the_bound_host_gets_a_sealed_value(world: &World) {
    let host = &world.host;
    let workflow = world.deploy("sends", SENDS);
    let (value, url) = ("sk_live_4242424242", format!("https://127.0.0.1:{}", world.secure.server.port));
    let settings = "/api/v1/workflows/sends/settings";
    host.tell("PATCH", &format!("{settings}?visibility=plain"), &json!({ "URL": url })).expect(200);
    let seal = json!({ "hosts": [format!("127.0.0.1:{}", world.secure.server.port)] });
    host.tell("PUT", &format!("{settings}/KEY"), &json!({ "value": value, "seal": seal })).expect(200);
    let reply = host.call(&workflow, &json!({})).expect(200);
    let text = reply.text();
    assert!(!text.contains("sk_live") && !text.contains(&BASE64.encode(b"sk_live_")[..8]), "{text}");
    let told = reply.json();
    let key = told["key"].as_str().unwrap();
    assert!(key.starts_with("sealed_") && key.len() == 39, "{key}");
    let digest = |text: &str| json!(HEXLOWER.encode(&sha2::Sha256::digest(text.as_bytes())));
    let digests = &told["told"]["digests"];
    assert_eq!((&digests["header"], &digests["query"]), (&digest(value), &digest(value)));
    assert_eq!(digests["authorization"], digest(&format!("Bearer {value}")));
    assert_eq!(digests["body"], digest(&json!({ "key": value }).to_string().replace("\":\"", "\": \"")));
    assert_eq!(told["told"]["echo"]["header"], json!(key));
    let basic = BASE64.encode(format!("me:{value}").as_bytes());
    assert_eq!(told["basic"]["digests"]["authorization"], digest(&format!("Basic {basic}")));
    assert!(told["packed"].is_string(), "{}", told["packed"]);
    assert_eq!(told["hrflow"]["data"]["key"], json!(key), "the echo of what hrflow sent");
    assert!(told["saved"].as_str().unwrap().contains("for this run only"), "{}", told["saved"]);

    let run = reply.header("tidegate-run").unwrap().to_owned();
    let run = host.get(&format!("/api/v1/runs/{run}")).expect(200).json();
    assert_eq!(run["exchanges"][0]["sealed"], json!([{ "name": "KEY" }]));
    assert!(!run.to_string().contains("sk_live"));
    // Another run has another placeholder; another host gets it, and the record says so.
    let other = json!({ "hosts": ["api.example"], });
    host.tell("PUT", &format!("{settings}/KEY"), &json!({ "value": value, "seal": other })).expect(200);
    let reply = host.call(&workflow, &json!({})).expect(200);
    let told = reply.json();
    assert_ne!(told["key"], json!(key));
    assert_eq!(told["told"]["digests"]["header"], digest(told["key"].as_str().unwrap()));
    let run = reply.header("tidegate-run").unwrap().to_owned();
    let log = host.get(&format!("/api/v1/runs/{run}/log")).expect(200).text();
    assert!(log.contains("the placeholder of the sealed setting KEY was left as it is"), "{log}");
}

#[test]
fn a_host_has_no_core_dumps_and_needs_its_key() {
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let mut host = Host::with(&[("keys.file", &path("one.key"))]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", host.pid())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    let before = host.command(&["key", "status", "--json"]).output().unwrap();
    let before: Value = serde_json::from_slice(&before.stdout).unwrap();
    host.create(&json!({ "name": "keyed", "kind": "pull" }));
    host.tell("PATCH", "/api/v1/workflows/keyed/settings", &json!({ "A": "1" })).expect(200);
    host.kill_and_restart();
    host.terminate();
    host.wait();
    let serve = |key: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(host.data())
            .env("TIDEGATE_KEYS__FILE", key);
        command.env_remove("TIDEGATE_DATA").output().unwrap()
    };
    crash_leaves_no_copy(&files.path().join("crashed"));
    let missing = serve(&path("two.key"));
    let text = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(64), "{text}");
    assert!(text.contains("two.key does not exist") && text.contains("hint: "), "{text}");
    let other = Host::with(&[("keys.file", &path("two.key"))]);
    drop(other);
    let wrong = serve(&path("two.key"));
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && text.contains(before["keys"][0]["id"].as_str().unwrap()), "{text}");
}

/// A host that crashes leaves no copy of its memory behind.
fn crash_leaves_no_copy(data: &Path) {
    use rustix::process::{Pid, Signal, kill_process};
    let mut host = Host::on_folder(data, &[]);
    kill_process(Pid::from_raw(host.pid() as i32).unwrap(), Signal::ABORT).unwrap();
    let end = host.wait();
    assert_eq!((end.signal(), end.core_dumped()), (Some(Signal::ABORT.as_raw()), false));
}
