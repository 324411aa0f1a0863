//! Sealed settings: the value gets where it belongs, and nowhere else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures::SinkExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use jiff::Timestamp;
use wasmtime_wasi_http::WasiBody;

use super::server::{Reply, Server};
use super::tls::Authority;
use super::{FakeDns, Guest, body, channel, egress_with, request, whole};
use crate::engine::egress::{Egress, RunEgressOptions, SealedSettings};
use crate::run::SealedUse;
use crate::workflow::{Mask, Place, Seal, Secret, Setting, SettingWriter, Settings, Visibility, WorkflowId};

const VALUE: &str = "sk live/+\"é\\42&=Wx";
/// A value that can stand in any header.
const TOKEN: &str = "sk_live_4242+/=token";

/// What servers were sent, head and body.
type Seen = Arc<Mutex<Vec<String>>>;

/// Two servers, to one of which a setting is sealed.
struct World {
    bound: Server,
    other: Server,
    plain: Server,
    seen_bound: Seen,
    seen_other: Seen,
    egress: Arc<Egress>,
    _authority: Authority,
}

fn chunked(bytes: Vec<u8>) -> Reply {
    let frames = bytes.into_iter().map(|byte| Ok(http_body::Frame::data(Bytes::from(vec![byte]))));
    Response::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync())
}

/// Answers with what it was sent, in the way that the path asks for.
async fn echo(seen: Seen, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = format!(
        "{} {}\n{:?}\n{}",
        parts.method,
        parts.uri,
        HeaderText(&parts.headers),
        String::from_utf8_lossy(&body)
    );
    seen.lock().unwrap().push(text.clone());
    let sent = parts.headers.get("x-api-key").map(|value| value.as_bytes().to_vec()).unwrap_or_default();
    let full = |bytes: Vec<u8>| {
        Response::new(Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync())
    };
    match parts.uri.path() {
        "/body" => full(text.into_bytes()),
        "/chunks" => chunked(text.into_bytes()),
        "/base64" => full(BASE64.encode(&[b"x".as_slice(), &sent].concat()).into_bytes()),
        "/hex" => full(HEXLOWER.encode(&sent).into_bytes()),
        "/reversed" => full(sent.into_iter().rev().collect()),
        "/often" => chunked(sent.repeat(500)),
        "/json" => full(serde_json::to_vec(&[String::from_utf8_lossy(&sent)]).unwrap()),
        path @ ("/gzip" | "/header" | "/cookie" | "/location" | "/name" | "/partial") => {
            let mut reply = full(b"ok".to_vec());
            let value = http::HeaderValue::from_bytes(&sent).unwrap();
            let text = String::from_utf8_lossy(&sent).into_owned();
            match path {
                "/gzip" => drop(reply.headers_mut().insert("content-encoding", "gzip".parse().unwrap())),
                "/header" => drop(reply.headers_mut().insert("x-echo", value)),
                "/cookie" => {
                    drop(reply.headers_mut().insert("set-cookie", format!("a={text}").parse().unwrap()))
                }
                "/location" => drop(
                    reply
                        .headers_mut()
                        .insert("location", format!("https://other.example/?k={text}").parse().unwrap()),
                ),
                "/partial" => {
                    return full(
                        text.as_bytes()[..if parts.headers.contains_key("range") { 5 } else { text.len() }]
                            .to_vec(),
                    );
                }
                _ => {
                    let name = text.to_ascii_lowercase().replace(['+', '/', '='], "");
                    reply
                        .headers_mut()
                        .insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), "x".parse().unwrap());
                }
            }
            reply
        }
        _ => full(Vec::new()),
    }
}

struct HeaderText<'a>(&'a http::HeaderMap);

impl std::fmt::Debug for HeaderText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in self.0 {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        Ok(())
    }
}

impl World {
    async fn new() -> Self {
        let authority = Authority::new();
        let (seen_bound, seen_other) = (Seen::default(), Seen::default());
        let serve = |seen: &Seen| {
            let seen = seen.clone();
            move |request| echo(seen.clone(), request)
        };
        let config = authority.server(&["api.example", "127.0.0.1"], &[]);
        let bound = Server::https(config, serve(&seen_bound)).await;
        let config = authority.server(&["other.example", "xn--pi-7sa.example", "api.example"], &[]);
        let other = Server::https(config, serve(&seen_other)).await;
        let plain = Server::http(serve(&seen_other)).await;
        let mut dns = FakeDns::default();
        for name in [
            "api.example",
            "other.example",
            "xn--pi-7sa.example",
            "www.api.example",
            "api.example.other.example",
        ] {
            dns = dns.answer(name, Ok(&["127.0.0.1"]));
        }
        let ca_file = authority.file.path().to_str().unwrap().to_owned();
        let entries = [bound.entry(), other.entry(), plain.entry()];
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let egress = egress_with(&entries, dns, |config| config.ca_file = ca_file);
        Self { bound, other, plain, seen_bound, seen_other, egress, _authority: authority }
    }

    fn port(&self) -> u16 {
        self.bound.address.port()
    }

    /// A run whose setting `KEY` is sealed to the bound server, and its placeholder.
    fn guest(&self, value: &str, change: impl FnOnce(&mut Seal)) -> (Guest, String) {
        let mut seal = Seal::to(vec![format!("api.example:{}", self.port()).parse().unwrap()]);
        change(&mut seal);
        let settings = Settings::new(
            BTreeMap::from([("KEY".to_owned(), setting(value, Some(seal)))]),
            Default::default(),
        );
        let sealed = SealedSettings::of(&settings, |_| rand::random());
        let placeholder = sealed.as_ref().unwrap().placeholder("KEY").unwrap().to_owned();
        let started = Instant::now();
        let deadline = started + Duration::from_secs(60);
        let options = RunEgressOptions {
            workflow: WorkflowId::new(),
            started,
            deadline,
            open: true,
            destinations: None,
            trace: None,
            limits: Default::default(),
            sealed,
        };
        (Guest { hooks: self.egress.for_run(options), options: Default::default() }, placeholder)
    }

    fn last(&self) -> String {
        self.seen_bound.lock().unwrap().last().cloned().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://api.example:{}{path}", self.port())
    }
}

fn setting(value: &str, seal: Option<Seal>) -> Setting {
    Setting {
        value: Secret::new(serde_json::to_string(value).unwrap()),
        visibility: Visibility::Sealed,
        seal,
        fingerprint: String::new(),
        updated_at: Timestamp::UNIX_EPOCH,
        updated_by: SettingWriter::User(None),
    }
}

fn with(url: &str, headers: &[(&str, &str)], bytes: &str) -> Request<WasiBody> {
    let mut request = Request::post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body(bytes.to_owned())).unwrap()
}

fn used(name: &str) -> Vec<SealedUse> {
    vec![SealedUse { name: name.to_owned(), refused: None }]
}

#[tokio::test]
async fn the_bound_host_gets_the_value_at_each_place() {
    let world = World::new().await;
    let (mut guest, key) = world.guest(VALUE, |_| {});
    let json = serde_json::json!({ "user": "x", "password": key, "again": [key] }).to_string();
    let decoded: serde_json::Value = serde_json::json!({ "user": "x", "password": VALUE, "again": [VALUE] });
    guest
        .fetch(with(
            &world.url("/a"),
            &[
                ("content-type", "application/json; charset=utf-8"),
                ("content-length", &json.len().to_string()),
            ],
            &json,
        ))
        .await
        .unwrap();
    let seen = world.last();
    let (head, sent) = seen.rsplit_once('\n').unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(sent).unwrap(), decoded);
    assert!(head.contains(&format!("content-length: {}", sent.len())), "{head}");
    assert_eq!(guest.last().sealed, used("KEY"));

    let form: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("a", "1").append_pair("k", &key).finish();
    guest
        .fetch(with(&world.url("/a"), &[("content-type", "application/x-www-form-urlencoded")], &form))
        .await
        .unwrap();
    let seen = world.last();
    let pairs: Vec<_> =
        form_urlencoded::parse(seen.rsplit_once('\n').unwrap().1.as_bytes()).into_owned().collect();
    assert_eq!(pairs, [("a".to_owned(), "1".to_owned()), ("k".to_owned(), VALUE.to_owned())]);

    guest.get(&world.url(&format!("/a?b=1&key={key}&c=2"))).await.unwrap();
    let seen = world.last();
    let query = seen.split([' ', '\n']).nth(1).unwrap().split_once('?').unwrap().1;
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(pairs[1], ("key".to_owned(), VALUE.to_owned()));

    let (mut guest, key) = world.guest(TOKEN, |_| {});
    let basic = BASE64.encode(format!("user:{key}").as_bytes());
    for (name, value, expected) in [
        ("authorization", format!("Bearer {key}"), format!("Bearer {TOKEN}")),
        (
            "authorization",
            format!("Basic {basic}"),
            format!("Basic {}", BASE64.encode(format!("user:{TOKEN}").as_bytes())),
        ),
        ("authorization", format!("Token token={key}"), format!("Token token={TOKEN}")),
        ("x-api-key", key.clone(), TOKEN.to_owned()),
        ("cookie", format!("a=b; session={key}"), format!("a=b; session={TOKEN}")),
    ] {
        guest.fetch(with(&world.url("/a"), &[(name, &value)], "")).await.unwrap();
        assert!(world.last().contains(&format!("{name}: {expected}\n")), "{}", world.last());
        assert_eq!(guest.last().sealed, used("KEY"));
    }
    // What is known of the URL holds no value.
    assert!(!serde_json::to_string(&guest.hooks.exchanges()).unwrap().contains("sk_live"));
}

#[tokio::test]
async fn parts_of_a_form_and_a_path_get_the_value_where_they_may() {
    let world = World::new().await;
    let (mut guest, key) = world.guest(TOKEN, |_| {});
    // As `requests` writes a file with a field beside it: bytes that are no text.
    let before =
        b"--b+1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\x00\xff\r\n\
        --b+1\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n";
    let whole = |value: &str| [before.as_slice(), value.as_bytes(), b"\r\n--b+1--\r\n"].concat();
    let mut sent =
        Request::post(world.url("/a")).header("content-type", "multipart/form-data; boundary=\"b+1\"");
    sent = sent.header("content-length", whole(&key).len());
    guest.fetch(sent.body(body(whole(&key))).unwrap()).await.unwrap();
    let seen = world.last();
    assert!(seen.ends_with(&*String::from_utf8_lossy(&whole(TOKEN))), "{seen}");
    assert!(seen.contains(&format!("content-length: {}\n", whole(TOKEN).len())), "{seen}");
    assert_eq!(guest.last().sealed, used("KEY"));

    // A path has it only where the setting asks for that.
    let path = |key: &str| world.url(&format!("/bot{key}/send?a=1"));
    guest.get(&path(&key)).await.unwrap();
    let told = guest.last().sealed[0].refused.clone().unwrap();
    assert!(
        told.starts_with("it is sealed to the places header, ") && told.ends_with("this one is path"),
        "{told}"
    );
    let (mut guest, key) = world.guest(TOKEN, |seal| seal.places = vec![Place::Path]);
    guest.get(&path(&key)).await.unwrap();
    let seen = world.last();
    assert!(seen.starts_with("GET /botsk_live_4242%2B%2F%3Dtoken/send?a=1\n"), "{seen}");
    assert_eq!(guest.last().sealed, used("KEY"));
    assert!(guest.last().url.contains(&key), "the record has the placeholder");
}

#[tokio::test]
async fn what_cannot_be_filled_is_told_with_what_can() {
    let world = World::new().await;
    let large = "x".repeat((1 << 20) + 1);
    for (kind, text, words) in [
        ("text/plain", "{}", "JSON, form and multipart bodies can hold it"),
        ("multipart/form-data", "{}", "JSON, form and multipart bodies can hold it"),
        ("application/json", large.as_str(), "bodies of more than 1 MiB are not looked through"),
    ] {
        let (mut guest, key) = world.guest(TOKEN, |_| {});
        let text = if text.len() > 2 { format!("{key}{text}") } else { key.clone() };
        let length = text.len().to_string();
        guest
            .fetch(with(&world.url("/a"), &[("content-type", kind), ("content-length", &length)], &text))
            .await
            .unwrap();
        assert!(world.last().ends_with(&text));
        assert!(
            guest.last().sealed[0].refused.as_ref().unwrap().contains(words),
            "{:?}",
            guest.last().sealed
        );
    }
    let (mut guest, key) = world.guest(TOKEN, |_| {});
    guest.get(&world.url(&format!("/a?{key}&b=1"))).await.unwrap();
    assert!(guest.last().sealed[0].refused.as_ref().unwrap().contains("behind a name"));
}

#[tokio::test]
async fn a_place_or_a_transport_that_is_not_allowed_gets_the_placeholder() {
    let world = World::new().await;
    type Make = fn(&str) -> Request<WasiBody>;
    let places: [(Place, Make); 2] = [
        (Place::Query, |key| with("https://host/a", &[("x-api-key", key)], "")),
        (Place::Header, |key| {
            with(
                "https://host/a",
                &[("authorization", &format!("Basic {}", BASE64.encode(key.as_bytes())))],
                "",
            )
        }),
    ];
    for (place, make) in places {
        let (mut guest, key) = world.guest(TOKEN, |seal| seal.places = vec![place]);
        let mut request = make(&key);
        *request.uri_mut() = world.url("/a").parse().unwrap();
        guest.fetch(request).await.unwrap();
        assert!(!world.last().contains(TOKEN) && !world.last().contains(&BASE64.encode(TOKEN.as_bytes())));
        let uses = guest.last().sealed;
        let told = uses[0].refused.clone().unwrap();
        assert!(
            told.starts_with(&format!("it is sealed to the places {}, this one is ", place.word())),
            "{told}"
        );
        assert!(
            guest.hooks.remarks()[0]
                .1
                .contains("the placeholder of the sealed setting KEY was left as it is")
        );
    }
    let host = format!("127.0.0.1:{}", world.plain.address.port());
    for (allow_http, expected) in [(false, false), (true, true)] {
        let (mut guest, key) = world
            .guest(TOKEN, |seal| (seal.hosts, seal.allow_http) = (vec![host.parse().unwrap()], allow_http));
        guest.fetch(with(&world.plain.url("/a"), &[("x-api-key", &key)], "")).await.unwrap();
        let seen = world.seen_other.lock().unwrap().pop().unwrap();
        assert_eq!(seen.contains(TOKEN), expected);
        let refused = guest.last().sealed[0].refused.clone();
        assert_eq!(refused.as_deref(), (!expected).then_some("it is not sent without TLS"));
    }
}

#[tokio::test]
async fn a_large_body_goes_out_as_it_is_and_a_streamed_one_is_filled() {
    let world = World::new().await;
    let (mut guest, key) = world.guest(TOKEN, |_| {});
    let large = format!("[\"{key}\", \"{}\"]", "x".repeat((1 << 20) + 1));
    guest.fetch(with(&world.url("/a"), &[("content-type", "application/json")], &large)).await.unwrap();
    assert!(world.last().ends_with(&large));
    let (mut pieces, streamed) = channel();
    let request =
        Request::post(world.url("/a")).header("content-type", "application/json").body(streamed).unwrap();
    let sending = tokio::spawn(guest.begin(request));
    let text = format!("[\"{key}\"]");
    for piece in text.as_bytes().chunks(5) {
        pieces.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    drop(pieces);
    sending.await.unwrap().unwrap();
    assert!(world.last().ends_with(&format!("[\"{TOKEN}\"]")));
}

/// All that a guest learns of a request.
async fn learned(guest: &mut Guest, request: Request<WasiBody>) -> String {
    let sent = match guest.send(request).await {
        Ok(response) => whole(response).await,
        Err(error) => return format!("{error:?}"),
    };
    match sent {
        Ok(response) => {
            format!("{:?}\n{}", HeaderText(response.headers()), String::from_utf8_lossy(response.body()))
        }
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::test]
async fn ways_to_get_the_value_out_fail() {
    let world = World::new().await;
    let (port, other) = (world.port(), world.other.address.port());
    let plain = world.plain.address.port();
    // The answers of the bound host, which has the value.
    let echoes = [
        "/body",
        "/chunks",
        "/base64",
        "/hex",
        "/reversed",
        "/often",
        "/json",
        "/gzip",
        "/header",
        "/cookie",
        "/location",
        "/name",
        "/partial",
    ];
    let mut tried = 0;
    // Its own names only: the mask knows every form that is looked for.
    let value = "sk_live_4242token";
    let settings = BTreeMap::from([("KEY".to_owned(), setting(value, None))]);
    let mask = Mask::of(&settings).unwrap();
    for path in echoes {
        let (mut guest, key) = world.guest(value, |_| {});
        let request = with(
            &world.url(path),
            &[("x-api-key", &key), ("accept-encoding", "gzip"), ("range", "bytes=0-4")],
            "",
        );
        let known = learned(&mut guest, request).await;
        assert!(world.last().contains(&format!("x-api-key: {value}")), "{path}");
        assert!(!world.last().contains("range:") && world.last().contains("accept-encoding: identity"));
        assert_eq!(mask.find(known.as_bytes()), [], "{path}: {known}");
        assert!(!known.contains("sk_l"), "{path}: {known}");
        tried += 1;
    }
    // Elsewhere, or not quite there.
    let urls = [
        format!("https://other.example:{other}/"),
        format!("https://api.example:{other}/"),
        format!("https://www.api.example:{port}/"),
        format!("https://api.example.other.example:{port}/"),
        format!("https://xn--pi-7sa.example:{other}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("http://api.example:{plain}/"),
        format!("http://api.example:{port}/"),
        format!("http://127.0.0.1:{plain}/"),
        format!("https://api.example/?x={port}"),
    ];
    for url in urls {
        for header in ["x-api-key", "authorization", "cookie", "host", "referer"] {
            let (mut guest, key) = world.guest(value, |_| {});
            let text = if header == "authorization" { format!("Bearer {key}") } else { key.clone() };
            let host = format!("api.example:{port}");
            let mut request = with(&url, &[(header, &text), ("x-forwarded-host", &host)], "");
            if header != "host" {
                request.headers_mut().insert("host", host.parse().unwrap());
            }
            let known = learned(&mut guest, request).await;
            assert_eq!(mask.find(known.as_bytes()), [], "{url}: {known}");
            tried += 1;
        }
    }
    // Places of a request to the bound host where others would read it.
    for make in [
        |key: &str, url: &str| with(&format!("{url}{key}"), &[], ""),
        |key: &str, url: &str| with(&format!("{url}?{key}"), &[], ""),
        |key: &str, url: &str| with(url, &[("referer", key)], ""),
        |key: &str, url: &str| with(url, &[("origin", key)], ""),
        |key: &str, url: &str| with(url, &[("proxy-authorization", key)], ""),
        |key: &str, url: &str| with(url, &[("content-type", "text/plain")], key),
        |key: &str, url: &str| with(url, &[("x-part", &key[..20])], ""),
        |key: &str, url: &str| with(url, &[("x-case", &key.to_uppercase())], ""),
        |key: &str, url: &str| {
            with(url, &[("authorization", "Basic !!"), ("x-b64", &BASE64.encode(key.as_bytes()))], "")
        },
        |key: &str, url: &str| request("GET", url, key.to_owned()),
    ] {
        let (mut guest, key) = world.guest(value, |_| {});
        learned(&mut guest, make(&key, &world.url("/"))).await;
        assert_eq!(mask.find(world.last().as_bytes()), [], "{}", world.last());
        tried += 1;
    }
    // In a body of parts: heads, other types, and the guesses of a guest that chooses the
    // boundary so that it would be one with the beginning of the value.
    let part = |boundary: &str, text: &str| {
        let kind = format!("multipart/form-data; boundary={boundary}");
        let bytes = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"k\"\r\n\r\n{text}");
        (kind, bytes)
    };
    for (boundary, text) in
        [("bsk_live", "x\r\n--b{}"), ("b", "x\n--{}"), ("b", "x\r\n--b\r\nx-a: {}\r\n\r\n")]
    {
        let (mut guest, key) = world.guest(value, |_| {});
        let (kind, bytes) = part(boundary, &text.replace("{}", &key));
        learned(&mut guest, with(&world.url("/"), &[("content-type", &kind)], &bytes)).await;
        assert!(world.last().contains(&key) && mask.find(world.last().as_bytes()).is_empty(), "{text:?}");
        assert!(guest.last().sealed[0].refused.as_ref().unwrap().contains("what a part holds"));
        tried += 1;
    }
    for value in ["--b\r\nx", "-begins-with-a-dash", "two\nlines-of-a-value"] {
        let (mut guest, key) = world.guest(value, |_| {});
        let (kind, bytes) = part("b", &key);
        learned(&mut guest, with(&world.url("/"), &[("content-type", &kind)], &bytes)).await;
        assert!(world.last().ends_with(&key));
        tried += 1;
    }
    // A path may have it where it is sealed to paths, and no other host's; a value cannot
    // leave its segment.
    for (url, value) in [(world.url("/a/"), "../../x?y=z#w"), (world.url("/"), "......")] {
        let (mut guest, key) = world.guest(value, |seal| seal.places = vec![Place::Path]);
        learned(&mut guest, request("GET", &format!("{url}{key}/b"), "")).await;
        let line = world.last().lines().next().unwrap().to_owned();
        assert!(
            line.ends_with(&format!("/{key}/b")) || line.ends_with("/a/..%2F..%2Fx%3Fy%3Dz%23w/b"),
            "{line}"
        );
        tried += 1;
    }
    let (mut guest, key) = world.guest(value, |seal| seal.places = vec![Place::Path]);
    let elsewhere = format!("https://other.example:{other}/{key}/b");
    learned(&mut guest, request("GET", &elsewhere, "")).await;
    assert!(world.seen_other.lock().unwrap().last().unwrap().contains(&key));
    // A user name in the URL is refused before anything is put in.
    let (mut guest, key) = world.guest(value, |_| {});
    let at = format!("https://{key}@api.example:{port}/");
    if let Ok(uri) = at.parse::<http::Uri>() {
        let mut refused = with(&world.url("/"), &[], "");
        *refused.uri_mut() = uri;
        assert!(learned(&mut guest, refused).await.contains("HttpRequestUriInvalid"));
    }
    // The placeholder of one run, or of another workflow, is nothing in another.
    let (_, stranger) = world.guest(value, |_| {});
    let (mut guest, own) = world.guest("another-value", |_| {});
    assert_ne!(stranger, own);
    learned(&mut guest, with(&world.url("/"), &[("x-api-key", &stranger)], "")).await;
    assert!(world.last().contains(&stranger) && mask.find(world.last().as_bytes()).is_empty());
    // A value that would break a header's line is not put in one.
    let (mut guest, key) = world.guest("one\r\nx-smuggled: two", |_| {});
    learned(&mut guest, with(&world.url("/"), &[("x-api-key", &key)], "")).await;
    assert!(world.last().contains(&key) && !world.last().contains("smuggled"));
    let elsewhere = world.seen_other.lock().unwrap();
    assert!(!elsewhere.is_empty());
    assert!(elsewhere.iter().all(|seen| mask.find(seen.as_bytes()).is_empty()), "{elsewhere:?}");
    assert!(tried > 70, "{tried}");
}
