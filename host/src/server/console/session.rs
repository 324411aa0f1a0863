//! Who is signed in: sessions in memory, named by a cookie that only this host reads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{self, HeaderMap};

use crate::workflow::Digest;

/// The prefix makes browsers refuse it from other hosts and without encryption; they
/// count loopback as encrypted.
const COOKIE: &str = "__Host-tidegate";
/// How long a session lasts without a request.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// Sessions at the same time; the one that was idle longest makes room.
const SESSIONS_MAX: usize = 1000;

/// Whoever looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Viewer {
    /// What the pages call them.
    pub(super) name: String,
}

struct Session {
    viewer: Viewer,
    seen: Instant,
}

/// The sessions, by the digest of their token: memory holds nothing to sign in with.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Digest, Session>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session, and returns the cookie that names it.
    pub(super) fn begin(&self, viewer: Viewer) -> String {
        let token = data_encoding::BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>());
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.seen.elapsed() < IDLE);
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.seen).map(|(key, _)| *key);
            oldest.map(|key| sessions.remove(&key));
        }
        sessions.insert(Digest::of(token.as_bytes()), Session { viewer, seen: Instant::now() });
        format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict")
    }

    /// Who has this session.
    pub(super) fn viewer(&self, token: &str) -> Option<Viewer> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(&Digest::of(token.as_bytes()))?;
        if session.seen.elapsed() >= IDLE {
            return None;
        }
        session.seen = Instant::now();
        Some(session.viewer.clone())
    }

    /// Ends a session, and returns the cookie that takes its name back.
    pub(super) fn end(&self, token: &str) -> String {
        self.lock().remove(&Digest::of(token.as_bytes()));
        format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0")
    }
}

/// The session's token in a request; `None` when there is none, or more than one.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut named = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, token)| token);
    let token = named.next()?;
    named.next().is_none().then_some(token)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn sent(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        headers
    }

    #[test]
    fn a_session_is_known_by_its_cookie_until_it_ends() {
        let sessions = Sessions::default();
        let cookie = sessions.begin(Viewer { name: "ada".to_owned() });
        let headers = sent(&format!("a=b; {}", cookie.split(';').next().unwrap()));
        let token = token(&headers).unwrap();
        assert_eq!(sessions.viewer(token).unwrap().name, "ada");
        assert!(sessions.viewer("other").is_none());
        assert!(sessions.end(token).contains("Max-Age=0"));
        assert!(sessions.viewer(token).is_none());
    }

    #[test]
    fn two_cookies_of_the_name_are_none() {
        assert_eq!(token(&sent("__Host-tidegate=a; x=y")), Some("a"));
        assert_eq!(token(&sent("__Host-tidegate=a; __Host-tidegate=b")), None);
        assert_eq!(token(&sent("tidegate=a")), None);
    }
}
