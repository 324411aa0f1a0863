//! Passwords: argon2id, at most two at a time.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash as Phc, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::AccountError;
use crate::account::PasswordHash;

/// The parameters that OWASP's password storage cheat sheet names first for argon2id:
/// 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes that are made at the same time: each takes its memory, and a core.
const WORKING_MAX: usize = 2;
/// Hashes that wait. More are refused: at some 20 ms each nobody waits for seconds.
const WAITING_MAX: usize = 64;

const SALT_BYTES: usize = 16;

/// Makes and checks hashes, without holding up other work.
pub(super) struct Hashing {
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Hashing {
    pub(super) fn new() -> Self {
        Self {
            working: Arc::new(Semaphore::new(WORKING_MAX)),
            waiting: Arc::new(Semaphore::new(WORKING_MAX + WAITING_MAX)),
        }
    }

    /// The hash of a password.
    ///
    /// # Errors
    /// [`AccountError::Busy`], [`AccountError::Hash`].
    pub(super) async fn hash(&self, password: &str) -> Result<PasswordHash, AccountError> {
        let password = password.to_owned();
        self.work(move || hash(&password)).await
    }

    /// Whether a password has this hash. Where there is none, it takes as long to say no.
    ///
    /// # Errors
    /// As [`Hashing::hash`].
    pub(super) async fn verify(
        &self,
        password: &str,
        kept: Option<PasswordHash>,
    ) -> Result<bool, AccountError> {
        let password = password.to_owned();
        self.work(move || match kept {
            Some(kept) => verify(&password, &kept),
            None => hash(&password).map(|_| false),
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| AccountError::Busy)?;
        let permit = self.working.clone().acquire_owned().await.map_err(|_| AccountError::Busy)?;
        // The permit goes with the work: a caller who hangs up does not end it.
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.unwrap_or_else(|error| Err(AccountError::Hash(error.to_string())))
    }
}

fn argon2() -> Result<Argon2<'static>, AccountError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<PasswordHash, AccountError> {
    let salt: [u8; SALT_BYTES] = rand::random();
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let hash = argon2()?.hash_password(password.as_bytes(), &salt).map_err(failed)?;
    Ok(PasswordHash::new(hash.to_string()))
}

fn verify(password: &str, kept: &PasswordHash) -> Result<bool, AccountError> {
    let kept = Phc::new(kept.expose()).map_err(failed)?;
    // The comparison takes the same time wherever they differ.
    Ok(argon2()?.verify_password(password.as_bytes(), &kept).is_ok())
}

fn failed(error: impl std::fmt::Display) -> AccountError {
    AccountError::Hash(error.to_string())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn only_the_same_password_has_the_hash() {
        let hashing = Hashing::new();
        let kept = hashing.hash("correct horse").await.unwrap();
        assert!(kept.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", kept.expose());
        assert_ne!(hashing.hash("correct horse").await.unwrap(), kept, "each has a salt of its own");
        assert!(hashing.verify("correct horse", Some(kept.clone())).await.unwrap());
        assert!(!hashing.verify("correct horsf", Some(kept.clone())).await.unwrap());
        assert!(!hashing.verify("", Some(kept)).await.unwrap());
        assert!(!hashing.verify("correct horse", None).await.unwrap());
    }

    #[tokio::test]
    async fn more_than_can_wait_are_refused() {
        let hashing = Arc::new(Hashing::new());
        let _busy = hashing.working.clone().acquire_many_owned(WORKING_MAX as u32).await.unwrap();
        let mut waiting: Vec<_> =
            (0..WORKING_MAX + WAITING_MAX).map(|_| Box::pin(hashing.hash("x"))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        assert!(matches!(hashing.hash("x").await, Err(AccountError::Busy)));
    }
}
