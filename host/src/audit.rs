//! The audit log: who changed what, in a chain that shows when somebody changed the log.
//!
//! Entries are lines of JSON in the folder `audit` of the data folder. Each ends in an
//! HMAC-SHA256 over itself and the entry before it, and the file `HEAD` says, under the same
//! key, where the chain begins and ends: a flipped byte, and an entry that was removed,
//! added or swapped, is found by [`AuditLog::verify`]. Whoever has the key can forge all of
//! it; it is in the file `audit.key`, encrypted with the master key, or in the one that
//! `audit.key_file` names.
//!
//! No values are ever written: names of settings, not what they are set to.

mod chain;
mod head;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::chain::Key;
use self::head::{Head, HeadFile};

/// The folder in the data folder.
pub const FOLDER: &str = "audit";
/// The file where the chain's ends are.
const HEAD_FILE: &str = "HEAD";
/// A new file is begun at this size.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Longest line: fields are cut before.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Longest object, and longest detail, in bytes; and most details.
const TEXT_BYTES_MAX: usize = 200;
const DETAILS_MAX: usize = 16;
/// Most entries of a page.
pub const PAGE_MAX: usize = 1000;

/// Why the log does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{action} the audit log in {path} failed")]
pub struct AuditError {
    /// What was tried.
    pub action: &'static str,
    /// The folder or file.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

type Result<T> = std::result::Result<T, AuditError>;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The login of whoever did it; `-` for nobody who is known.
    pub who: String,
    /// By what: `session`, `token ID`, `admin-token`, `password`, `host`.
    pub via: String,
    /// What, for example `workflow.deploy`.
    pub what: &'static str,
    /// With what, for example the workflow's name.
    pub object: String,
    /// Names and numbers of what it was about; never values.
    pub details: Vec<String>,
    /// Where it came from; `None` for the host itself.
    pub address: Option<IpAddr>,
    /// The HTTP status, or 0 where there is none.
    pub status: u16,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub seq: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The login of whoever did it; `-` for nobody who is known.
    pub who: String,
    /// By what: `session`, `token ID`, `admin-token`, `password`, `host`.
    pub via: String,
    /// What, for example `workflow.deploy`.
    pub what: String,
    /// With what, for example the workflow's name.
    pub object: String,
    /// Names and numbers of what it was about; never values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The HTTP status, or 0 where there is none.
    pub status: u16,
}

/// What checking the log found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerification {
    /// Entries that are as they were written.
    pub entries: u64,
    /// The first entry that is kept; 0 for none.
    pub first: u64,
    /// The last entry that was written; 0 for none.
    pub last: u64,
    /// The first thing that is wrong, and where; `None` when nothing is.
    pub problem: Option<String>,
    /// Where the key is that entries are signed with: whoever has it can forge them.
    #[serde(default)]
    pub key: String,
}

/// The log, open for appending.
pub struct AuditLog {
    folder: PathBuf,
    key: Key,
    days: u32,
    bytes_max: u64,
    open: Mutex<Open>,
}

struct Open {
    head: Head,
    head_file: HeadFile,
    log: File,
    /// The open file's number.
    number: u64,
    bytes: u64,
}

impl AuditLog {
    /// Opens the log, or begins it. What a crash left half written is cut off. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(data: &Path, key: [u8; 32], days: u32, bytes_max: u64) -> Result<Self> {
        let folder = data.join(FOLDER);
        let failed = |action| {
            let path = folder.clone();
            move |source| AuditError { action, path, source }
        };
        let key = Key::new(key);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed("making"))?;
        let numbers = numbers(&folder).map_err(failed("listing"))?;
        let number = numbers.last().copied().unwrap_or(1);
        let last = last_line(&path(&folder, number)).map_err(failed("reading"))?;
        let (head_file, head) = HeadFile::open(&folder.join(HEAD_FILE), &key).map_err(failed("reading"))?;
        let was_lost = head.is_none() && !numbers.is_empty();
        let head = match (head, last) {
            // The entry was written, and then the machine stopped.
            (Some(head), Some(line)) if line.seq == head.last_seq + 1 && line.follows(&head.last, &key) => {
                Head { last_seq: line.seq, last: line.mac, ..head }
            }
            // Also where entries are gone: the chain goes on behind them, and has a hole.
            (Some(head), _) => head,
            (None, Some(line)) => {
                let first_file = numbers.first().copied().unwrap_or(1);
                Head { first_file, last_seq: line.seq, last: line.mac, ..Head::default() }
            }
            (None, None) => Head::default(),
        };
        let log = append_to(&path(&folder, number)).map_err(failed("opening"))?;
        sync_folder(&folder).map_err(failed("flushing"))?;
        let bytes = log.metadata().map_err(failed("reading"))?.len();
        let opened = Open { head, head_file, log, number, bytes };
        let audit = Self { folder, key, days, bytes_max, open: Mutex::new(opened) };
        if was_lost {
            audit.append(Event::of_host("audit.head-lost"))?;
        }
        Ok(audit)
    }

    /// Writes down that something happened. On return it is on the disk. Blocks.
    ///
    /// # Errors
    /// When it cannot be written; nothing is written then.
    pub fn append(&self, event: Event) -> Result<AuditEntry> {
        let mut open = self.lock();
        let open = &mut *open;
        let entry = event.into_entry(open.head.last_seq + 1, Timestamp::now());
        let line = chain::line(&entry, &open.head.last, &self.key).map_err(self.failed("writing"))?;
        let written = open.log.write_all(&line.bytes).and_then(|()| open.log.sync_data());
        if let Err(source) = written {
            // Else the next line would follow a half one.
            let _ = open.log.set_len(open.bytes);
            return Err(self.failed("writing")(source));
        }
        open.bytes += line.bytes.len() as u64;
        open.head.last_seq = entry.seq;
        open.head.last = line.mac;
        open.head_file.write(&open.head, &self.key).map_err(self.failed("writing"))?;
        if open.bytes >= FILE_BYTES_MAX {
            open.number += 1;
            open.log =
                append_to(&path(&self.folder, open.number)).map_err(self.failed("beginning a file of"))?;
            open.bytes = 0;
            sync_folder(&self.folder).map_err(self.failed("flushing"))?;
        }
        Ok(entry)
    }

    /// The same, beside other work. An entry that cannot be written is told of in the host's
    /// own log: what was done is done.
    pub async fn record(self: &Arc<Self>, event: Event) {
        let (audit, what) = (Arc::clone(self), event.what);
        let written = tokio::task::spawn_blocking(move || audit.append(event)).await;
        match written {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::error!(
                    what,
                    error = &error as &dyn std::error::Error,
                    "an audit entry was not written"
                );
            }
            Err(error) => tracing::error!(what, %error, "an audit entry was not written"),
        }
    }

    /// Entries before `before`, newest first, at most `limit`. Lines that are no entries are
    /// left out; [`AuditLog::verify`] tells of them. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn list(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>> {
        let mut page = Vec::new();
        for number in numbers(&self.folder).map_err(self.failed("listing"))?.into_iter().rev() {
            let file = match File::open(path(&self.folder, number)) {
                // Retention took it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                file => file.map_err(self.failed("reading"))?,
            };
            let mut entries = Vec::new();
            for line in BufReader::new(file).split(b'\n') {
                let line = line.map_err(self.failed("reading"))?;
                let entry = serde_json::from_slice::<AuditEntry>(&line).ok();
                entries.extend(entry.filter(|entry| before.is_none_or(|before| entry.seq < before)));
            }
            page.extend(entries.into_iter().rev());
            if page.len() >= limit {
                page.truncate(limit);
                break;
            }
        }
        Ok(page)
    }

    /// Reads everything and checks the chain. Blocks, and holds up entries meanwhile.
    ///
    /// # Errors
    /// When a file cannot be read. A file that is gone is a problem, not an error.
    pub fn verify(&self) -> Result<AuditVerification> {
        let open = self.lock();
        let (head, _) = HeadFile::read(&self.folder.join(HEAD_FILE), &self.key);
        let Some(head) = head.or_else(|| (open.head.last_seq == 0).then(Head::default)) else {
            let problem = Some("HEAD: it is not as it was written".to_owned());
            let last = open.head.last_seq;
            return Ok(AuditVerification { entries: 0, first: 0, last, problem, key: String::new() });
        };
        let mut checked = AuditVerification {
            entries: 0,
            first: 0,
            last: head.last_seq,
            problem: None,
            key: String::new(),
        };
        let (mut before, mut seq) = (head.before_first, head.before_first_seq);
        for number in head.first_file..=open.number {
            let name = format!("{number:08}.jsonl");
            let file = match File::open(path(&self.folder, number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    checked.problem = Some(format!("{name}: it is gone"));
                    return Ok(checked);
                }
                file => file.map_err(self.failed("reading"))?,
            };
            for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
                let line = line.map_err(self.failed("reading"))?;
                let wrong = |reason: &str| Some(format!("{name}, line {}: {reason}", index + 1));
                let Some(line) = chain::parse(&line) else {
                    checked.problem = wrong("it is no entry");
                    return Ok(checked);
                };
                if !line.follows(&before, &self.key) || line.seq != seq + 1 {
                    checked.problem = wrong("it, or the entry before it, is not as it was written");
                    return Ok(checked);
                }
                (before, seq) = (line.mac, line.seq);
                checked.entries += 1;
                checked.first = if checked.first == 0 { seq } else { checked.first };
            }
        }
        if (seq, before) != (head.last_seq, head.last) {
            checked.problem =
                Some(format!("entries up to {} were written, the last one is {seq}", head.last_seq));
        }
        Ok(checked)
    }

    /// Deletes whole files whose entries are all older than the days that are kept, and the
    /// oldest while all take too many bytes. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read or deleted.
    pub fn prune(&self, now: Timestamp) -> Result<u64> {
        let mut open = self.lock();
        let mut deleted = 0;
        let keep = SignedDuration::from_hours(24 * i64::from(self.days));
        let numbers = numbers(&self.folder).map_err(self.failed("listing"))?;
        let size = |number: &u64| std::fs::metadata(path(&self.folder, *number)).map_or(0, |file| file.len());
        let mut total: u64 = numbers.iter().map(size).sum();
        let newest = open.number;
        for number in numbers.into_iter().filter(|number| *number < newest) {
            let file = path(&self.folder, number);
            let last = last_line(&file).map_err(self.failed("reading"))?;
            let is_old = last.as_ref().is_none_or(|line| now.duration_since(line.at) > keep);
            if !is_old && total <= self.bytes_max {
                break;
            }
            let bytes = size(&number);
            if let Some(last) = last {
                let head = Head {
                    first_file: number + 1,
                    before_first: last.mac,
                    before_first_seq: last.seq,
                    ..open.head
                };
                open.head = head;
                // Twice: both slots say so before the file goes.
                for _ in 0..2 {
                    open.head_file.write(&head, &self.key).map_err(self.failed("writing"))?;
                }
            }
            std::fs::remove_file(&file).map_err(self.failed("deleting a file of"))?;
            total = total.saturating_sub(bytes);
            deleted += bytes;
        }
        Ok(deleted)
    }

    /// The files of the log as they are, each with its place below the data folder, for a
    /// backup: their contents, of one moment. Blocks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn copy(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let _open = self.lock();
        let mut names: Vec<String> = numbers(&self.folder)
            .map_err(self.failed("listing"))?
            .into_iter()
            .map(|number| format!("{number:08}.jsonl"))
            .collect();
        names.push(HEAD_FILE.to_owned());
        let read = |name: String| {
            let bytes = match std::fs::read(self.folder.join(&name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                bytes => bytes.map_err(self.failed("reading"))?,
            };
            Ok(Some((format!("{FOLDER}/{name}"), bytes)))
        };
        names.into_iter().filter_map(|name| read(name).transpose()).collect()
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> AuditError + use<> {
        let path = self.folder.clone();
        move |source| AuditError { action, path: path.clone(), source }
    }

    // A panic under this lock leaves a chain that the next entry goes on from.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    /// Something that the host did by itself.
    pub fn of_host(what: &'static str) -> Self {
        let (who, via) = ("-".to_owned(), "host".to_owned());
        Self { who, via, what, object: String::new(), details: Vec::new(), address: None, status: 0 }
    }

    fn into_entry(self, seq: u64, at: Timestamp) -> AuditEntry {
        let Self { who, via, what, object, details, address, status } = self;
        AuditEntry {
            seq,
            at,
            who: cut(who),
            via: cut(via),
            what: what.to_owned(),
            object: cut(object),
            details: details.into_iter().take(DETAILS_MAX).map(cut).collect(),
            address,
            status,
        }
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.jsonl"))
}

fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")).map(str::parse::<u64>);
        numbers.extend(number.and_then(std::result::Result::ok));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The last whole line of a file, if it is an entry; what follows it is cut off.
fn last_line(path: &Path) -> io::Result<Option<chain::Line>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    let line =
        bytes[..whole].strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
    Ok(line.and_then(chain::parse))
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
