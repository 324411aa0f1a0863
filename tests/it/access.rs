//! Who may do what: every route of the OpenAPI document, for every kind of account, with
//! own, shared and foreign workflows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::support::host::{Host, Workflow};
use super::support::http::{Reply, Request};
use super::support::{guests, wait};

const PASSWORD: &str = "correct horse";
const SCOPES: [&str; 5] = ["read", "run", "write", "account", "admin"];

/// What may come of a request, as far as rights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Allowed,
    SignIn,
    Forbidden,
    Hidden,
}

/// Whom a route is for, written down once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Anybody,
    Users,
    Admins,
    /// Those who are at least this to the workflow: 0 anybody who sees it, 1 viewers, 2
    /// managers, 3 its owner.
    Rank(u8),
}

/// Whom each operation is for, and the scope that a token needs.
fn rules() -> BTreeMap<&'static str, (For, &'static str)> {
    let lists: &[(For, &str, &[&str])] = &[
        // The host's metrics are open to this machine, where the test runs.
        (For::Anybody, "", &["root", "isAlive", "isReady", "readDocument", "readMetrics", "showSignIn"]),
        (
            For::Users,
            "read",
            &[
                "showVersion",
                "listRuntimes",
                "previewSchedule",
                "signOut",
                "showMe",
                "proveSession",
                "listWorkflows",
                "listRuns",
                "listDeadLetters",
                "streamEvents",
            ],
        ),
        (For::Users, "run", &["redriveDeadLetters"]),
        (For::Users, "write", &["createWorkflow"]),
        (For::Users, "account", &["listTokens", "createToken", "revokeToken", "setOwnPassword"]),
        (
            For::Admins,
            "admin",
            &[
                "showHealth",
                "showUsage",
                "showStatistics",
                "showHistory",
                "takeBackup",
                "installRuntime",
                "listUsers",
                "createUser",
                "showUser",
                "changeUser",
                "setPassword",
                "createSignInLink",
                "listAudit",
                "verifyAudit",
                "listKeys",
                "rotateKey",
            ],
        ),
        (
            For::Rank(0),
            "read",
            &["showWorkflow", "listVersions", "listUpcoming", "listTicks", "showStatisticsOfWorkflow"],
        ),
        (
            For::Rank(1),
            "read",
            &[
                "downloadVersion",
                "listSettings",
                "listRunsOfWorkflow",
                "showRun",
                "showRunLog",
                "listSamples",
            ],
        ),
        (For::Rank(2), "run", &["testWorkflow", "replayRuns", "replayRun", "cancelRun"]),
        (
            For::Rank(2),
            "write",
            &[
                "changeWorkflow",
                "deployVersion",
                "activateVersion",
                "changeSettings",
                "putSetting",
                "changeSchedule",
                "removeSchedule",
                "putSample",
                "removeSample",
            ],
        ),
        (For::Rank(3), "write", &["archiveWorkflow"]),
    ];
    lists.iter().flat_map(|(who, scope, ids)| ids.iter().map(|id| (*id, (*who, *scope)))).collect()
}

/// Somebody who asks.
struct Actor {
    name: String,
    /// The header by which it is known; `None` for nobody.
    header: Option<(&'static str, String)>,
    /// The login of the account; `None` when the means do not work.
    login: Option<&'static str>,
    scopes: Vec<&'static str>,
}

impl Actor {
    fn request(&self, method: &str, path: &str) -> Request {
        let request = Request::new(method, path);
        let request = match &self.header {
            None => request,
            Some((name, value)) => request.header(name, value),
        };
        // What a browser says of a request of the host's own pages.
        request.header("sec-fetch-site", "same-origin")
    }

    fn is_admin(&self) -> bool {
        matches!(self.login, Some("root" | "admin")) && self.scopes.contains(&"admin")
    }
}

/// A workflow that things are tried with.
struct Object {
    name: &'static str,
    private: bool,
    /// Who is what to it.
    ranks: &'static [(&'static str, u8)],
    run: String,
}

const TEAM: &[(&str, u8)] = &[("owner", 3), ("manager", 2), ("viewer", 1)];

struct World {
    host: Host,
    actors: Vec<Actor>,
    objects: Vec<Object>,
}

fn bearer(token: &str) -> Option<(&'static str, String)> {
    Some(("authorization", format!("Bearer {token}")))
}

fn basic(login: &str, password: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!("{login}:{password}").as_bytes()))
}

fn add_user(host: &Host, login: &str, role: &str) {
    let user = json!({ "login": login, "role": role, "password": PASSWORD });
    host.tell("POST", "/api/v1/users", &user).expect(201);
}

fn add_token(host: &Host, user: &str, scopes: &[&str]) -> Value {
    let token = json!({ "user": user, "scopes": scopes, "label": "test" });
    host.tell("POST", "/api/v1/tokens", &token).expect(201).json()
}

/// Signs in with the password, and returns the cookie's name and value.
fn session(host: &Host, login: &str) -> String {
    let request = Request::new("POST", "/api/v1/session").header("authorization", &basic(login, PASSWORD));
    let reply = request.send(host.api).expect(201);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-tidegate=tdgs_"), "{cookie}");
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

fn share(host: &Host, name: &str, private: bool) {
    let access =
        json!({ "owner": "owner", "managers": ["manager"], "viewers": ["viewer"], "private": private });
    host.tell("PATCH", &format!("/api/v1/workflows/{name}"), &access).expect(200);
}

fn object(host: &Host, name: &'static str, private: bool, ranks: &'static [(&'static str, u8)]) -> Object {
    let workflow = host.deploy(name, "catch", "echo");
    host.upload(name, "application/wasm", &guests::component("echo")).expect(201);
    host.call(&workflow, &json!({})).expect(200);
    let run = host.wait_for_run(&workflow, "succeeded")["id"].as_str().unwrap().to_owned();
    Object { name, private, ranks, run }
}

fn actors(host: &Host) -> Vec<Actor> {
    let mut actors = Vec::new();
    let mut add = |name: &str, header, login, scopes: &[&'static str]| {
        actors.push(Actor { name: name.to_owned(), header, login, scopes: scopes.to_vec() });
    };
    add("anonymous", None, None, &[]);
    add("garbage", bearer("tdgt_garbage"), None, &[]);
    for login in ["stranger", "viewer", "manager", "owner", "gone", "late", "off"] {
        add_user(host, login, "member");
    }
    add_user(host, "root", "admin");
    let secret = |token: &Value| token["secret"].as_str().unwrap().to_owned();
    for login in ["stranger", "viewer", "manager", "owner", "root"] {
        let token = add_token(host, login, &SCOPES);
        add(login, bearer(&secret(&token)), Some(login), &SCOPES);
    }
    for login in ["owner", "root"] {
        for scope in SCOPES {
            let token = add_token(host, login, &[scope]);
            add(&format!("{login} with {scope}"), bearer(&secret(&token)), Some(login), &[scope]);
        }
        add(&format!("session of {login}"), Some(("cookie", session(host, login))), Some(login), &SCOPES);
    }
    add("the data folder's token", bearer(host.token()), Some("admin"), &SCOPES);

    let revoked = add_token(host, "gone", &SCOPES);
    host.request("DELETE", &format!("/api/v1/tokens/{}", revoked["id"].as_str().unwrap()))
        .send(host.api)
        .expect(204);
    add("revoked", bearer(&secret(&revoked)), None, &[]);

    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(300);
    let expiring = json!({ "user": "late", "scopes": SCOPES, "expires_at": soon });
    let expired = host.tell("POST", "/api/v1/tokens", &expiring).expect(201).json();
    let header = bearer(&secret(&expired));
    wait::for_some("the token's end", || {
        let (name, value) = header.clone().unwrap();
        (Request::new("GET", "/api/v1/me").header(name, &value).send(host.api).status == 401).then_some(())
    });
    add("expired", header, None, &[]);

    let disabled = add_token(host, "off", &SCOPES);
    add("session of a disabled user", Some(("cookie", session(host, "off"))), None, &[]);
    host.tell("PATCH", "/api/v1/users/off", &json!({ "disabled": true })).expect(200);
    add("token of a disabled user", bearer(&secret(&disabled)), None, &[]);
    actors
}

fn world() -> World {
    let host = Host::start();
    let actors = actors(&host);
    let objects = vec![
        object(&host, "shared", false, TEAM),
        object(&host, "hidden", true, TEAM),
        object(&host, "foreign", true, &[]),
    ];
    share(&host, "shared", false);
    share(&host, "hidden", true);
    let foreign = json!({ "private": true, "owner": "root" });
    host.tell("PATCH", "/api/v1/workflows/foreign", &foreign).expect(200);
    World { host, actors, objects }
}

/// What should come of it.
fn expected(actor: &Actor, object: &Object, who: For, scope: &str) -> Outcome {
    if who == For::Anybody {
        return Outcome::Allowed;
    }
    let Some(login) = actor.login else { return Outcome::SignIn };
    let rank = object.ranks.iter().find(|(name, _)| *name == login).map_or(0, |(_, rank)| *rank);
    let is_foreign_root = object.ranks.is_empty() && login == "root";
    let rank = if actor.is_admin() || is_foreign_root { 3 } else { rank };
    let is_for_it = match who {
        For::Anybody | For::Users => true,
        For::Admins => matches!(login, "root" | "admin"),
        For::Rank(_) if rank == 0 && object.private => return Outcome::Hidden,
        For::Rank(needed) => rank >= needed,
    };
    if is_for_it && actor.scopes.contains(&scope) { Outcome::Allowed } else { Outcome::Forbidden }
}

fn outcome(reply: &Reply, object: &Object) -> Outcome {
    match reply.status {
        401 => Outcome::SignIn,
        403 => Outcome::Forbidden,
        404 => {
            let message = reply.field("message");
            let workflow = format!("the workflow {:?} does not exist", object.name);
            let run = format!("the run {:?} does not exist", object.run);
            if message == workflow || message == run { Outcome::Hidden } else { Outcome::Allowed }
        }
        status if status < 500 => Outcome::Allowed,
        status => panic!("{status}: {}", reply.text()),
    }
}

/// A workflow like `object`, for what deletes it.
fn spare(host: &Host, object: &Object) -> Object {
    let name = "spare";
    host.create(&json!({ "name": name, "kind": "catch" }));
    match object.ranks {
        [] => drop(
            host.tell("PATCH", "/api/v1/workflows/spare", &json!({ "private": true, "owner": "root" }))
                .expect(200),
        ),
        _ => share(host, name, object.private),
    }
    Object { name, private: object.private, ranks: object.ranks, run: String::new() }
}

#[test]
fn every_route_answers_every_account_as_its_rule_says() {
    let World { host, actors, objects } = world();
    let document = Request::new("GET", "/api/v1/openapi.json").send(host.api).expect(200).json();
    let rules = rules();
    let (mut cells, mut wrong, mut used) = (0, Vec::new(), std::collections::BTreeSet::new());
    for actor in &actors {
        // It ends the actor's own right: last.
        let mut sign_out = None;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                // The catch endpoints know no accounts, and signing in is tested for itself.
                if path.starts_with("/catch/") || id == "signIn" {
                    continue;
                }
                let (who, scope) = *rules.get(id).unwrap_or_else(|| panic!("{id} has no rule in this test"));
                used.insert(id);
                if id == "signOut" {
                    sign_out = Some((method.to_uppercase(), path.clone(), who, scope));
                    continue;
                }
                let is_of_workflow = matches!(who, For::Rank(_));
                for object in objects.iter().take(if is_of_workflow { 3 } else { 1 }) {
                    let own = (id == "archiveWorkflow").then(|| spare(&host, object));
                    let object = own.as_ref().unwrap_or(object);
                    let query = if id == "streamEvents" { "?workflow=none" } else { "" };
                    let asked = path
                        .replace("{name}", object.name)
                        .replace("{id}", if path.contains("/runs/") { &object.run } else { "none" })
                        .replace("{number}", "1")
                        .replace("{schedule}", "none")
                        .replace("{setting}", "none")
                        .replace("{sample}", "none")
                        .replace("{login}", "gone");
                    let reply =
                        actor.request(&method.to_uppercase(), &format!("{asked}{query}")).send(host.api);
                    let (found, expected) = (outcome(&reply, object), expected(actor, object, who, scope));
                    cells += 1;
                    if found != expected {
                        wrong.push(format!(
                            "{} {method} {asked}: {found:?} ({}), not {expected:?}",
                            actor.name, reply.status
                        ));
                    }
                    if own.is_some() && found != Outcome::Allowed {
                        host.request("DELETE", "/api/v1/workflows/spare").send(host.api).expect(204);
                    }
                }
            }
        }
        let (method, path, who, scope) = sign_out.expect("one can sign out");
        let found = outcome(&actor.request(&method, &path).send(host.api), &objects[0]);
        let expected = expected(actor, &objects[0], who, scope);
        cells += 1;
        if found != expected {
            wrong.push(format!("{} {method} {path}: {found:?}, not {expected:?}", actor.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {cells} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells >= 1500, "only {cells} cells were tried");
    assert_eq!(used.len(), rules.len(), "a rule of this test is for no route");
}

fn names(reply: Reply, list: &str, field: &str) -> Vec<String> {
    let reply = reply.expect(200).json();
    let rows = reply[list].as_array().unwrap().iter();
    rows.map(|row| row[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn listings_hold_what_their_reader_may_see() {
    let World { host, actors, .. } = world();
    let as_ = |name: &str, path: &str| {
        actors.iter().find(|actor| actor.name == name).unwrap().request("GET", path).send(host.api)
    };
    for (who, workflows, runs) in [
        ("stranger", &["shared"][..], &[][..]),
        ("viewer", &["hidden", "shared"], &["hidden", "shared"]),
        ("manager", &["hidden", "shared"], &["hidden", "shared"]),
        ("owner", &["hidden", "shared"], &["hidden", "shared"]),
        ("root", &["foreign", "hidden", "shared"], &["foreign", "hidden", "shared"]),
        ("root with read", &["foreign", "shared"], &["foreign"]),
    ] {
        assert_eq!(names(as_(who, "/api/v1/workflows"), "workflows", "name"), workflows, "{who}");
        let mut seen = names(as_(who, "/api/v1/runs"), "runs", "workflow");
        seen.sort();
        assert_eq!(seen, runs, "{who}");
        // In pages, too: what is left out is no row of one.
        let mut paged = Vec::new();
        let mut path = "/api/v1/runs?limit=1".to_owned();
        loop {
            let page = as_(who, &path).expect(200).json();
            paged.extend(
                page["runs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|run| run["workflow"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/v1/runs?limit=1&cursor={next}");
        }
        paged.sort();
        assert_eq!(paged, runs, "{who}");
    }
    // The URL is the right to call: for those who may run it.
    for (who, has_url) in
        [("stranger", false), ("viewer", false), ("manager", true), ("owner", true), ("root", true)]
    {
        let view = as_(who, "/api/v1/workflows/shared").expect(200).json();
        assert_eq!(view["url"].is_string(), has_url, "{who}");
        assert_eq!(view["owner"], "owner");
    }
}

#[test]
fn who_may_do_what_is_the_owners_to_change() {
    let World { host, actors, .. } = world();
    let tell = |name: &str, body: Value| {
        let actor = actors.iter().find(|actor| actor.name == name).unwrap();
        actor.request("PATCH", "/api/v1/workflows/shared").json(&body).send(host.api)
    };
    for change in [
        json!({ "private": true }),
        json!({ "managers": [] }),
        json!({ "viewers": ["stranger"] }),
        json!({ "owner": "manager" }),
    ] {
        assert_eq!(tell("manager", change.clone()).status, 403, "{change}");
        assert_eq!(tell("root with write", change.clone()).status, 403, "{change}");
    }
    tell("manager", json!({ "description": "new" })).expect(200);
    assert_eq!(tell("owner", json!({ "owner": "nobody" })).expect(422).field("code"), "invalid-field");
    assert_eq!(tell("owner", json!({ "owner": "off" })).expect(422).field("code"), "invalid-field");
    assert_eq!(
        tell("owner", json!({ "viewers": ["Not A Login"] })).expect(422).field("code"),
        "invalid-field"
    );
    tell("owner", json!({ "owner": "manager", "managers": [] })).expect(200);
    assert_eq!(tell("owner", json!({ "description": "mine" })).status, 403);
    tell("manager", json!({ "private": true })).expect(200);
    assert_eq!(tell("owner", json!({ "description": "mine" })).status, 404);
}

#[test]
fn the_changes_of_an_account_bear_its_name() {
    let World { host, actors, .. } = world();
    let owner = actors.iter().find(|actor| actor.name == "owner").unwrap();
    let made = owner.request("POST", "/api/v1/workflows").json(&json!({ "name": "own", "kind": "catch" }));
    assert_eq!(made.send(host.api).expect(201).json()["owner"], "owner");
    let upload = owner.request("POST", "/api/v1/workflows/own/versions");
    upload.body("application/wasm", guests::component("echo")).send(host.api).expect(201);
    let versions = host.get("/api/v1/workflows/own/versions").expect(200).json();
    assert_eq!(versions["versions"][0]["created_by"], "owner");
    let set = owner.request("PATCH", "/api/v1/workflows/own/settings").json(&json!({ "A": 1 }));
    assert_eq!(set.send(host.api).expect(200).json()["settings"][0]["updated_by"]["user"], "owner");
}

#[test]
fn streams_tell_of_the_runs_that_their_reader_may_see_until_it_may_no_more() {
    let World { host, actors, .. } = world();
    let viewer = actors.iter().find(|actor| actor.name == "viewer").unwrap();
    let mut stream = super::support::http::Connection::open(host.api);
    stream.send(viewer.request("GET", "/api/v1/events").header("connection", "close").bytes());
    assert!(stream.line().unwrap().contains("200"));
    wait::for_some("the stream's beginning", || stream.line().filter(|line| line.contains("open")));
    let call = |name: &str| {
        host.tell("POST", &format!("/api/v1/workflows/{name}/runs"), &json!({})).expect(200).json();
    };
    call("foreign");
    call("hidden");
    let first = wait::for_some("an event", || stream.line().filter(|line| line.starts_with("data:")));
    assert!(first.contains("\"workflow\":\"hidden\""), "{first}");
    host.tell("PATCH", "/api/v1/users/viewer", &json!({ "disabled": true })).expect(200);
    call("hidden");
    wait::for_some("the stream's end", || match stream.line() {
        None => Some(()),
        Some(line) => {
            assert!(!line.contains("foreign"), "{line}");
            None
        }
    });
}

#[test]
fn dead_letters_are_those_of_workflows_that_one_may_see() {
    let World { host, actors, .. } = world();
    let mut dead = BTreeMap::new();
    for name in ["letters", "secrets"] {
        let Workflow { path, .. } = host.deploy(name, "catch", "trap");
        let asked = Request::new("POST", &path).header("prefer", "respond-async").json(&json!({}));
        let event = asked.send(host.catch).expect(202).json()["run"].as_str().unwrap().to_owned();
        let list = format!("/api/v1/dead?workflow={name}");
        wait::for_some("a dead letter", || {
            let dead = host.get(&list).expect(200).json()["dead"].as_array().unwrap().clone();
            (!dead.is_empty()).then_some(())
        });
        dead.insert(name, event);
    }
    host.tell(
        "PATCH",
        "/api/v1/workflows/letters",
        &json!({ "viewers": ["viewer"], "managers": ["manager"] }),
    )
    .expect(200);
    host.tell("PATCH", "/api/v1/workflows/secrets", &json!({ "private": true })).expect(200);
    let ask = |name: &str, method: &str, path: &str| {
        actors.iter().find(|actor| actor.name == name).unwrap().request(method, path)
    };
    for (who, seen) in [("stranger", &[][..]), ("viewer", &["letters"]), ("manager", &["letters"])] {
        let reply = ask(who, "GET", "/api/v1/dead").send(host.api);
        assert_eq!(names(reply, "dead", "workflow"), seen, "{who}");
    }
    assert_eq!(ask("viewer", "GET", "/api/v1/dead?workflow=secrets").send(host.api).status, 404);
    let redrive =
        |who: &str, body: Value| ask(who, "POST", "/api/v1/dead/redrive").json(&body).send(host.api);
    assert_eq!(redrive("viewer", json!({ "workflow": "letters" })).status, 403);
    assert_eq!(redrive("manager", json!({ "workflow": "secrets" })).status, 404);
    let ids = json!({ "events": [dead["letters"], dead["secrets"]] });
    assert_eq!(redrive("viewer", ids.clone()).expect(200).json()["events"], json!([]));
    assert_eq!(redrive("viewer", json!({ "all": true })).expect(200).json()["events"], json!([]));
    assert_eq!(redrive("manager", ids).expect(200).json()["events"], json!([dead["letters"]]));
}
