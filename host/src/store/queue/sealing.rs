//! What the queue's files do not hold in the clear: requests, and the URLs of callbacks.
//!
//! Whoever calls a workflow may send it secrets, its own settings among them, and what a run
//! is handed cannot be masked. So both are encrypted with the data key of the workflow's
//! settings, each for its event alone. The key lies among the metadata, which a backup holds
//! beside the queue, and follows the master key. A tick holds nothing that came from outside.

use super::log::{PLAIN_REQUEST, SEALED_REQUEST};
use super::{Event, EventInput, QueueEntry};
use crate::keys::{CipherError, DataKey};
use crate::store::shared::Shared;
use crate::store::status::{lock, read};
use crate::store::{EmbeddedStore, Result, StoreError, writer};
use crate::workflow::{Secret, WorkflowId};

/// What the text of a callback begins with that is encrypted; no URL does.
const SEALED_PREFIX: &str = "sealed:";

impl EmbeddedStore {
    /// Gives a workflow the key that its events are encrypted with, and waits until it is on
    /// the disk, once in the life of a process: an event must not outlive its key.
    pub(super) async fn have_event_key(&self, workflow: WorkflowId) -> Result<()> {
        if lock(&self.queue.keyed).contains(&workflow) {
            return Ok(());
        }
        self.ask(move |writer, reply| {
            let planned = read(&writer.shared.metadata).plan_key(workflow, &writer.shared.keys.load());
            match planned {
                // There is one in memory, and its flush may still be going on.
                Ok(puts) if puts.is_empty() => writer.answer_when_flushed((), reply),
                Ok(puts) => writer.commit(puts, (), reply),
                Err(error) => writer::answer(reply, Err(error)),
            }
        })
        .await?;
        lock(&self.queue.keyed).insert(workflow);
        Ok(())
    }
}

/// Whether an event and its input hold something that is to be encrypted.
pub(super) fn needs_key(event: &Event, input: &EventInput) -> bool {
    matches!(input, EventInput::Request(_)) || event.callback.is_some()
}

/// Whether something of a frame of an older build is not encrypted.
pub(super) fn is_plain(entry: &QueueEntry, input: &[u8]) -> bool {
    let callback = entry.event.callback.as_ref();
    input.first() == Some(&PLAIN_REQUEST) || callback.is_some_and(|url| !url.starts_with(SEALED_PREFIX))
}

/// Encrypts what is not, of an event and of its input's bytes.
///
/// # Errors
/// The workflow is gone, or its key cannot be read.
pub(super) fn seal(store: &Shared, entry: &mut QueueEntry, input: Option<&mut Vec<u8>>) -> Result<()> {
    if !is_plain(entry, input.as_deref().map_or(&[], Vec::as_slice)) {
        return Ok(());
    }
    let event = &mut entry.event;
    let key = key_of(store, event.workflow)?;
    if let Some(input) = input.filter(|input| input.first() == Some(&PLAIN_REQUEST)) {
        let mut sealed = vec![SEALED_REQUEST];
        sealed.extend_from_slice(&key.seal(&context(event, "input"), input));
        *input = sealed;
    }
    let context = context(event, "callback");
    if let Some(url) = event.callback.as_mut().filter(|url| !url.starts_with(SEALED_PREFIX)) {
        let sealed = key.encrypt(&context, &Secret::new(std::mem::take(url)));
        *url = format!("{SEALED_PREFIX}{sealed}");
    }
    Ok(())
}

/// The input's bytes as they were before they were encrypted.
///
/// # Errors
/// As [`seal`]; [`StoreError::Damaged`].
pub(super) fn open_input(store: &Shared, event: &Event, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let Some((&SEALED_REQUEST, sealed)) = bytes.split_first() else { return Ok(bytes) };
    let opened = key_of(store, event.workflow)?.open(&context(event, "input"), sealed);
    opened.map_err(|error| damaged(event, error))
}

/// The event with its callback's URL readable.
///
/// # Errors
/// As [`open_input`].
pub(super) fn open_callback(store: &Shared, mut entry: QueueEntry) -> Result<QueueEntry> {
    let event = &entry.event;
    let sealed = event.callback.as_ref().and_then(|url| url.strip_prefix(SEALED_PREFIX));
    if let Some(sealed) = sealed {
        let url = key_of(store, event.workflow)?.decrypt(&context(event, "callback"), sealed);
        let url = url.map_err(|error| damaged(event, error))?;
        entry.event.callback = Some(url.expose().to_owned());
    }
    Ok(entry)
}

fn key_of(store: &Shared, workflow: WorkflowId) -> Result<DataKey> {
    let kept = read(&store.metadata).get(workflow)?.clone();
    kept.settings.key_of_events(workflow, &store.keys.load())
}

/// What belongs to one event is undecryptable in another's place.
fn context(event: &Event, what: &str) -> Vec<u8> {
    let parts = [b"tidegate event 1 ", what.as_bytes(), event.workflow.as_bytes(), event.id.as_bytes()];
    parts.concat()
}

fn damaged(event: &Event, error: CipherError) -> StoreError {
    StoreError::Damaged { what: format!("the event {}", event.id), reason: error.to_string() }
}
