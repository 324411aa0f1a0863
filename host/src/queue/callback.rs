//! Tells a callback how its event ended.
//!
//! A `POST` with a JSON document, signed as Standard Webhooks signs: `webhook-id`,
//! `webhook-timestamp` and `webhook-signature`, the last one
//! `v1,base64(HMAC-SHA256(key, "{id}.{timestamp}.{body}"))`. The key is what caller and
//! host both know: the last part of the endpoint's URL, as it stands there. It goes out
//! by the workflows' own way, so it reaches nothing that they could not.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Request, header};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use super::Queue;
use crate::api::CallbackBody;
use crate::config::Config;
use crate::store::{EventState, Notified, QueueEntry, StoreError};
use crate::workflow::{CatchKey, RetryPolicy};

/// Time before the second try, in milliseconds; it doubles with each further one.
const BACKOFF_MS: u64 = 2_000;
/// The longest time between two tries, in milliseconds.
const BACKOFF_MS_MAX: u64 = 3_600_000;
/// The receiver does not want it, and says so.
const GONE: u16 = 410;

/// Why a callback needs no further try.
enum Taken {
    /// It was told.
    Told,
    /// Nobody is there who wants to know.
    Gone,
}

impl Queue {
    /// Tells the callback of an event that is over, once.
    pub(super) async fn tell(self: Arc<Self>, entry: QueueEntry) {
        let id = entry.event.id;
        let EventState::Notifying { tries, .. } = entry.state else { return };
        let told = tokio::select! {
            biased;
            told = self.try_to_tell(&entry) => told,
            // The next start tells it: a try that the host cut is none.
            () = self.stopping.cancelled() => return,
        };
        let (notified, result) = match told {
            Ok(Taken::Told) => (Notified::Told, "told"),
            Ok(Taken::Gone) => (Notified::Gone, "gone"),
            Err(reason) if tries + 1 >= self.config.queue.callback_attempts => {
                tracing::warn!(event = %id, reason = %reason, tries = tries + 1, "a callback was given up");
                (Notified::GivenUp { reason }, "given-up")
            }
            Err(reason) => {
                tracing::info!(event = %id, reason = %reason, tries = tries + 1, "a callback was not told");
                (Notified::Again { not_before: next_try(tries), reason }, "again")
            }
        };
        self.telemetry.queue.callback_told(result);
        match self.store.settle_callback(id, notified).await {
            Ok(()) | Err(StoreError::Missing { .. }) => {}
            Err(error) => {
                tracing::error!(event = %id, error = &error as &dyn Error, "a callback could not be settled");
            }
        }
    }

    /// # Errors
    /// One line about why it was not told.
    async fn try_to_tell(&self, entry: &QueueEntry) -> Result<Taken, String> {
        let Some(workflow) = self.registry.by_id(entry.event.workflow) else { return Ok(Taken::Gone) };
        let (Some(url), Some(end)) = (&entry.event.callback, entry.end()) else { return Ok(Taken::Gone) };
        let run = self.store.run(entry.run).await.map_err(|error| error.to_string())?;
        let body = CallbackBody {
            run: entry.event.id,
            last_run: entry.run,
            workflow: workflow.workflow.name.clone(),
            status: end.status,
            fault: end.fault,
            attempts: entry.attempt,
            reply: run.and_then(|run| run.reply),
        };
        let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
        let request = request(url, entry, workflow.workflow.catch_key.as_ref(), body, Timestamp::now());
        let request = request.map_err(|error| error.to_string())?;
        let patience = Config::ms(self.config.queue.callback_timeout_ms);
        match self.egress.deliver(entry.event.workflow, request, patience).await {
            Ok(GONE) => Ok(Taken::Gone),
            Ok(status) if (200..300).contains(&status) => Ok(Taken::Told),
            Ok(status) => Err(format!("it answered {status}")),
            Err(failure) => Err(failure.to_string()),
        }
    }
}

fn request(
    url: &str,
    entry: &QueueEntry,
    key: Option<&CatchKey>,
    body: Vec<u8>,
    now: Timestamp,
) -> Result<Request<Bytes>, http::Error> {
    let id = entry.event.id.to_string();
    let seconds = now.as_second().to_string();
    let mut request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", &id)
        .header("webhook-timestamp", &seconds);
    if let Some(key) = key {
        let signature = signature(key.expose().as_bytes(), &id, &seconds, &body);
        request = request.header("webhook-signature", format!("v1,{signature}"));
    }
    request.body(Bytes::from(body))
}

fn signature(key: &[u8], id: &str, seconds: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    data_encoding::BASE64.encode(&mac.finalize().into_bytes())
}

fn next_try(tries: u32) -> Timestamp {
    let policy =
        RetryPolicy { backoff_ms: BACKOFF_MS, backoff_max_ms: BACKOFF_MS_MAX, ..RetryPolicy::default() };
    let delay = SignedDuration::try_from(policy.delay(tries + 1, rand::random()));
    let now = Timestamp::now();
    now.checked_add(delay.unwrap_or(SignedDuration::MAX)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_standard_webhooks() {
        // The example of the Standard Webhooks specification.
        let key = data_encoding::BASE64.decode(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn tries_grow_apart() {
        let now = Timestamp::now();
        assert!(next_try(0) > now && next_try(0) < now + SignedDuration::from_secs(3));
        assert!(next_try(30) > now + SignedDuration::from_secs(2800));
        assert!(next_try(30) < now + SignedDuration::from_secs(3601));
    }
}
