//! The master key of a host that runs: which it is, and its change for a new one.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::api::{KeyUse, KeyView};
use crate::data::DataFolder;
use crate::keys::{KeyRing, KeySource, KeysError};
use crate::store::{Store, StoreError};

/// The master keys in use, and where they come from.
pub struct Keys {
    pub(super) source: KeySource,
    /// Held while the key is changed.
    pub(super) ring: Mutex<KeyRing>,
    pub(super) data: DataFolder,
    /// Whether the audit log's key lies in the data folder.
    pub(super) has_audit_key: bool,
}

/// Why the master key was not changed. In every case what is encrypted can be read as before.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// There is no new key.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Keys {
    /// Wraps what is not wrapped with the current key yet.
    ///
    /// # Errors
    /// The store failed.
    pub(super) async fn rewrap(&self, store: &dyn Store) -> Result<(), StoreError> {
        let ring = self.ring.lock().await;
        let rewrapped = store.rewrap(Arc::new(ring.clone())).await?;
        if rewrapped > 0 {
            let current = ring.current().map(String::from);
            tracing::info!(rewrapped, current, "data keys were wrapped with the current master key");
        }
        Ok(())
    }

    /// Makes a new master key, and wraps all data keys with it.
    ///
    /// The new key is in its file before anything is wrapped with it, and the old one stays
    /// there: backups need it. Whenever this is cut short, the next start finishes it.
    ///
    /// # Errors
    /// There is no new key, or the store failed.
    pub async fn rotate(&self, store: &dyn Store) -> Result<KeyView, RotateError> {
        let mut ring = self.ring.lock().await;
        let new = self.source.rotate(self.data.path(), &ring).await?;
        // Even if the store fails now, what it has is in the new ring too.
        *ring = new.clone();
        store.rewrap(Arc::new(new)).await?;
        if self.has_audit_key
            && let Err(error) = self.data.audit_key("", &ring)
        {
            // The old key stays in its file, and the next start does it.
            tracing::warn!(error = &error as &dyn std::error::Error, "the audit key was not encrypted anew");
        }
        tracing::warn!(current = ring.current().map(String::from), "the master key was changed");
        Ok(view(&ring, store))
    }

    /// Which keys there are, and what needs them.
    pub async fn view(&self, store: &dyn Store) -> KeyView {
        view(&*self.ring.lock().await, store)
    }
}

fn view(ring: &KeyRing, store: &dyn Store) -> KeyView {
    let used = store.key_ids();
    let keys = ring.ids().enumerate().map(|(at, id)| KeyUse {
        id: id.to_string(),
        current: at == 0,
        workflows: used.get(&id).copied().unwrap_or_default(),
    });
    KeyView { source: ring.origin.to_string(), keys: keys.collect() }
}
