//! The console over plain HTTP: who may see which page, which headers pages leave with,
//! where their links lead, how large they are. How it looks and works in a browser is
//! `tests/browser`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::guests;
use crate::support::host::CONFIG_HOME;
use crate::support::http::{Reply, Request};

/// A host with the link that its first start printed.
struct Host {
    child: Child,
    _data: TempDir,
    address: SocketAddr,
    token: String,
    link: String,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who looks at pages.
struct Browser<'a> {
    host: &'a Host,
    cookie: Option<String>,
}

impl Host {
    fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEGATE_")) {
            command.env_remove(name);
        }
        command.env("XDG_CONFIG_HOME", CONFIG_HOME);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut said = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
        let said = said.next().expect("serve says where it listens").unwrap();
        let url = said["url"].as_str().unwrap().to_owned();
        let token = std::fs::read_to_string(data.path().join("admin.token")).unwrap().trim().to_owned();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let link = said["sign_in_url"].as_str().unwrap().strip_prefix(&url).unwrap().to_owned();
        Self { child, _data: data, address, token, link }
    }

    fn api(&self, method: &str, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        Request::new(method, path).header("authorization", &bearer).json(body).send(self.address)
    }

    /// A new version of the workflow `hello`.
    fn upload(&self, guest: &str) {
        let bearer = format!("Bearer {}", self.token);
        Request::new("POST", "/api/v1/workflows/hello/versions")
            .header("authorization", &bearer)
            .body("application/wasm", guests::component(guest))
            .send(self.address)
            .expect(201);
    }

    /// A browser without a session.
    fn stranger(&self) -> Browser<'_> {
        Browser { host: self, cookie: None }
    }

    /// A browser that used a one-time link.
    fn signed_in(&self, link: &str) -> Browser<'_> {
        let mut browser = self.stranger();
        let secret = link.split_once("link=").unwrap().1;
        let reply = browser.post("/sign-in", &[("link", secret)]).expect(303);
        let cookie = reply.header("set-cookie").unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        browser.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        browser
    }

    /// The first admin's browser, with a catch that has run and a pull.
    fn with_workflows(&self) -> Browser<'_> {
        self.api("POST", "/api/v1/workflows", &json!({ "name": "hello", "kind": "catch" })).expect(201);
        self.api("POST", "/api/v1/workflows", &json!({ "name": "mine", "kind": "catch", "private": true }))
            .expect(201);
        let pull = json!({ "name": "ticks", "kind": "pull", "schedules": [{ "every": "1h" }] });
        self.api("POST", "/api/v1/workflows", &pull).expect(201);
        self.upload("hello");
        self.api("PATCH", "/api/v1/workflows/hello/settings", &json!({ "KEY": "a secret value" }))
            .expect(200);
        self.api("POST", "/api/v1/workflows/hello/runs", &json!({})).expect(200);
        self.signed_in(&self.link)
    }
}

impl Browser<'_> {
    fn request(&self, method: &str, path: &str) -> Request {
        let request = Request::new(method, path).header("accept", "text/html");
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    fn get(&self, path: &str) -> Reply {
        self.request("GET", path).send(self.host.address)
    }

    /// A form of one of the console's own pages.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_from("same-origin", path, fields)
    }

    fn post_from(&self, site: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.request("POST", path)
            .header("sec-fetch-site", site)
            .body("application/x-www-form-urlencoded", body.join("&").as_bytes())
            .send(self.host.address)
    }
}

/// The paths that a page leads to.
fn links(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for attribute in [" href=\"", " src=\"", " hx-get=\"", " data-events=\""] {
        for part in page.split(attribute).skip(1) {
            let target = part.split('"').next().unwrap().replace("&amp;", "&");
            let path = target.split('#').next().unwrap();
            if !path.is_empty() {
                found.insert(path.to_owned());
            }
        }
    }
    found
}

const PAGES: [&str; 21] = [
    "/workflows",
    "/create",
    "/create/blank-catch",
    "/create/blank-pull",
    "/schedule-preview?by=interval&amount=1&unit=h",
    "/workflows/hello",
    "/workflows/hello/function",
    "/workflows/hello/settings",
    "/workflows/hello/runs",
    "/workflows/hello/versions",
    "/workflows/hello/versions/1",
    "/workflows/hello/monitoring?range=90d",
    "/workflows/ticks",
    "/runs",
    "/dead",
    "/monitoring",
    "/host",
    "/admin",
    "/users",
    "/audit",
    "/account",
];

#[test]
fn every_page_is_for_those_who_signed_in_and_leaves_with_its_headers() {
    let host = Host::start();
    let (admin, stranger) = (host.with_workflows(), host.stranger());
    for path in PAGES {
        let sent_away = stranger.get(path).expect(303);
        assert!(sent_away.header("location").unwrap().starts_with("/sign-in?next=%2F"), "{path}");
        let page = admin.get(path).expect(200);
        for reply in [&sent_away, &page, &stranger.get("/sign-in").expect(200)] {
            let policy = reply.header("content-security-policy").unwrap();
            assert!(
                policy.contains("script-src 'self';") && policy.contains("style-src 'self';"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
            assert_eq!(reply.header("referrer-policy"), Some("same-origin"), "{path}");
        }
        let text = page.text();
        for inline in ["<script>", "<style", " style=\"", " onclick=", "javascript:"] {
            assert!(!text.contains(inline), "{path} has {inline}");
        }
    }
    assert!(!admin.get("/workflows/hello/settings").text().contains("a secret value"));
    assert_eq!(stranger.get("/").expect(303).header("location"), Some("/workflows"));
}

#[test]
fn forms_of_other_sites_are_refused() {
    let host = Host::start();
    let (admin, stranger) = (host.with_workflows(), host.stranger());
    let pause = [("action", "pause")];
    for site in ["cross-site", "same-site", "none"] {
        admin.post_from(site, "/workflows/hello/change", &pause).expect(403);
        stranger.post_from(site, "/sign-in", &[("login", "admin"), ("password", "x")]).expect(403);
    }
    let bare = admin
        .request("POST", "/workflows/hello/change")
        .body("application/x-www-form-urlencoded", b"action=pause");
    bare.send(host.address).expect(403);
    stranger.post("/workflows/hello/change", &pause).expect(303);
    let workflow = || host.api("GET", "/api/v1/workflows/hello", &json!({})).json();
    assert_eq!(workflow()["state"], "active");
    admin.post("/workflows/hello/change", &pause).expect(303);
    assert_eq!(workflow()["state"], "paused");
}

#[test]
fn no_link_is_dead() {
    let host = Host::start();
    let admin = host.with_workflows();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut next: Vec<(String, String)> = vec![("/workflows".to_owned(), "the start".to_owned())];
    while let Some((path, from)) = next.pop() {
        // Streams do not end; they are looked at in the browser.
        if seen.contains_key(&path) || path.ends_with("/events") {
            continue;
        }
        assert!(path.starts_with('/'), "{from} leads to {path}");
        let reply = admin.get(&path);
        assert!(matches!(reply.status, 200), "{from} leads to {path}: {}", reply.status);
        let is_page = reply.header("content-type").unwrap().starts_with("text/html");
        if is_page {
            next.extend(links(&reply.text()).into_iter().map(|link| (link, path.clone())));
        }
        seen.insert(path, from);
    }
    for path in PAGES.iter().filter(|path| !path.contains('?')) {
        assert!(seen.contains_key(*path), "nothing leads to {path}");
    }
    assert!(seen.len() > 60, "{}", seen.len());
}

#[test]
fn first_page_is_small() {
    let host = Host::start();
    let admin = host.with_workflows();
    for at in 0..60 {
        host.api("POST", "/api/v1/workflows", &json!({ "name": format!("w-{at}"), "kind": "catch" }))
            .expect(201);
    }
    let page = admin.get("/workflows").expect(200);
    let packed =
        admin.request("GET", "/workflows").header("accept-encoding", "gzip").send(host.address).expect(200);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut bytes = packed.body.len();
    for file in links(&page.text()).into_iter().filter(|link| link.starts_with("/static/")) {
        let packed =
            admin.request("GET", &file).header("accept-encoding", "gzip, br").send(host.address).expect(200);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{file}");
        assert!(packed.header("cache-control").unwrap().contains("immutable"), "{file}");
        let plain = admin.get(&file).expect(200);
        assert!(packed.body.len() < plain.body.len() && plain.header("content-encoding").is_none(), "{file}");
        bytes += packed.body.len();
    }
    assert!(bytes < 50_000, "{bytes}");
    admin.get("/static/000000000000-console.css").expect(404);
}

#[test]
fn members_see_and_do_what_accounts_allow() {
    let host = Host::start();
    let admin = host.with_workflows();
    let added = admin
        .post("/users", &[("action", "add"), ("login", "ada"), ("name", "Ada"), ("role", "member")])
        .expect(200);
    let text = added.text();
    let link = text.split("value=\"/sign-in?").nth(1).unwrap().split('"').next().unwrap();
    let member = host.signed_in(link);
    // A link works once.
    host.stranger().post("/sign-in", &[("link", link.split_once("link=").unwrap().1)]).expect(401);

    let list = member.get("/workflows").expect(200).text();
    assert!(
        list.contains("/workflows/hello\"")
            && !list.contains("/workflows/mine\"")
            && !list.contains("href=\"/host\"")
    );
    for (path, status) in [
        ("/workflows/mine", 404),
        ("/workflows/none", 404),
        ("/workflows/hello", 200),
        ("/workflows/hello/function", 403),
        ("/workflows/hello/settings", 403),
        ("/workflows/hello/runs", 403),
        ("/workflows/hello/versions/1", 403),
        ("/runs", 200),
        ("/dead", 200),
        ("/monitoring", 403),
        ("/audit", 403),
        ("/host", 403),
        ("/users", 403),
        ("/account", 200),
    ] {
        member.get(path).expect(status);
    }
    let overview = member.get("/workflows/hello").text();
    assert!(!overview.contains("/catch/") && !overview.contains("Archive this workflow"), "{overview}");
    let runs = host.api("GET", "/api/v1/runs", &json!({})).json();
    let run = runs["runs"][0]["id"].as_str().unwrap();
    member.get(&format!("/runs/{run}")).expect(403);
    assert!(!member.get("/runs").text().contains(run) && admin.get("/runs").text().contains(run));
    member.post("/workflows/hello/archive", &[("confirm", "hello")]).expect(403);
    member.post("/workflows/mine/change", &[("action", "pause")]).expect(404);
    member.post("/users", &[("action", "admin"), ("login", "ada")]).expect(403);

    // What was done is written down, without values.
    let log = admin.get("/audit").expect(200).text();
    assert!(
        log.contains("user.change") && log.contains("<code>add</code> <code>Ada</code> <code>ada</code>"),
        "{log}"
    );
    assert!(log.contains("session.begin"), "{log}");

    // Disabled, the session is over.
    admin.post("/users", &[("action", "disable"), ("login", "ada")]).expect(200);
    member.get("/workflows").expect(303);
}

#[test]
fn a_run_is_run_again_on_the_version_that_is_chosen() {
    let host = Host::start();
    let admin = host.with_workflows();
    let newest = || {
        let runs = host.api("GET", "/api/v1/workflows/hello/runs?limit=1", &json!({})).json();
        runs["runs"][0].clone()
    };
    let first = newest()["id"].as_str().unwrap().to_owned();
    let page = format!("/runs/{first}");
    assert!(!admin.get(&page).expect(200).text().contains("name=\"version\""), "there is one only");
    host.upload("echo");
    let shown = admin.get(&page).expect(200).text();
    assert_eq!(shown.matches("On version 1<").count(), 2, "as it was, and edited: {shown}");
    assert!(shown.contains("Settings handed over") && shown.contains("<code>KEY</code>"), "{shown}");

    let again = |fields: &[(&str, &str)]| admin.post(&format!("{page}/again"), fields);
    for (fields, version) in [
        (&[("version", "1")][..], 1),
        (&[("version", "")], 2),
        (&[("edited", "1"), ("method", "POST"), ("path", "/"), ("version", "1")], 1),
    ] {
        again(fields).expect(303);
        let run = newest();
        assert_eq!((&run["version"], &run["replay_of"]), (&json!(version), &json!(first)), "{fields:?}");
    }
    assert!(again(&[("version", "9")]).expect(404).text().contains("ersion 9 of the workflow hello"));
    assert!(again(&[("version", "x")]).expect(422).text().contains("is no number"));

    let many = |version| {
        admin.post("/workflows/hello/runs/replay", &[("status", "succeeded"), ("version", version)])
    };
    let done = many("1").expect(303).header("location").unwrap().to_owned();
    let listed = admin.get(&done).expect(200).text();
    assert!(listed.contains("queued to be run again") && listed.contains("value=\"1\" selected"), "{listed}");
    crate::support::wait::until("runs of the queue on version 1", || {
        let runs = host.api("GET", "/api/v1/workflows/hello/runs?trigger=replay", &json!({})).json();
        let mut runs = runs["runs"].as_array().unwrap().iter();
        runs.any(|run| run["event"].is_string() && run["version"] == 1 && run["status"] == "succeeded")
    });
    assert!(many("x").expect(422).text().contains("is no number"));
}

#[test]
fn admins_revoke_the_tokens_of_others() {
    let host = Host::start();
    let admin = host.with_workflows();
    for login in ["ada+1", "eve"] {
        host.api("POST", "/api/v1/users", &json!({ "login": login })).expect(201);
    }
    let spec = json!({ "user": "ada+1", "label": "deploys" });
    let token = host.api("POST", "/api/v1/tokens", &spec).expect(201).json();
    let id = token["id"].as_str().unwrap();
    let users = admin.get("/users").expect(200).text();
    assert!(users.contains("href=\"/users?tokens=ada%2B1#tokens\""), "{users}");
    let shown = admin.get("/users?tokens=ada%2B1").expect(200).text();
    assert!(shown.contains("Tokens of ada+1") && shown.contains("deploys") && shown.contains(id), "{shown}");
    assert!(admin.get("/users?tokens=eve").expect(200).text().contains("No tokens"));
    admin.get("/users?tokens=nobody").expect(404);
    let revoke = |login: &str| admin.post("/users", &[("action", "revoke"), ("login", login), ("token", id)]);
    revoke("eve").expect(404);
    let works = || host.api("GET", "/api/v1/tokens?user=*", &json!({})).json()["tokens"][0]["works"].clone();
    assert_eq!(works(), true);
    assert!(revoke("ada%2B1").expect(200).text().contains("The token does not work any more."));
    assert_eq!(works(), false);
}

#[test]
fn archiving_needs_the_name() {
    let host = Host::start();
    let admin = host.with_workflows();
    admin.post("/workflows/hello/archive", &[("confirm", "hallo")]).expect(422);
    admin.get("/workflows/hello").expect(200);
    admin.post("/workflows/hello/archive", &[("confirm", "hello")]).expect(303);
    admin.get("/workflows/hello").expect(404);
}
