//! `tidegate backup` and `tidegate restore`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::error::{Explain, Failure, Result};
use super::human::{bytes, count, time};
use super::{Context, Format, in_process};
use crate::api::{BACKUP_FORMAT, BACKUP_MANIFEST, BackupFile, BackupManifest};
use crate::config::Config;
use crate::workflow::Digest;

/// Copy everything that the host keeps into a new folder, while it serves
///
/// The folder holds secrets: settings, the keys of the URLs, the operator's token. Without
/// its manifest.json it is not whole.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The folder to make; one that is there must be empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Make a data folder from a backup, and check it
///
/// Nothing may run on the new folder yet. Components are compiled again at their first
/// run.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The data folder to make; left out, TIDEGATE_DATA, or ~/.local/share/tidegate
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Takes a backup.
pub(crate) fn backup(args: &BackupArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    prepare(&args.folder)?;
    let mut archive = tar::Archive::new(client.download("/api/v1/backup")?);
    let mut written = BTreeMap::new();
    let mut manifest = None;
    for entry in archive.entries().context("read the backup")? {
        let mut entry = entry.context("read the backup")?;
        let path = entry.path().context("read the backup")?.into_owned();
        let path = path.to_str().map(str::to_owned).unwrap_or_default();
        if path == BACKUP_MANIFEST {
            let mut text = Vec::new();
            entry.take(MANIFEST_BYTES_MAX).read_to_end(&mut text).context("read the backup's manifest")?;
            manifest = Some(serde_json::from_slice::<BackupManifest>(&text)?);
            continue;
        }
        let copied = copy(&mut entry, &args.folder, &path)?;
        written.insert(path, copied);
    }
    let Some(manifest) = manifest else {
        return Err(Failure::new("the backup is not whole: the host cut it off")
            .hint("its log says why; delete the folder and try again"));
    };
    for file in &manifest.files {
        check(file, written.get(&file.path))?;
    }
    let text = serde_json::to_vec_pretty(&manifest)?;
    copy(&mut text.as_slice(), &args.folder, BACKUP_MANIFEST)?;
    sync_folders(&args.folder)?;
    tell(context, args.format, &args.folder, &manifest, "backed up")
}

/// Restores a backup.
pub(crate) fn restore(args: &RestoreArgs, context: &mut Context) -> Result<()> {
    let env = &context.env;
    let data = args.data.clone().or_else(|| env.data.clone()).or_else(|| env.default_data.clone());
    let data = data.ok_or_else(|| {
        Failure::usage("there is no place for a data folder: HOME is not set").hint("name one with --data")
    })?;
    let manifest = read_manifest(&args.folder)?;
    prepare(&data)?;
    for file in &manifest.files {
        let path = args.folder.join(safe(&file.path)?);
        let mut source = File::open(&path).context(format!("read {}", path.display()))?;
        check(file, Some(&copy(&mut source, &data, &file.path)?))?;
    }
    sync_folders(&data)?;
    let keys = env.local_keys()?;
    let (health, verification) =
        in_process::verify(&data, &Config::defaults(), &keys, in_process::Opening::Restored)?;
    if let Some(problem) = verification.problems.first() {
        let more = match verification.problems.len() - 1 {
            0 => String::new(),
            more => format!(" ({more} more)"),
        };
        return Err(Failure::new(format!("the restored folder is damaged: {problem}{more}"))
            .hint("the host was when the backup was taken: every file is as it was then")
            .hint("`tidegate doctor` lists the damage; all else in the folder can be served"));
    }
    if health.runs != manifest.runs {
        let (found, expected) = (count(health.runs, "run"), manifest.runs);
        return Err(Failure::new(format!("{found} were restored, the backup has {expected}")));
    }
    tell(context, args.format, &data, &manifest, "restored and checked")
}

fn tell(
    context: &mut Context,
    format: Format,
    folder: &Path,
    manifest: &BackupManifest,
    what: &str,
) -> Result<()> {
    let total: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let out = &mut context.out;
    if format.json {
        return out.json(&json!({
            "folder": folder, "taken_at": manifest.taken_at, "workflows": manifest.workflows,
            "runs": manifest.runs, "files": manifest.files.len(), "bytes": total,
        }));
    }
    out.line(format!(
        "{what}: {} and {}, {} in {}",
        count(manifest.workflows, "workflow"),
        count(manifest.runs, "run"),
        bytes(total),
        folder.display()
    ))?;
    out.line(format!("  as of {}", time(manifest.taken_at, &out.zone)))?;
    Ok(())
}

fn read_manifest(folder: &Path) -> Result<BackupManifest> {
    let path = folder.join(BACKUP_MANIFEST);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(format!(
                "{} is no whole backup: it has no {BACKUP_MANIFEST}",
                folder.display()
            ))
            .hint("`tidegate backup DIR` makes one"));
        }
        text => text.context(format!("read {}", path.display()))?,
    };
    let manifest: BackupManifest = serde_json::from_slice(&text)?;
    if manifest.format > BACKUP_FORMAT {
        return Err(Failure::new(format!(
            "the backup has format {}, this build reads {BACKUP_FORMAT}",
            manifest.format
        ))
        .hint(format!("use tidegate {} or newer", manifest.tidegate)));
    }
    Ok(manifest)
}

/// Makes a folder that only its owner can enter; one that has something in it is refused.
fn prepare(folder: &Path) -> Result<()> {
    let failed = || format!("make {}", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).context(failed())?;
    if fs::read_dir(folder).context(failed())?.next().is_some() {
        return Err(Failure::new(format!("{} is not empty", folder.display())).hint("name a new folder"));
    }
    Ok(())
}

/// A file's place below a folder; nothing in an archive may name one outside.
fn safe(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    let is_safe = path.components().all(|part| matches!(part, Component::Normal(_)));
    if is_safe && path.components().next().is_some() {
        return Ok(path);
    }
    Err(Failure::new(format!("the backup names the file {:?}, which is none of a data folder", path)))
}

/// Writes a file and flushes it, and returns its size and digest.
fn copy(source: &mut impl Read, folder: &Path, path: &str) -> Result<(u64, Digest)> {
    let target = folder.join(safe(path)?);
    let failed = || format!("write {}", target.display());
    if let Some(parent) = target.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).context(failed())?;
    }
    let options = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target);
    let mut file = options.context(failed())?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        let read = source.read(&mut buffer).context(format!("read {path}"))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read]).context(failed())?;
        size += read as u64;
    }
    file.sync_all().context(failed())?;
    Ok((size, Digest::from_bytes(hash.finalize().into())))
}

fn check(file: &BackupFile, copied: Option<&(u64, Digest)>) -> Result<()> {
    match copied {
        Some((size, digest)) if *size == file.bytes && *digest == file.sha256 => Ok(()),
        Some(_) => Err(Failure::new(format!("the backup is damaged: {} is not as it was", file.path))),
        None => Err(Failure::new(format!("the backup is damaged: {} is missing", file.path))),
    }
}

fn sync_folders(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).context(format!("list {}", folder.display()))? {
        let path = entry.context(format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    let flushed = File::open(folder).and_then(|folder| folder.sync_all());
    flushed.context(format!("flush {}", folder.display()))
}
