//! Signing in by a provider, against one that does what it should and one that does not.

use serde_json::{Value, json};

use super::support::host::Host;
use super::support::http::{Reply, Request};
use super::support::provider::{Answer, CLIENT, Provider, SECRET, SUBJECT, Signing};
use super::support::wait;

fn host(provider: &Provider, more: &[(&str, &str)]) -> Host {
    let issuer = provider.issuer();
    let mut settings = vec![
        ("oidc.issuer", issuer.as_str()),
        ("oidc.client_id", CLIENT),
        ("oidc.client_secret", SECRET),
        ("oidc.name", "Example <ID>"),
        ("oidc.create_users", "true"),
    ];
    settings.extend(more);
    Host::with(&settings)
}

/// The values of the cookies that a reply sets, as a browser sends them back.
fn cookies(reply: &Reply) -> String {
    let set = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    set.map(|(_, value)| value.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

fn page(path: &str, cookie: &str) -> Request {
    Request::new("GET", path).header("accept", "text/html").header("cookie", cookie)
}

/// A browser that has been sent to the provider, and is about to come back: the path, and
/// its cookie.
fn go(host: &Host, provider: &Provider, start: &str, cookie: &str) -> (String, String) {
    let begun = page(start, cookie).send(host.api).expect(303);
    (provider.visit(begun.header("location").unwrap()), cookies(&begun))
}

fn walk(host: &Host, provider: &Provider) -> Reply {
    let (back, cookie) = go(host, provider, "/sign-in/oidc?next=/runs", "");
    page(&back, &cookie).send(host.api)
}

fn me(host: &Host, cookie: &str) -> Reply {
    Request::new("GET", "/api/v1/me").header("cookie", cookie).send(host.api)
}

fn audit(host: &Host) -> Vec<Value> {
    host.get("/api/v1/audit?limit=500").expect(200).json()["entries"].as_array().unwrap().clone()
}

#[test]
fn a_user_of_the_provider_signs_in_and_is_the_same_user_the_next_time() {
    let provider = Provider::start();
    let host = host(&provider, &[]);
    let ways = Request::new("GET", "/api/v1/sign-in").send(host.api).expect(200).json();
    assert_eq!(ways["provider"]["name"], "Example <ID>");
    let form = page("/sign-in?next=/runs", "").send(host.api).expect(200).text();
    assert!(
        form.contains("Sign in with Example &lt;ID&gt;") && form.contains("/sign-in/oidc?next=%2Fruns"),
        "{form}"
    );

    let reply = walk(&host, &provider).expect(200);
    assert_eq!(reply.header("refresh"), Some("0; url=/sign-in?kept=1&next=%2Fruns"));
    let cookie = cookies(&reply);
    let seen = me(&host, &cookie).expect(200).json();
    assert_eq!(
        (&seen["login"], &seen["means"], &seen["role"]),
        (&json!("ada@example.org"), &json!("oidc"), &json!("member"))
    );
    assert_eq!(
        page("/sign-in?kept=1&next=%2Fruns", &cookie).send(host.api).expect(303).header("location"),
        Some("/runs")
    );

    // Other names, other signature: the subject counts.
    provider.ways().claims = json!({ "email": "lovelace@example.org", "aud": [CLIENT] });
    provider.ways().signing = Signing::EdDsa;
    let again = me(&host, &cookies(&walk(&host, &provider).expect(200))).expect(200).json();
    assert_eq!(again["login"], "ada@example.org");
    let users = host.get("/api/v1/users").expect(200).json();
    assert_eq!(users["users"].as_array().unwrap().len(), 2);
    let user = host.get("/api/v1/users/ada@example.org").expect(200).json();
    assert_eq!((&user["has_provider"], &user["has_password"]), (&json!(true), &json!(false)));

    let bearer =
        Request::new("POST", "/api/v1/session").header("authorization", &format!("Bearer {}", host.token()));
    let shown =
        page("/users", &cookies(&bearer.send(host.api).expect(201))).send(host.api).expect(200).text();
    assert!(shown.contains("<td data-name=\"Signs in by\">Example &lt;ID&gt;</td>"), "{shown}");

    let words: Vec<String> = audit(&host)
        .iter()
        .filter(|entry| entry["via"] == "oidc")
        .map(|entry| format!("{} {}", entry["what"].as_str().unwrap(), entry["who"].as_str().unwrap()))
        .collect();
    let began = "session.begin ada@example.org".to_owned();
    assert_eq!(words.iter().filter(|word| **word == began).count(), 2, "{words:?}");
    assert!(words.contains(&"user.create ada@example.org".to_owned()), "{words:?}");

    // Disabled, it is refused, and its session with it.
    host.tell("PATCH", "/api/v1/users/ada@example.org", &json!({ "disabled": true })).expect(200);
    walk(&host, &provider).expect(409);
    me(&host, &cookie).expect(401);
}

#[test]
fn no_token_that_is_wrong_signs_anybody_in() {
    let provider = Provider::start();
    let host = host(&provider, &[]);
    for signing in [Signing::None, Signing::Hs256, Signing::Stranger] {
        provider.ways().signing = signing;
        let reply = walk(&host, &provider).expect(403);
        assert_eq!(reply.header("set-cookie"), None, "{signing:?}");
    }
    provider.ways().signing = Signing::Es256;
    for claims in [
        json!({ "aud": "another" }),
        json!({ "aud": [CLIENT, "another"] }),
        json!({ "azp": "another" }),
        json!({ "iss": "https://other.example" }),
        json!({ "nonce": "another" }),
        json!({ "nonce": null }),
        json!({ "exp": 1_000_000_000 }),
        json!({ "exp": null }),
        json!({ "iat": 4_000_000_000_i64 }),
        json!({ "iat": 1_000_000_000 }),
        json!({ "sub": "" }),
    ] {
        provider.ways().claims = claims.clone();
        let reply = walk(&host, &provider).expect(403);
        assert_eq!(reply.header("set-cookie"), None, "{claims}");
        assert!(reply.text().contains("ID token is not accepted"), "{claims}");
    }
    provider.ways().claims = json!({});
    walk(&host, &provider).expect(200);
    let refused =
        audit(&host).iter().filter(|entry| entry["via"] == "oidc" && entry["status"] == 403).count();
    assert_eq!(refused, 14);
}

#[test]
fn an_answer_is_taken_once_from_the_browser_that_asked() {
    let provider = Provider::start();
    let host = host(&provider, &[]);
    let (back, cookie) = go(&host, &provider, "/sign-in/oidc", "");
    page(&back, "").send(host.api).expect(400);
    // It is gone, also for its own browser.
    page(&back, &cookie).send(host.api).expect(400);
    let (back, cookie) = go(&host, &provider, "/sign-in/oidc", "");
    let (_, other) = go(&host, &provider, "/sign-in/oidc", "");
    assert_ne!(cookie, other);
    page(&back, &other).send(host.api).expect(400);
    let (back, cookie) = go(&host, &provider, "/sign-in/oidc", "");
    page(&back, &cookie).send(host.api).expect(200);
    page(&back, &cookie).send(host.api).expect(400);
    // Another sign-in in the same browser does not end this one.
    let (first, cookie) = go(&host, &provider, "/sign-in/oidc", "");
    let (second, same) = go(&host, &provider, "/sign-in/oidc", &cookie);
    assert_eq!(cookie, same);
    page(&first, &cookie).send(host.api).expect(200);
    // A code of one sign-in is of no use to another: its verifier does not fit.
    let code = |back: &str| back.split(['?', '&']).find(|part| part.starts_with("code=")).unwrap().to_owned();
    let (third, _) = go(&host, &provider, "/sign-in/oidc", &cookie);
    let mixed = second.replace(&code(&second), &code(&third));
    page(&mixed, &cookie).send(host.api).expect(502);
    for back in ["", "?state=x&code=y", "?code=y"] {
        page(&format!("/sign-in/oidc/callback{back}"), &cookie).send(host.api).expect(400);
    }
    let (back, cookie) = go(&host, &provider, "/sign-in/oidc", "");
    let denied = back.replace(&code(&back), "error=access_denied");
    let reply = page(&denied, &cookie).send(host.api).expect(403);
    assert!(reply.text().contains("access_denied"));
}

#[test]
fn nobody_is_led_elsewhere() {
    let provider = Provider::start();
    let host = host(&provider, &[]);
    for next in
        ["https://evil.example", "//evil.example", "/%5Cevil.example", "/%0d%0aset-cookie:%20x=y", "/sign-in"]
    {
        let (back, cookie) = go(&host, &provider, &format!("/sign-in/oidc?next={next}"), "");
        let reply = page(&back, &cookie).send(host.api).expect(200);
        assert_eq!(reply.header("refresh"), Some("0; url=/sign-in?kept=1&next=%2Fworkflows"), "{next}");
    }
}

#[test]
fn keys_that_the_provider_changes_are_learned() {
    let provider = Provider::start();
    let host = host(&provider, &[]);
    walk(&host, &provider).expect(200);
    walk(&host, &provider).expect(200);
    assert_eq!(provider.ways().asked["/keys"], 1);
    provider.change_key("2");
    walk(&host, &provider).expect(200);
    assert_eq!(provider.ways().asked["/keys"], 2);
    // A key that nobody publishes does not make the host ask for ever.
    provider.ways().signing = Signing::Stranger;
    for number in 0..30 {
        let kid = format!("x{number}");
        provider.ways().keys = Answer::Well;
        provider.change_key(&kid);
        walk(&host, &provider).expect(403);
    }
    assert!(provider.ways().asked["/keys"] <= 14, "{}", provider.ways().asked["/keys"]);
    assert_eq!(provider.ways().asked["/.well-known/openid-configuration"], 1);
}

#[test]
fn a_provider_that_does_not_answer_well_fails_the_sign_in_alone() {
    let provider = Provider::start();
    let host = host(&provider, &[("oidc.timeout_ms", "1000")]);
    for answer in [Answer::Never, Answer::Huge, Answer::Failed, Answer::Rubbish, Answer::Elsewhere] {
        provider.ways().discovery = answer;
        let reply = page("/sign-in/oidc", "").send(host.api).expect(502);
        assert!(reply.text().contains("sign-in provider"), "{answer:?}");
    }
    let metrics = host.get("/readyz");
    metrics.expect(200);
    let nobody = Provider::start();
    let gone = nobody.issuer();
    drop(nobody);
    let without = Host::with(&[("oidc.issuer", &gone), ("oidc.client_id", CLIENT)]);
    page("/sign-in/oidc", "").send(without.api).expect(502);
    page("/sign-in", "").send(without.api).expect(200);
}

#[test]
fn what_the_token_endpoint_answers_wrong_signs_nobody_in() {
    let provider = Provider::start();
    let host = host(&provider, &[("oidc.timeout_ms", "20000")]);
    for answer in [Answer::Huge, Answer::Failed, Answer::Rubbish, Answer::Elsewhere] {
        provider.ways().token = answer;
        walk(&host, &provider).expect(502);
    }
    provider.ways().token = Answer::Well;
    for answer in [Answer::Huge, Answer::Failed, Answer::Rubbish, Answer::Elsewhere] {
        provider.ways().keys = answer;
        walk(&host, &provider).expect(502);
    }
    provider.ways().keys = Answer::Well;
    walk(&host, &provider).expect(200);
}

#[test]
fn who_is_admitted_and_as_what_is_configured() {
    let provider = Provider::start();
    let settings = [
        ("oidc.allowed_domains", "example.org"),
        ("oidc.allowed_groups", "staff,ops"),
        ("oidc.admin_groups", "ops"),
    ];
    let host = host(&provider, &settings);
    let refused = walk(&host, &provider).expect(403).text();
    assert!(refused.contains("none of the allowed groups"), "{refused}");
    provider.ways().claims = json!({ "groups": ["staff"], "email_verified": false });
    let refused = walk(&host, &provider).expect(403).text();
    assert!(refused.contains("none of the allowed domains"), "{refused}");
    let role = |groups: Value| {
        provider.ways().claims = json!({ "groups": groups });
        me(&host, &cookies(&walk(&host, &provider).expect(200))).expect(200).json()["role"].clone()
    };
    assert_eq!(role(json!(["staff"])), "member");
    assert_eq!(role(json!(["ops"])), "admin");
    assert_eq!(role(json!(["staff"])), "member");
}

#[test]
fn users_who_are_there_are_linked_by_a_verified_address_only_where_that_is_allowed() {
    let provider = Provider::start();
    let closed = host(&provider, &[("oidc.create_users", "false")]);
    let user = json!({ "login": "ada@example.org", "password": "correct horse" });
    closed.tell("POST", "/api/v1/users", &user).expect(201);
    let reply = walk(&closed, &provider).expect(403);
    assert!(reply.text().contains("belongs to no user"), "{}", reply.text());
    let made = host(&provider, &[]);
    made.tell("POST", "/api/v1/users", &user).expect(201);
    assert!(walk(&made, &provider).expect(403).text().contains("another user"));
    let linking = host(&provider, &[("oidc.create_users", "false"), ("oidc.link_verified_email", "true")]);
    linking.tell("POST", "/api/v1/users", &user).expect(201);
    provider.ways().claims = json!({ "email_verified": false });
    walk(&linking, &provider).expect(403);
    provider.ways().claims = json!({});
    let cookie = cookies(&walk(&linking, &provider).expect(200));
    assert_eq!(me(&linking, &cookie).expect(200).json()["login"], "ada@example.org");
    // The link stays, whatever becomes of the address.
    provider.ways().claims = json!({ "email": "other@example.org" });
    walk(&linking, &provider).expect(200);
    // And nobody else gets it.
    provider.ways().claims = json!({ "sub": "another" });
    walk(&linking, &provider).expect(403);
}

#[test]
fn session_is_proved_by_signing_in_again_at_the_provider() {
    let provider = Provider::start();
    let host = host(&provider, &[("accounts.proof_s", "2")]);
    let cookie = cookies(&walk(&host, &provider).expect(200));
    let workflow = json!({ "name": "w", "kind": "catch" });
    Request::new("POST", "/api/v1/workflows")
        .header("cookie", &cookie)
        .json(&workflow)
        .send(host.api)
        .expect(201);
    let is_old = || {
        let path = "/api/v1/workflows/w/settings?visibility=plain";
        Request::new("PATCH", path).header("cookie", &cookie).json(&json!({})).send(host.api).status == 403
    };
    wait::until("the session is old", is_old);
    let form =
        Request::new("POST", "/account").header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    let asked =
        form.body("application/x-www-form-urlencoded", "action=token").send(host.api).expect(200).text();
    assert!(asked.contains("Sign in again with") && !asked.contains("Your password"), "{asked}");
    let again = || {
        let (back, browser) = go(&host, &provider, "/sign-in/oidc?again=1&next=/account", &cookie);
        page(&back, &browser).send(host.api)
    };
    // The provider has to ask its user, and it has to be the same one.
    for (claims, wrong) in [
        (json!({ "auth_time": null }), "did not ask its user"),
        (json!({ "auth_time": 1_000_000_000 }), "did not ask its user"),
        (json!({ "sub": "another" }), "not the one of this session"),
    ] {
        provider.ways().claims = claims;
        let reply = again().expect(403);
        assert!(reply.text().contains(wrong), "{}", reply.text());
        assert!(is_old());
    }
    provider.ways().claims = json!({});
    // A busy machine may let the proof grow old before it is used.
    wait::until("the session is proved", || {
        assert_eq!(again().expect(200).header("refresh"), Some("0; url=/account"));
        !is_old()
    });
}

/// The value of a counter of sign-ins.
fn signed_in(host: &Host, means: &str, outcome: &str) -> u64 {
    let metrics = host.get("/metrics").expect(200).text();
    let name = format!("tidegate_sign_ins_total{{means=\"{means}\",outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

#[test]
fn sign_ins_are_counted_by_means_and_by_what_came_of_them() {
    let provider = Provider::start();
    let host = host(&provider, &[("accounts.sign_in_attempts_max", "1")]);
    let user = json!({ "login": "eve", "password": "correct horse" });
    host.tell("POST", "/api/v1/users", &user).expect(201);
    walk(&host, &provider).expect(200);
    provider.ways().claims = json!({ "aud": "another" });
    walk(&host, &provider).expect(403);
    let with = |authorization: &str| {
        Request::new("POST", "/api/v1/session").header("authorization", authorization).send(host.api)
    };
    let basic = |password: &str| {
        with(&format!("Basic {}", data_encoding::BASE64.encode(format!("eve:{password}").as_bytes())))
    };
    basic("correct horse").expect(201);
    basic("guess").expect(401);
    basic("guess").expect(429);
    with(&format!("Bearer {}", host.token())).expect(201);
    with("Bearer nothing").expect(401);
    let form = Request::new("POST", "/sign-in").header("sec-fetch-site", "same-origin");
    form.body("application/x-www-form-urlencoded", "link=nothing").send(host.api).expect(401);
    for (means, outcome, count) in [
        ("oidc", "begun", 1),
        ("oidc", "refused", 1),
        ("password", "begun", 1),
        ("password", "refused", 1),
        ("password", "locked-out", 1),
        ("token", "begun", 1),
        ("token", "refused", 1),
        ("link", "refused", 1),
        ("link", "begun", 0),
    ] {
        assert_eq!(signed_in(&host, means, outcome), count, "{means} {outcome}");
    }
}

#[test]
fn admin_parts_a_user_from_the_provider_and_links_it_again() {
    let provider = Provider::start();
    let host = host(&provider, &[("oidc.create_users", "false")]);
    for login in ["ada", "eve"] {
        host.tell("POST", "/api/v1/users", &json!({ "login": login })).expect(201);
    }
    let change = |login: &str, body: Value| host.tell("PATCH", &format!("/api/v1/users/{login}"), &body);
    walk(&host, &provider).expect(403);
    // The configured issuer's, when none is named.
    let linked = change("ada", json!({ "identity": { "subject": SUBJECT } })).expect(200);
    assert_eq!(linked.json()["has_provider"], true);
    let cookie = cookies(&walk(&host, &provider).expect(200));
    assert_eq!(me(&host, &cookie).expect(200).json()["login"], "ada");

    // Nobody is two users, and what is no subject is refused.
    let identity = json!({ "subject": SUBJECT, "issuer": provider.issuer() });
    for (login, identity, wrong) in [
        ("eve", identity.clone(), "it is the user ada already"),
        ("eve", json!({ "subject": "" }), "1 to 255 bytes"),
        ("eve", json!({ "subject": "x".repeat(256) }), "1 to 255 bytes"),
        ("eve", json!({ "subject": "x", "issuer": "a\nb" }), "an issuer has"),
    ] {
        let refused = change(login, json!({ "identity": identity })).expect(422);
        assert!(refused.field("message").contains(wrong), "{}", refused.text());
    }
    // The same again changes nothing, and ends no session.
    change("ada", json!({ "identity": identity })).expect(200);
    me(&host, &cookie).expect(200);

    let parted = change("ada", json!({ "identity": null })).expect(200);
    assert_eq!(parted.json()["has_provider"], false);
    me(&host, &cookie).expect(401);
    walk(&host, &provider).expect(403);
    change("eve", json!({ "identity": identity })).expect(200);
    let cookie = cookies(&walk(&host, &provider).expect(200));
    assert_eq!(me(&host, &cookie).expect(200).json()["login"], "eve");
    // A member changes nobody, itself included.
    Request::new("PATCH", "/api/v1/users/eve")
        .header("cookie", &cookie)
        .json(&json!({ "identity": null }))
        .send(host.api)
        .expect(403);
    let noted: Vec<Value> = audit(&host).into_iter().filter(|entry| entry["what"] == "user.change").collect();
    assert!(noted.iter().any(|entry| entry["details"] == json!(["unlinked"])), "{noted:?}");
    assert!(noted.iter().any(|entry| entry["details"] == json!(["linked"])), "{noted:?}");
}

#[test]
fn provider_proves_a_session_before_a_backup() {
    let provider = Provider::start();
    let host = host(&provider, &[("accounts.proof_s", "2")]);
    walk(&host, &provider).expect(200);
    let login = "/api/v1/users/ada@example.org";
    host.tell("PATCH", login, &json!({ "role": "admin" })).expect(200);
    let cookie = cookies(&walk(&host, &provider).expect(200));
    let backup = || page("/backup", &cookie).send(host.api).expect(200);
    let is_archive = |reply: &Reply| reply.header("content-disposition").is_some();
    let asked = wait::for_some("the session is old", || Some(backup()).filter(|reply| !is_archive(reply)));
    let asked = asked.text();
    assert!(asked.contains("Sign in again with") && !asked.contains("Your password"), "{asked}");
    // The API takes no old session either.
    let api = || Request::new("GET", "/api/v1/backup").header("cookie", &cookie).send(host.api);
    assert_eq!(api().expect(403).field("code"), "proof-needed");
    let again = || {
        let (back, browser) = go(&host, &provider, "/sign-in/oidc?again=1&next=/admin", &cookie);
        page(&back, &browser).send(host.api)
    };
    provider.ways().claims = json!({ "sub": "another" });
    again().expect(403);
    assert!(!is_archive(&backup()), "another's proof is none");
    provider.ways().claims = json!({});
    // A busy machine may let the proof grow old before it is used.
    let archive = wait::for_some("the backup", || {
        again().expect(200);
        Some(backup()).filter(is_archive)
    });
    assert!(archive.body.windows(13).any(|name| name == b"manifest.json"));
}

#[test]
fn without_a_provider_there_is_no_way_to_one() {
    let host = Host::start();
    assert_eq!(
        Request::new("GET", "/api/v1/sign-in").send(host.api).expect(200).json()["provider"],
        Value::Null
    );
    page("/sign-in/oidc", "").send(host.api).expect(404);
    page("/sign-in/oidc/callback?state=x&code=y", "").send(host.api).expect(404);
    assert!(!page("/sign-in", "").send(host.api).expect(200).text().contains("Sign in with"));
    // Whose issuer it would be is not known.
    let identity = json!({ "identity": { "subject": "x" } });
    host.tell("POST", "/api/v1/users", &json!({ "login": "eve" })).expect(201);
    let refused = host.tell("PATCH", "/api/v1/users/eve", &identity).expect(422);
    assert!(refused.field("message").contains("an issuer is needed"), "{}", refused.text());
}
