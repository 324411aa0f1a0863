//! Sign-in by an OpenID Connect provider: the authorization code flow with PKCE (OpenID
//! Connect Core 1.0, section 3.1; RFC 7636).
//!
//! [`Oidc::begin`] says where the browser goes, [`Oidc::finish`] takes what it comes back
//! with, and says who the provider has signed in. Which user that is, and what it may, is
//! the business of [`crate::accounts`]. Nothing here keeps a token: once the ID token was
//! checked, only its subject and a few claims are left of it.

mod claims;
mod error;
mod flows;
mod jws;
mod provider;

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use self::error::{OidcConfigError, OidcError};
use self::flows::Flows;
use self::jws::Token;
use self::provider::Provider;
use crate::account::{Identity, Role};
use crate::config;
use crate::workflow::Digest;

/// The page to which the provider sends browsers back.
pub const CALLBACK_PATH: &str = "/sign-in/oidc/callback";
/// Most characters of what a provider said that are shown.
const SHOWN_CHARS_MAX: usize = 200;
/// Longest code that is looked at, in bytes.
const CODE_BYTES_MAX: usize = 4096;

/// What a sign-in is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To begin a session.
    SignIn,
    /// To prove once more who has a session.
    Again {
        /// The session.
        session: Digest,
    },
}

/// A user of the provider whom it has signed in.
#[derive(Debug, Clone)]
pub struct External {
    /// Who it is, for ever.
    pub identity: Identity,
    /// What its login here would be; `None` when the provider does not say.
    pub login: Option<String>,
    /// The login of a user here that it may be taken for; `None` when that is not allowed.
    pub verified_email: Option<String>,
    /// What people call it.
    pub name: String,
    /// Its role by its groups; `None` when groups say nothing of roles.
    pub role: Option<Role>,
    /// Whether it becomes a user here at its first sign-in.
    pub may_create: bool,
}

/// Where a browser goes.
#[derive(Debug)]
pub struct Begun {
    /// The provider's page.
    pub url: String,
    /// What the browser keeps until it is back.
    pub browser: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Finished {
    /// Whom the provider has signed in.
    pub external: External,
    /// What for.
    pub purpose: Purpose,
    /// Where its user was going.
    pub next: String,
}

/// Sign-in by one provider.
pub struct Oidc {
    config: config::Oidc,
    secret: Option<Zeroizing<String>>,
    redirect: String,
    name: String,
    flows: Flows,
    provider: Provider,
}

// It holds the client's secret.
impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.config.issuer).finish_non_exhaustive()
    }
}

impl Oidc {
    /// As configured; `None` where no issuer is. `url` is how browsers reach this host,
    /// without a slash at its end. Asks nobody: the provider may be down.
    ///
    /// # Errors
    /// What of the configuration cannot be used.
    pub fn new(config: &config::Oidc, url: &str) -> Result<Option<Self>, OidcConfigError> {
        if config.issuer.is_empty() {
            return Ok(None);
        }
        let wrong = |key, reason| Err(OidcConfigError::Value { key, reason });
        if !is_safe_url(&config.issuer) || config.issuer.contains(['?', '#']) {
            return wrong("issuer", "must be an https URL without query (http on this machine itself only)");
        }
        if config.client_id.is_empty() {
            return wrong("client_id", "is empty: the provider gives one to each application");
        }
        if !config.scopes.iter().any(|scope| scope == "openid") {
            return wrong("scopes", "must have openid among them");
        }
        let file = |key: &'static str, path: &str| match path {
            "" => Ok(None),
            path => match std::fs::read(path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(source) => Err(OidcConfigError::File { key, path: path.to_owned(), source }),
            },
        };
        let kept = file("client_secret_file", &config.client_secret_file)?.map(Zeroizing::new);
        let secret = match (kept, config.client_secret.as_str()) {
            (Some(_), secret) if !secret.is_empty() => {
                return wrong("client_secret", "is given twice: here and in client_secret_file");
            }
            (Some(bytes), _) => match std::str::from_utf8(&bytes).map(str::trim) {
                Ok(text) if !text.is_empty() => Some(Zeroizing::new(text.to_owned())),
                _ => return wrong("client_secret_file", "the file holds no text"),
            },
            (None, "") => None,
            (None, secret) => Some(Zeroizing::new(secret.to_owned())),
        };
        let provider = Provider::new(config, file("ca_file", &config.ca_file)?)
            .map_err(|reason| OidcConfigError::Value { key: "ca_file", reason })?;
        let host = config.issuer.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let name = match config.name.as_str() {
            "" => host.unwrap_or_default().to_owned(),
            name => name.to_owned(),
        };
        let mut config = config.clone();
        // It has one copy, which is erased when the host ends.
        config.client_secret.clear();
        let (redirect, flows) = (format!("{url}{CALLBACK_PATH}"), Flows::new());
        Ok(Some(Self { config, secret, redirect, name, flows, provider }))
    }

    /// What the provider calls itself in its tokens.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// What people call the provider.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Begins a sign-in. `browser` is what the browser kept from one before, which goes on to
    /// be valid: a sign-in in another tab does not end this one.
    ///
    /// # Errors
    /// The provider cannot be asked who it is.
    pub async fn begin(
        &self,
        next: &str,
        purpose: Purpose,
        browser: Option<&str>,
    ) -> Result<Begun, OidcError> {
        let description = self.provider.description(&self.config).await?;
        let browser = browser.filter(|text| flows::is_random(text)).map_or_else(flows::random, str::to_owned);
        let (state, flow) = self.flows.begin(&browser, next, purpose, Instant::now());
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(flow.verifier.as_bytes()));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if matches!(purpose, Purpose::Again { .. }) {
            query.append_pair("prompt", "login").append_pair("max_age", "0");
        }
        let endpoint = &description.authorization_endpoint;
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(Begun { url: format!("{endpoint}{separator}{}", query.finish()), browser })
    }

    /// Ends a sign-in with what the browser brought back: the query's fields, and what it
    /// kept.
    ///
    /// # Errors
    /// Why nobody is signed in. Whatever it is, the same state cannot be used again.
    pub async fn finish(
        &self,
        field: impl Fn(&str) -> Option<String>,
        browser: Option<&str>,
    ) -> Result<Finished, OidcError> {
        let state = field("state").unwrap_or_default();
        let flow = self.flows.take(&state, browser.unwrap_or_default(), Instant::now());
        let flow = flow.ok_or(OidcError::State)?;
        if let Some(error) = field("error") {
            return Err(OidcError::Refused(visible(&error)));
        }
        // RFC 9207: an answer of another provider is not taken to this one.
        if field("iss").is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(OidcError::Refused("the answer is another provider's".to_owned()));
        }
        let code = field("code").filter(|code| !code.is_empty() && code.len() <= CODE_BYTES_MAX);
        let code = code.ok_or_else(|| OidcError::Refused("it sent no code".to_owned()))?;
        let description = self.provider.description(&self.config).await?;
        let secret = self.secret.as_ref();
        let text =
            self.provider.exchange(&self.config, secret, &description, &self.redirect, &code, &flow).await?;
        let token = Token::parse(&text)?;
        let keys = self.provider.keys(&description, |keys| keys.knows(&token)).await?;
        if !keys.verify(&token) {
            return Err(OidcError::Token("its signature is of none of the provider's keys"));
        }
        let claims = token.into_claims();
        claims::check(&claims, &self.config, &flow, jiff::Timestamp::now().as_second())?;
        let external = claims::external(&claims, &self.config)?;
        Ok(Finished { external, purpose: flow.purpose, next: flow.next })
    }
}

/// Whether what is sent to this URL stays between the two: https, or http where it does not
/// leave this machine.
fn is_safe_url(text: &str) -> bool {
    let Ok(url) = text.parse::<http::Uri>() else { return false };
    let Some(host) = url.host() else { return false };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return false;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme_str() {
        Some("https") => true,
        Some("http") => is_here,
        _ => false,
    }
}

/// What somebody else said, as a short line.
fn visible(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(change: impl FnOnce(&mut config::Oidc)) -> config::Oidc {
        let mut config = Config::defaults().oidc;
        config.issuer = "https://id.example/realm".to_owned();
        config.client_id = "us".to_owned();
        change(&mut config);
        config
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let refused = |change: fn(&mut config::Oidc)| {
            Oidc::new(&config(change), "http://h").err().map(|error| error.to_string())
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|config| config.issuer = "http://127.0.0.1:9".to_owned()), None);
        for issuer in
            ["http://id.example", "ftp://id.example", "id.example", "https://a@id.example", "https://i/?x"]
        {
            let config = config(|config| config.issuer = issuer.to_owned());
            let error = Oidc::new(&config, "http://h").unwrap_err().to_string();
            assert!(error.starts_with("oidc.issuer: "), "{issuer}: {error}");
        }
        for (change, key) in [
            ((|config| config.client_id.clear()) as fn(&mut config::Oidc), "client_id"),
            (|config| config.scopes = vec!["email".to_owned()], "scopes"),
            (|config| config.client_secret_file = "/nowhere/secret".to_owned(), "client_secret_file"),
            (|config| config.ca_file = "/nowhere/ca".to_owned(), "ca_file"),
        ] {
            assert!(refused(change).unwrap().starts_with(&format!("oidc.{key}: ")), "{key}");
        }
        assert!(Oidc::new(&Config::defaults().oidc, "http://h").unwrap().is_none());
    }

    #[test]
    fn the_clients_secret_is_in_no_debug_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        let mut oidc = config(|config| config.client_secret_file = path.to_str().unwrap().to_owned());
        let made = Oidc::new(&oidc, "http://h").unwrap().unwrap();
        assert_eq!(made.secret.as_deref().map(String::as_str), Some("s3cret"));
        assert!(!format!("{made:?}").contains("s3cret"));
        assert_eq!(made.name(), "id.example");
        oidc.client_secret = "s3cret".to_owned();
        assert!(!format!("{oidc:?}").contains("s3cret"));
        assert!(Oidc::new(&oidc, "http://h").unwrap_err().to_string().contains("given twice"));
    }
}
