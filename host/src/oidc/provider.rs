//! What is asked of the provider: its description (OpenID Connect Discovery 1.0), its keys,
//! and the ID token for a code. Each request has a time and each answer a size that it
//! cannot exceed, no redirect is followed, and only a few requests go on at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::jws::Keys;
use super::{OidcError, flows::Flow};
use crate::config;

/// Requests to the provider that go on at once.
const REQUESTS_MAX: usize = 8;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long the provider's description and its keys are believed.
const FRESH: Duration = Duration::from_secs(3600);
/// Unknown keys make its keys be asked for again, but no more often than so many times...
const REFRESHES_MAX: u32 = 10;
/// ...in this time.
const REFRESH_WINDOW: Duration = Duration::from_secs(60);

/// What the provider says of itself; more is not used.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Description {
    issuer: String,
    pub(super) authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
}

#[derive(Default)]
struct Known {
    description: Option<(Arc<Description>, Instant)>,
    keys: Option<(Arc<Keys>, Instant)>,
    refreshes: u32,
    refreshes_since: Option<Instant>,
}

/// The provider, as far as it is known.
pub(super) struct Provider {
    agent: ureq::Agent,
    requests: Arc<Semaphore>,
    known: Mutex<Known>,
}

impl Provider {
    /// With the authorities of a PEM file instead of the public ones, where one is given.
    pub(super) fn new(config: &config::Oidc, authorities: Option<Vec<u8>>) -> Result<Self, &'static str> {
        let mut tls = ureq::tls::TlsConfig::builder();
        if let Some(pem) = authorities {
            let items: Result<Vec<_>, _> = ureq::tls::parse_pem(&pem).collect();
            let items = items.map_err(|_| "the file is not PEM")?;
            let certificates = items.into_iter().filter_map(|item| match item {
                ureq::tls::PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<_> = certificates.collect();
            if certificates.is_empty() {
                return Err("the file holds no certificate");
            }
            tls = tls.root_certs(ureq::tls::RootCerts::Specific(Arc::new(certificates)));
        }
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .timeout_global(Some(Duration::from_millis(config.timeout_ms)))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, requests: Arc::new(Semaphore::new(REQUESTS_MAX)), known: Mutex::default() })
    }

    /// What the provider says of itself.
    pub(super) async fn description(&self, config: &config::Oidc) -> Result<Arc<Description>, OidcError> {
        if let Some((description, _)) = self.lock().description.clone().filter(|(_, at)| at.elapsed() < FRESH)
        {
            return Ok(description);
        }
        let failed = |reason: &str| OidcError::Provider { action: "discovery", reason: reason.to_owned() };
        let url = format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/'));
        let (status, body) = self.get("discovery", url).await?;
        if status != 200 {
            return Err(failed(&format!("it answered {status}")));
        }
        let description: Description =
            serde_json::from_slice(&body).map_err(|_| failed("its description lacks what is needed"))?;
        // Section 4.3: else another provider could pass for this one.
        if description.issuer != config.issuer {
            return Err(failed("it calls itself by another name than oidc.issuer"));
        }
        let Description { authorization_endpoint, token_endpoint, jwks_uri, .. } = &description;
        if ![authorization_endpoint, token_endpoint, jwks_uri].iter().all(|url| super::is_safe_url(url)) {
            return Err(failed("it names an endpoint that is not https"));
        }
        let description = Arc::new(description);
        self.lock().description = Some((description.clone(), Instant::now()));
        Ok(description)
    }

    /// The provider's keys; asked for anew when they are old, or `is_enough` says that one
    /// is missing: keys are changed without notice.
    pub(super) async fn keys(
        &self,
        description: &Description,
        is_enough: impl Fn(&Keys) -> bool,
    ) -> Result<Arc<Keys>, OidcError> {
        let known = self.lock().keys.clone().filter(|(_, at)| at.elapsed() < FRESH);
        if let Some((keys, _)) = &known
            && (is_enough(keys) || !self.may_refresh(Instant::now()))
        {
            return Ok(keys.clone());
        }
        let failed = |reason: &str| OidcError::Provider { action: "key set", reason: reason.to_owned() };
        let (status, body) = self.get("key set", description.jwks_uri.clone()).await?;
        if status != 200 {
            return Err(failed(&format!("it answered {status}")));
        }
        let keys = Arc::new(Keys::parse(&body).ok_or_else(|| failed("it is no JWK set"))?);
        self.lock().keys = Some((keys.clone(), Instant::now()));
        Ok(keys)
    }

    /// Whether keys may be asked for once more.
    fn may_refresh(&self, now: Instant) -> bool {
        let mut known = self.lock();
        if known.refreshes_since.is_none_or(|since| now.duration_since(since) >= REFRESH_WINDOW) {
            (known.refreshes, known.refreshes_since) = (0, Some(now));
        }
        known.refreshes += 1;
        known.refreshes <= REFRESHES_MAX
    }

    /// The ID token for a code.
    pub(super) async fn exchange(
        &self,
        config: &config::Oidc,
        secret: Option<&Zeroizing<String>>,
        description: &Description,
        redirect: &str,
        code: &str,
        flow: &Flow,
    ) -> Result<Zeroizing<String>, OidcError> {
        let failed = |reason: String| OidcError::Provider { action: "token exchange", reason };
        let (authorization, body) = form(config, secret, description, redirect, code, flow);
        let (agent, url) = (self.agent.clone(), description.token_endpoint.clone());
        let (status, body) = self
            .ask("token exchange", move || {
                let mut request = agent
                    .post(&url)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .header("accept", "application/json");
                if let Some(authorization) = &authorization {
                    request = request.header("authorization", authorization.as_str());
                }
                read(request.send(body.as_bytes())?)
            })
            .await?;
        if status != 200 {
            let reason = serde_json::from_slice::<TokenRefusal>(&body)
                .map_or_else(|_| format!("it answered {status}"), |refusal| super::visible(&refusal.error));
            return Err(failed(reason));
        }
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| failed("it gave no ID token".to_owned()))?;
        Ok(Zeroizing::new(answer.id_token))
    }

    async fn get(&self, action: &'static str, url: String) -> Result<(u16, Vec<u8>), OidcError> {
        let agent = self.agent.clone();
        self.ask(action, move || read(agent.get(&url).header("accept", "application/json").call()?)).await
    }

    async fn ask(
        &self,
        action: &'static str,
        request: impl FnOnce() -> Result<(u16, Vec<u8>), ureq::Error> + Send + 'static,
    ) -> Result<(u16, Vec<u8>), OidcError> {
        let place = self.requests.clone().try_acquire_owned().map_err(|_| OidcError::Busy)?;
        let failed = |reason: String| OidcError::Provider { action, reason };
        let asked = tokio::task::spawn_blocking(move || {
            let answer = request();
            drop(place);
            answer
        });
        match asked.await {
            Ok(answer) => answer.map_err(|error| failed(super::visible(&error.to_string()))),
            Err(_) => Err(failed("the host failed on it".to_owned())),
        }
    }

    // A panic under this lock leaves whole values behind.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request for an ID token: the header by which this client proves to be who it is, if
/// it does so by one, and the form.
fn form(
    config: &config::Oidc,
    secret: Option<&Zeroizing<String>>,
    description: &Description,
    redirect: &str,
    code: &str,
    flow: &Flow,
) -> (Option<Zeroizing<String>>, Zeroizing<String>) {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", redirect)
        .append_pair("code_verifier", &flow.verifier);
    let methods = &description.token_endpoint_auth_methods_supported;
    let is_posted = !methods.is_empty() && methods.iter().all(|method| method != "client_secret_basic");
    let mut authorization = None;
    match secret {
        Some(secret) if !is_posted => {
            // RFC 6749, section 2.3.1: both parts are form-encoded first.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = Zeroizing::new(format!("{}:{}", encoded(&config.client_id), encoded(secret)));
            let encoded = data_encoding::BASE64.encode(pair.as_bytes());
            authorization = Some(Zeroizing::new(format!("Basic {encoded}")));
        }
        Some(secret) => {
            form.append_pair("client_id", &config.client_id).append_pair("client_secret", secret);
        }
        None => drop(form.append_pair("client_id", &config.client_id)),
    }
    (authorization, Zeroizing::new(form.finish()))
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<(u16, Vec<u8>), ureq::Error> {
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok((answer.status().as_u16(), body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn unknown_keys_make_a_bounded_number_of_requests() {
        let provider = Provider::new(&Config::defaults().oidc, None).unwrap();
        let start = Instant::now();
        let granted = (0..100).filter(|_| provider.may_refresh(start)).count();
        assert_eq!(granted, REFRESHES_MAX as usize);
        assert!(provider.may_refresh(start + REFRESH_WINDOW));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let config = Config::defaults().oidc;
        assert!(Provider::new(&config, Some(b"hello".to_vec())).is_err());
    }
}
