//! A backup of everything that the host keeps, as one tar stream, while it serves.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::{ApiError, Shared};
use crate::api::{BACKUP_FORMAT, BACKUP_MANIFEST, BackupFile, BackupManifest, ErrorBody};
use crate::audit::AuditLog;
use crate::data::{AUDIT_KEY_FILE, TOKEN_FILE};
use crate::store::{Snapshot, SnapshotFile};
use crate::workflow::Digest;

/// Bytes that are sent together.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait for a client that reads slowly.
const CHUNKS_MAX: usize = 8;

/// Everything that the host keeps at this moment, as a tar archive: a data folder, and at
/// its end `manifest.json` (`BackupManifest`). It holds secrets: the URLs' keys, the operator's
/// token, hashes of passwords, the audit log, and, encrypted, settings and the log's key. An archive without the manifest is not whole.
#[utoipa::path(
    get, path = "/api/v1/backup", operation_id = "takeBackup", tag = "host",
    responses(
        (status = 200, description = "The archive", content_type = "application/x-tar", body = Vec<u8>),
        (status = 507, description = "The disk is full", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn backup(State(api): Shared) -> Result<impl IntoResponse, ApiError> {
    let snapshot = api.app.store.snapshot().await?;
    let data = api.app.data.path();
    let mut secrets = vec![(TOKEN_FILE, data.join(TOKEN_FILE))];
    if api.app.config.audit.key_file.is_empty() {
        secrets.push((AUDIT_KEY_FILE, data.join(AUDIT_KEY_FILE)));
    }
    let audit = api.app.audit.clone();
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks { sender, chunk: Vec::with_capacity(CHUNK_BYTES) };
        let written = write(&mut out, &snapshot, &secrets, &audit).and_then(|()| out.flush());
        if let Err(error) = written {
            // The client sees an archive without its end.
            tracing::error!(%error, "a backup was cut off");
            let _ = out.sender.blocking_send(Err(error));
        }
    });
    let body = Body::from_stream(ReceiverStream::new(receiver).map(|chunk| chunk));
    Ok(([(header::CONTENT_TYPE, "application/x-tar"), (header::CACHE_CONTROL, "no-store")], body))
}

fn write(
    out: &mut Chunks,
    snapshot: &Snapshot,
    secrets: &[(&str, PathBuf)],
    audit: &AuditLog,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    let mut files = Vec::new();
    let of_secret = |(name, source): &(&str, PathBuf)| {
        let bytes = std::fs::metadata(source)?.len();
        Ok(SnapshotFile { path: (*name).to_owned(), source: source.clone(), bytes })
    };
    let secrets = secrets.iter().map(of_secret).collect::<io::Result<Vec<_>>>()?;
    for (path, content) in audit.copy().map_err(io::Error::other)? {
        archive.append_data(&mut head(content.len() as u64), &path, content.as_slice())?;
        files.push(BackupFile { path, bytes: content.len() as u64, sha256: Digest::of(&content) });
    }
    for file in snapshot.files.iter().chain(&secrets) {
        let mut source =
            Hashed { inner: std::fs::File::open(&file.source)?.take(file.bytes), hash: Sha256::new() };
        archive.append_data(&mut head(file.bytes), &file.path, &mut source)?;
        let sha256 = Digest::from_bytes(source.hash.finalize().into());
        files.push(BackupFile { path: file.path.clone(), bytes: file.bytes, sha256 });
    }
    let manifest = BackupManifest {
        format: BACKUP_FORMAT,
        tidegate: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: snapshot.taken_at,
        workflows: snapshot.workflows,
        runs: snapshot.runs,
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest)?;
    archive.append_data(&mut head(text.len() as u64), BACKUP_MANIFEST, text.as_slice())?;
    archive.finish()
}

fn head(bytes: u64) -> tar::Header {
    let mut head = tar::Header::new_gnu();
    head.set_size(bytes);
    head.set_mode(0o600);
    head.set_entry_type(tar::EntryType::Regular);
    head
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// Sends what is written, and waits for a client that reads slowly.
struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        let sent = self.sender.blocking_send(Ok(chunk.into()));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))
    }
}
