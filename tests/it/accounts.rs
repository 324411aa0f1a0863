//! Signing in and out over HTTP, and what the audit log says of it.

use serde_json::{Value, json};

use super::support::host::Host;
use super::support::http::{Reply, Request};
use super::support::wait;

const PASSWORD: &str = "correct horse";

fn basic(login: &str, password: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!("{login}:{password}").as_bytes()))
}

fn sign_in(host: &Host, login: &str, password: &str) -> Reply {
    Request::new("POST", "/api/v1/session").header("authorization", &basic(login, password)).send(host.api)
}

fn cookie(reply: &Reply) -> String {
    reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

fn add(host: &Host, login: &str) {
    let user = json!({ "login": login, "password": PASSWORD });
    host.tell("POST", "/api/v1/users", &user).expect(201);
}

fn audit(host: &Host) -> Vec<Value> {
    host.get("/api/v1/audit?limit=500").expect(200).json()["entries"].as_array().unwrap().clone()
}

#[test]
fn session_is_begun_by_a_password_and_ended() {
    let host = Host::start();
    add(&host, "ada");
    for (login, password) in [("ada", "wrong"), ("ada", ""), ("eve", PASSWORD), ("admin", "")] {
        let reply = sign_in(&host, login, password).expect(401);
        assert_eq!(reply.field("code"), "wrong-password", "{login}");
        assert_eq!(reply.header("set-cookie"), None);
    }
    let cookie = cookie(&sign_in(&host, "ada", PASSWORD).expect(201));
    let with = |method: &str, path: &str| Request::new(method, path).header("cookie", &cookie);
    let me = with("GET", "/api/v1/me").send(host.api).expect(200).json();
    assert_eq!(
        (&me["login"], &me["via"], &me["means"]),
        (&json!("ada"), &json!("session"), &json!("password"))
    );
    assert_eq!(me["scopes"], json!(["read", "run", "write", "account", "admin"]));

    // Another site's request has the cookie, and does nothing.
    let create = || with("POST", "/api/v1/workflows").json(&json!({ "name": "w", "kind": "catch" }));
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let reply = create().header(name, value).send(host.api).expect(403);
        assert_eq!(reply.field("code"), "cross-origin", "{name}: {value}");
    }
    create().header("origin", "http://localhost").send(host.api).expect(201);

    let ended = with("DELETE", "/api/v1/session").send(host.api).expect(204);
    assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
    with("GET", "/api/v1/me").send(host.api).expect(401);
}

#[test]
fn guesses_are_refused_with_the_time_to_wait() {
    let host = Host::with(&[("accounts.sign_in_attempts_max", "3")]);
    add(&host, "ada");
    for _ in 0..3 {
        sign_in(&host, "ada", "guess").expect(401);
    }
    let reply = sign_in(&host, "ada", PASSWORD).expect(429);
    assert_eq!(reply.field("code"), "locked-out");
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((840..=901).contains(&seconds), "{seconds}");
    // The same count, whatever the password was wanted for.
    let token = Request::new("POST", "/api/v1/tokens").header("authorization", &basic("ada", PASSWORD));
    token.json(&json!({})).send(host.api).expect(429);
    // Refused guesses do not fill the log.
    let guesses = audit(&host).into_iter().filter(|entry| entry["who"] == "ada").count();
    assert_eq!(guesses, 3);
}

#[test]
fn link_signs_in_once_and_lets_its_user_set_a_password() {
    let host = Host::start();
    add(&host, "ada");
    let link = host.request("POST", "/api/v1/users/ada/link").send(host.api).expect(201).json();
    let url = link["url"].as_str().unwrap();
    let secret = url.strip_prefix(&format!("http://{}/sign-in?link=", host.api)).unwrap();
    let use_it = || {
        Request::new("POST", "/api/v1/session")
            .header("authorization", &format!("Bearer {secret}"))
            .send(host.api)
    };
    let cookie = cookie(&use_it().expect(201));
    assert_eq!(use_it().expect(401).field("code"), "link-unusable");
    let set = |cookie: &str, body: Value| {
        Request::new("PUT", "/api/v1/me/password").header("cookie", cookie).json(&body).send(host.api)
    };
    assert_eq!(set(&cookie, json!({ "password": "short" })).expect(422).field("code"), "invalid-field");
    set(&cookie, json!({ "password": "a new password" })).expect(200);
    sign_in(&host, "ada", PASSWORD).expect(401);
    // With a password's session the present one is asked for.
    let other = self::cookie(&sign_in(&host, "ada", "a new password").expect(201));
    let reply = set(&other, json!({ "password": "another password" })).expect(422);
    assert!(reply.field("message").contains("present password"));
    set(&other, json!({ "password": "another password", "current": "wrong" })).expect(401);
    set(&other, json!({ "password": "another password", "current": "a new password" })).expect(200);
    let me = |cookie: &str| Request::new("GET", "/api/v1/me").header("cookie", cookie).send(host.api).status;
    assert_eq!((me(&cookie), me(&other)), (401, 200), "other sessions ended");
}

#[test]
fn token_of_the_data_folder_begins_a_session_and_others_do_not() {
    let host = Host::start();
    let begin = |token: &str| {
        Request::new("POST", "/api/v1/session")
            .header("authorization", &format!("Bearer {token}"))
            .send(host.api)
    };
    assert_eq!(begin(host.token()).expect(201).json()["login"], "admin");
    let token = host.tell("POST", "/api/v1/tokens", &json!({ "scopes": ["admin"] })).expect(201).json();
    begin(token["secret"].as_str().unwrap()).expect(401);
    begin("tdgo_").expect(401);
}

#[test]
fn tokens_have_no_more_rights_than_who_makes_them() {
    let host = Host::start();
    add(&host, "ada");
    let as_ada = |body: Value| {
        let request = Request::new("POST", "/api/v1/tokens").header("authorization", &basic("ada", PASSWORD));
        request.json(&body).send(host.api)
    };
    let made = as_ada(json!({ "label": "ci", "scopes": ["read", "account"] })).expect(201).json();
    assert_eq!((&made["login"], &made["scopes"]), (&json!("ada"), &json!(["read", "account"])));
    let secret = made["secret"].as_str().unwrap();
    let with = |method: &str, path: &str| {
        Request::new(method, path).header("authorization", &format!("Bearer {secret}"))
    };
    let narrow = with("POST", "/api/v1/tokens").json(&json!({ "scopes": ["write"] })).send(host.api);
    assert_eq!(narrow.expect(403).field("code"), "missing-scope");
    let own = with("POST", "/api/v1/tokens").json(&json!({})).send(host.api).expect(201).json();
    assert_eq!(own["scopes"], json!(["read"]), "of the default ones those that it has");
    for user in ["admin", "nobody"] {
        with("POST", "/api/v1/tokens").json(&json!({ "user": user })).send(host.api).expect(403);
    }
    with("GET", "/api/v1/tokens?user=*").send(host.api).expect(403);

    // Lists hold no secrets, and one's own tokens only.
    let admins = host.tell("POST", "/api/v1/tokens", &json!({})).expect(201).json();
    let list = with("GET", "/api/v1/tokens").send(host.api).expect(200);
    assert!(!list.text().contains("tdgt_"));
    assert_eq!(list.json()["tokens"].as_array().unwrap().len(), 2);
    let path = format!("/api/v1/tokens/{}", admins["id"].as_str().unwrap());
    with("DELETE", &path).send(host.api).expect(404);
    let path = format!("/api/v1/tokens/{}", own["id"].as_str().unwrap());
    with("DELETE", &path).send(host.api).expect(204);
    assert_eq!(host.get("/api/v1/tokens?user=*").expect(200).json()["tokens"].as_array().unwrap().len(), 3);
    with("DELETE", "/api/v1/session").send(host.api).expect(204);
    with("GET", "/api/v1/me").send(host.api).expect(401);
}

#[test]
fn audit_log_says_who_did_what_and_never_a_value() {
    let mut host = Host::start();
    add(&host, "ada");
    sign_in(&host, "ada", "hunter2 guess").expect(401);
    sign_in(&host, "hunter2 as a login", PASSWORD).expect(401);
    let cookie = cookie(&sign_in(&host, "ada", PASSWORD).expect(201));
    let as_ada = |method: &str, path: &str, body: Value| {
        Request::new(method, path).header("cookie", &cookie).json(&body).send(host.api)
    };
    as_ada("POST", "/api/v1/workflows", json!({ "name": "w", "kind": "catch" })).expect(201);
    as_ada("PATCH", "/api/v1/workflows/w", json!({ "description": "secret plans", "private": true }))
        .expect(200);
    as_ada("PATCH", "/api/v1/workflows/w/settings", json!({ "API_KEY": "hunter2", "OLD": null })).expect(200);
    as_ada("PATCH", "/api/v1/users/admin", json!({ "role": "member" })).expect(403);
    // What only reads, and what nobody sent, is no entry.
    Request::new("DELETE", "/api/v1/workflows/w").send(host.api).expect(401);
    Request::new("GET", "/api/v1/me").header("cookie", &cookie).send(host.api).expect(200);
    host.request("DELETE", "/api/v1/workflows/w").send(host.api).expect(204);

    let entries = audit(&host);
    let lines: Vec<String> = entries
        .iter()
        .rev()
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap().to_owned();
            let details = entry["details"].as_array().map_or(String::new(), |list| {
                list.iter().map(|one| format!(" {}", one.as_str().unwrap())).collect()
            });
            format!(
                "{} {} {} {} {}{details}",
                text("who"),
                text("via"),
                text("what"),
                text("object"),
                entry["status"]
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "- host host.start  0",
            "admin admin-token user.create ada 201 member",
            "ada - session.begin  401",
            "- - session.begin  401",
            "ada - session.begin  201",
            "ada session workflow.create w 201",
            "ada session workflow.change w 200 description private",
            "ada session settings.change w 200 API_KEY OLD",
            "ada session user.change admin 403",
            "admin admin-token workflow.archive w 204",
        ]
    );
    assert!(entries[0]["address"] == "127.0.0.1" && entries[0]["seq"] == 10);
    let kept = std::fs::read_to_string(host.data().join("audit/00000001.jsonl")).unwrap();
    for secret in ["hunter2", PASSWORD, "secret plans", "tdgs_"] {
        assert!(!kept.contains(secret), "{secret}");
    }

    // It goes on after kill -9, and a change of it is found.
    host.kill_and_restart();
    let verified = host.get("/api/v1/audit/verification").expect(200).json();
    let key = "audit.key in the data folder, encrypted with the master key";
    assert_eq!(verified, json!({ "entries": 11, "first": 1, "last": 11, "problem": null, "key": key }));
    let path = host.data().join("audit/00000001.jsonl");
    let kept = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, kept.replace("\"who\":\"ada\"", "\"who\":\"eve\"")).unwrap();
    let verified = host.get("/api/v1/audit/verification").expect(200).json();
    assert!(verified["problem"].as_str().unwrap().contains("line 3"), "{verified}");
}

#[test]
fn accounts_and_audit_log_are_the_same_after_a_crash() {
    let mut host = Host::start();
    add(&host, "ada");
    let cookie = cookie(&sign_in(&host, "ada", PASSWORD).expect(201));
    let token = host.tell("POST", "/api/v1/tokens", &json!({ "user": "ada" })).expect(201).json();
    let before = (host.get("/api/v1/users").json(), host.get("/api/v1/tokens?user=*").json());
    host.kill_and_restart();
    assert_eq!((host.get("/api/v1/users").json(), host.get("/api/v1/tokens?user=*").json()), before);
    Request::new("GET", "/api/v1/me").header("cookie", &cookie).send(host.api).expect(200);
    let bearer = format!("Bearer {}", token["secret"].as_str().unwrap());
    wait::for_some("the token's use", || {
        Request::new("GET", "/api/v1/me").header("authorization", &bearer).send(host.api).expect(200);
        let tokens = host.get("/api/v1/tokens?user=ada").json();
        tokens["tokens"][0]["used_at"].is_string().then_some(())
    });
}

/// Whether a session is too old for what needs a proof.
fn is_old(host: &Host, cookie: &str) -> bool {
    let path = "/api/v1/workflows/w/settings?visibility=plain";
    let asked = Request::new("PATCH", path).header("cookie", cookie).json(&json!({})).send(host.api);
    if asked.status == 403 {
        assert_eq!(asked.field("code"), "proof-needed");
        return true;
    }
    asked.expect(200);
    false
}

fn has_workflow(host: &Host, cookie: &str) {
    let workflow = json!({ "name": "w", "kind": "catch" });
    Request::new("POST", "/api/v1/workflows")
        .header("cookie", cookie)
        .json(&workflow)
        .send(host.api)
        .expect(201);
}

fn prove(host: &Host, cookie: &str, password: &str) -> Reply {
    let proof = json!({ "password": password });
    Request::new("POST", "/api/v1/session/proof").header("cookie", cookie).json(&proof).send(host.api)
}

#[test]
fn old_session_changes_accounts_only_after_a_proof() {
    let host = Host::with(&[("accounts.proof_s", "2"), ("accounts.sign_in_attempts_max", "100")]);
    let admin = json!({ "login": "ada", "password": PASSWORD, "role": "admin" });
    host.tell("POST", "/api/v1/users", &admin).expect(201);
    let cookie = cookie(&sign_in(&host, "ada", PASSWORD).expect(201));
    has_workflow(&host, &cookie);
    wait::until("the session is old", || is_old(&host, &cookie));
    let with = |method: &str, path: &str| Request::new(method, path).header("cookie", &cookie);
    for (method, path, body) in [
        ("POST", "/api/v1/tokens", Some(json!({}))),
        ("GET", "/api/v1/backup", None),
        ("POST", "/api/v1/keys/rotate", None),
        ("POST", "/api/v1/users", Some(json!({ "login": "eve" }))),
        ("PATCH", "/api/v1/users/ada", Some(json!({ "role": "member" }))),
        ("PUT", "/api/v1/users/ada/password", Some(json!({ "password": "another password" }))),
        ("POST", "/api/v1/users/ada/link", None),
        ("PUT", "/api/v1/workflows/w/settings/A", Some(json!({ "value": 1, "visibility": "plain" }))),
        ("PATCH", "/api/v1/workflows/w/settings?visibility=plain", Some(json!({ "A": 1 }))),
    ] {
        let request = with(method, path);
        let request = body.map_or(with(method, path), |body| request.json(&body));
        assert_eq!(request.send(host.api).expect(403).field("code"), "proof-needed", "{method} {path}");
    }
    // What takes nothing over goes on, and so does whoever has a token.
    with("GET", "/api/v1/tokens").send(host.api).expect(200);
    let secret = json!({ "value": 1, "visibility": "secret" });
    with("PUT", "/api/v1/workflows/w/settings/A").json(&secret).send(host.api).expect(200);
    host.tell("POST", "/api/v1/users", &json!({ "login": "eve" })).expect(201);

    assert_eq!(prove(&host, &cookie, "wrong").expect(401).field("code"), "wrong-password");
    assert!(is_old(&host, &cookie));
    // A busy machine may let the proof grow old before it is used.
    wait::until("the session is proved", || {
        prove(&host, &cookie, PASSWORD).expect(204);
        !is_old(&host, &cookie)
    });
    assert_eq!(
        host.tell("POST", "/api/v1/session/proof", &json!({ "password": "x" })).expect(409).field("code"),
        "no-session"
    );
    let words: Vec<Value> =
        audit(&host).into_iter().filter(|entry| entry["what"] == "session.prove").collect();
    assert!(words.iter().any(|entry| entry["status"] == 401 && entry["who"] == "ada"));
    assert!(words.iter().any(|entry| entry["status"] == 204));
}

#[test]
fn console_asks_for_the_password_and_goes_on_with_the_form() {
    let host = Host::with(&[("accounts.proof_s", "2"), ("accounts.sign_in_attempts_max", "100")]);
    add(&host, "ada");
    let cookie = cookie(&sign_in(&host, "ada", PASSWORD).expect(201));
    let post = |form: &str| {
        Request::new("POST", "/account")
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin")
            .body("application/x-www-form-urlencoded", form)
            .send(host.api)
            .expect(200)
            .text()
    };
    let tokens =
        || host.get("/api/v1/tokens?user=ada").expect(200).json()["tokens"].as_array().unwrap().len();
    let form = "action=token&label=a%22%3Cb&scope=read&days=30";
    has_workflow(&host, &cookie);
    wait::until("the session is old", || is_old(&host, &cookie));
    let (before, asked) = (tokens(), post(form));
    assert!(asked.contains("Is it you?"), "{asked}");
    for hidden in
        [r#"name="label" value="a&quot;&lt;b""#, r#"name="action" value="token""#, r#"name="_proof""#]
    {
        assert!(asked.contains(hidden), "{hidden}: {asked}");
    }
    let wrong =
        Request::new("POST", "/account").header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    let wrong =
        wrong.body("application/x-www-form-urlencoded", format!("{form}&_proof=guess")).send(host.api);
    let shown = wrong.expect(401).text();
    assert!(shown.contains("Is it you?") && !shown.contains("guess"), "{shown}");
    assert_eq!(tokens(), before);
    let page = post(&format!("{form}&_proof={}", PASSWORD.replace(' ', "+")));
    assert!(page.contains("The token is made"), "{page}");
    assert_eq!(tokens(), before + 1);
}

#[test]
fn console_asks_for_the_password_before_a_backup() {
    let host = Host::with(&[("accounts.proof_s", "2"), ("accounts.sign_in_attempts_max", "100")]);
    let admin = json!({ "login": "ada", "password": PASSWORD, "role": "admin" });
    host.tell("POST", "/api/v1/users", &admin).expect(201);
    add(&host, "eve");
    let cookie = cookie(&sign_in(&host, "ada", PASSWORD).expect(201));
    has_workflow(&host, &cookie);
    wait::until("the session is old", || is_old(&host, &cookie));
    let get = |path: &str| {
        let request = Request::new("GET", path).header("accept", "text/html");
        request.header("cookie", &cookie).send(host.api).expect(200)
    };
    let taken = || audit(&host).iter().filter(|entry| entry["what"] == "backup.take").count();
    let asked = get("/backup");
    assert!(asked.header("content-disposition").is_none() && asked.text().contains("Is it you?"));
    assert_eq!(taken(), 0);
    let prove = |password: &str| {
        Request::new("POST", "/backup")
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin")
            .body("application/x-www-form-urlencoded", format!("_proof={}", password.replace(' ', "+")))
            .send(host.api)
    };
    assert!(prove("guess").expect(401).text().contains("Is it you?"));
    // A busy machine may let the proof grow old before it is used.
    let archive = wait::for_some("the backup", || {
        assert_eq!(prove(PASSWORD).expect(303).header("location"), Some("/admin?backup=1"));
        assert_eq!(get("/admin?backup=1").header("refresh"), Some("0; url=/backup"));
        let reply = get("/backup");
        reply.header("content-disposition").is_some().then_some(reply)
    });
    assert_eq!(archive.header("content-type"), Some("application/x-tar"));
    assert!(archive.body.windows(13).any(|name| name == b"manifest.json"));
    assert_eq!(taken(), 1);
    // Whoever is no admin gets neither the page nor the archive.
    let cookie = self::cookie(&sign_in(&host, "eve", PASSWORD).expect(201));
    Request::new("GET", "/backup").header("cookie", &cookie).send(host.api).expect(403);
}

#[test]
fn guesses_are_counted_by_the_address_that_a_trusted_proxy_names() {
    let settings =
        [("accounts.sign_in_attempts_max", "2"), ("server.trusted_proxies", "127.0.0.1,10.0.0.0/8")];
    let host = Host::with(&settings);
    add(&host, "ada");
    let guess = |forwarded: &str, password: &str| {
        Request::new("POST", "/api/v1/session")
            .header("authorization", &basic("ada", password))
            .header("x-forwarded-for", forwarded)
            .send(host.api)
            .status
    };
    assert_eq!([guess("203.0.113.7", "a"), guess("203.0.113.7, 10.0.0.1", "a")], [401, 401]);
    assert_eq!(guess("203.0.113.7", PASSWORD), 429);
    // What stands left of it is the caller's word.
    assert_eq!(guess("198.51.100.1, 203.0.113.7", PASSWORD), 429);
    assert_eq!(guess("198.51.100.1", PASSWORD), 201);
    let from = |status: u16| {
        let entry = audit(&host)
            .into_iter()
            .find(|entry| entry["what"] == "session.begin" && entry["status"] == status);
        entry.unwrap()["address"].clone()
    };
    assert_eq!((from(401), from(201)), (json!("203.0.113.7"), json!("198.51.100.1")));

    // A proxy that is not trusted is one caller, whoever it names.
    let host =
        Host::with(&[("accounts.sign_in_attempts_max", "2"), ("server.trusted_proxies", "10.0.0.0/8")]);
    add(&host, "ada");
    let guess = |forwarded: &str| {
        let request = Request::new("POST", "/api/v1/session").header("authorization", &basic("ada", "guess"));
        request.header("x-forwarded-for", forwarded).send(host.api).status
    };
    assert_eq!([guess("1.1.1.1"), guess("2.2.2.2"), guess("3.3.3.3")], [401, 401, 429]);
}
