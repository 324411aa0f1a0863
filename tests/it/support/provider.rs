//! A sign-in provider (OpenID Connect) of a test's own: it knows one client, signs in
//! whoever comes, and does wrong what it is told to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::http::Request;

pub(crate) const CLIENT: &str = "tidegate";
pub(crate) const SECRET: &str = "client s3cret/+&";

/// What it calls its only user.
pub(crate) const SUBJECT: &str = "248289761001";

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    Es256,
    EdDsa,
    /// Not at all, and says so.
    None,
    /// With the public key as a shared secret.
    Hs256,
    /// With a key that is not among those that are published.
    Stranger,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Well,
    /// Not before the provider ends.
    Never,
    /// With 8 MiB.
    Huge,
    /// With an error of the server.
    Failed,
    /// With something else than was asked for.
    Rubbish,
    /// With a redirect to where it is answered well.
    Elsewhere,
}

/// What the provider does.
pub(crate) struct Ways {
    pub(crate) signing: Signing,
    /// Put over the claims of each token; `null` takes one away.
    pub(crate) claims: Value,
    pub(crate) discovery: Answer,
    pub(crate) keys: Answer,
    pub(crate) token: Answer,
    /// Requests that came, by path.
    pub(crate) asked: HashMap<String, u32>,
    key: EcdsaKeyPair,
    kid: String,
    edwards: Ed25519KeyPair,
    /// Codes that were given: nonce, challenge, redirect, whether a fresh sign-in was asked.
    codes: HashMap<String, (String, String, String, bool)>,
}

/// A provider that serves until it is dropped.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    ways: Arc<(Mutex<Ways>, Condvar, Mutex<bool>)>,
}

fn fresh_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
}

impl Provider {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let ways = Ways {
            signing: Signing::Es256,
            claims: json!({}),
            discovery: Answer::Well,
            keys: Answer::Well,
            token: Answer::Well,
            asked: HashMap::new(),
            key: fresh_key(),
            kid: "1".to_owned(),
            edwards: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap(),
            codes: HashMap::new(),
        };
        let ways = Arc::new((Mutex::new(ways), Condvar::new(), Mutex::new(false)));
        let shared = ways.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                if *shared.2.lock().unwrap() {
                    return;
                }
                std::thread::spawn(move || serve(stream, address, &shared));
            }
        });
        Self { address, ways }
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.0.lock().unwrap()
    }

    /// Signs with another key from now on, which is published like the one before.
    pub(crate) fn change_key(&self, kid: &str) {
        let mut ways = self.ways();
        (ways.key, ways.kid) = (fresh_key(), kid.to_owned());
    }

    /// A browser at the provider's page: where it is sent back to, as path and query.
    pub(crate) fn visit(&self, url: &str) -> String {
        let path = url.strip_prefix(&self.issuer()).expect("the provider's own page");
        let reply = Request::new("GET", path).send(self.address).expect(302);
        let back = reply.header("location").unwrap().to_owned();
        let (_, rest) = back.split_once("://").unwrap();
        rest[rest.find('/').unwrap()..].to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        *self.ways.2.lock().unwrap() = true;
        self.ways.1.notify_all();
        // The listener's thread looks up.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, address: SocketAddr, shared: &(Mutex<Ways>, Condvar, Mutex<bool>)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if !matches!(reader.read_line(&mut line), Ok(length) if length > 0) {
            return;
        }
        let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let (mut length, mut authorization) = (0, String::new());
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap(),
                "authorization" => authorization = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let how = {
            let mut ways = shared.0.lock().unwrap();
            *ways.asked.entry(path.to_owned()).or_default() += 1;
            match path {
                "/.well-known/openid-configuration" => ways.discovery,
                "/keys" => ways.keys,
                "/token" => ways.token,
                _ => Answer::Well,
            }
        };
        let (status, location, body) = match how {
            Answer::Never => {
                let ended = shared.2.lock().unwrap();
                drop(shared.1.wait_while(ended, |ended| !*ended).unwrap());
                return;
            }
            Answer::Huge => (200, String::new(), " ".repeat(8 << 20)),
            Answer::Failed => (500, String::new(), String::new()),
            Answer::Rubbish => (200, String::new(), "<html>".to_owned()),
            Answer::Elsewhere if !query.contains("there") => (302, format!("{path}?there"), String::new()),
            Answer::Well | Answer::Elsewhere => {
                let mut ways = shared.0.lock().unwrap();
                ways.answer(address, path, query, &authorization, &body)
            }
        };
        let location = if location.is_empty() { location } else { format!("location: {location}\r\n") };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{location}\r\n", body.len());
        if reader.get_mut().write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

impl Ways {
    fn answer(
        &mut self,
        address: SocketAddr,
        path: &str,
        query: &str,
        authorization: &str,
        body: &[u8],
    ) -> (u16, String, String) {
        let ok = |document: Value| (200, String::new(), document.to_string());
        let url = |path: &str| format!("http://{address}{path}");
        match path {
            "/.well-known/openid-configuration" => ok(json!({
                "issuer": format!("http://{address}"),
                "authorization_endpoint": url("/authorize"),
                "token_endpoint": url("/token"),
                "jwks_uri": url("/keys"),
            })),
            "/keys" => {
                let point = self.key.public_key().as_ref();
                let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
                ok(json!({ "keys": [
                    { "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid,
                      "x": text(&point[1..33]), "y": text(&point[33..]) },
                    { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": text(self.edwards.public_key().as_ref()) },
                ] }))
            }
            "/authorize" => self.authorize(query),
            "/token" => self.exchange(address, authorization, body),
            _ => (404, String::new(), String::new()),
        }
    }

    fn authorize(&mut self, query: &str) -> (u16, String, String) {
        let field = fields(query.as_bytes());
        assert_eq!((field("response_type").as_str(), field("client_id").as_str()), ("code", CLIENT));
        assert_eq!(field("code_challenge_method"), "S256");
        assert!(field("scope").split(' ').any(|scope| scope == "openid"));
        let code = format!("code-{}", self.codes.len());
        let again = field("max_age") == "0" && field("prompt") == "login";
        let (nonce, challenge) = (field("nonce"), field("code_challenge"));
        assert!(nonce.len() >= 32 && challenge.len() == 43 && field("state").len() >= 32);
        self.codes.insert(code.clone(), (nonce, challenge, field("redirect_uri"), again));
        (302, format!("{}?code={code}&state={}", field("redirect_uri"), field("state")), String::new())
    }

    fn exchange(&mut self, address: SocketAddr, authorization: &str, body: &[u8]) -> (u16, String, String) {
        let refuse = |error: &str| (400, String::new(), json!({ "error": error }).to_string());
        let field = fields(body);
        let encoded: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        if authorization != format!("Basic {}", BASE64.encode(format!("{CLIENT}:{encoded}").as_bytes())) {
            return refuse("invalid_client");
        }
        // Each code is exchanged once.
        let given = self.codes.insert(field("code"), Default::default());
        let Some((nonce, challenge, redirect, again)) = given else { return refuse("invalid_grant") };
        let proof = BASE64URL_NOPAD.encode(&Sha256::digest(field("code_verifier").as_bytes()));
        if proof != challenge || redirect != field("redirect_uri") {
            return refuse("invalid_grant");
        }
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": format!("http://{address}"), "aud": CLIENT, "sub": SUBJECT, "nonce": nonce,
            "exp": now + 300, "iat": now, "name": "Ada L.",
            "email": "ada@example.org", "email_verified": true,
        });
        if again {
            claims["auth_time"] = json!(now);
        }
        for (name, value) in self.claims.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        (
            200,
            String::new(),
            json!({ "access_token": "x", "token_type": "Bearer", "id_token": self.sign(&claims) })
                .to_string(),
        )
    }

    fn sign(&self, claims: &Value) -> String {
        let (alg, kid) = match self.signing {
            Signing::Es256 | Signing::Stranger => ("ES256", self.kid.as_str()),
            Signing::EdDsa => ("EdDSA", "ed"),
            Signing::None => ("none", ""),
            Signing::Hs256 => ("HS256", self.kid.as_str()),
        };
        let text = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", text(&json!({ "alg": alg, "kid": kid })), text(claims));
        let by =
            |key: &EcdsaKeyPair| key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec();
        let signature = match self.signing {
            Signing::Es256 => by(&self.key),
            Signing::Stranger => by(&fresh_key()),
            Signing::EdDsa => self.edwards.sign(signed.as_bytes()).as_ref().to_vec(),
            Signing::None => Vec::new(),
            Signing::Hs256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(self.key.public_key().as_ref()).unwrap();
                mac.update(signed.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
        };
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

fn fields(bytes: &[u8]) -> impl Fn(&str) -> String {
    let fields: HashMap<String, String> = form_urlencoded::parse(bytes).into_owned().collect();
    move |name| fields.get(name).cloned().unwrap_or_default()
}
