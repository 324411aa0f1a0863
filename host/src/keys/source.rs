//! Where the master key comes from: a file, a variable of the environment, or a command.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{KeyRing, MasterKey, MasterKeyError, file};
use crate::workflow::Secret;

/// Time that the command has.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The variable that may hold the key.
pub(super) const VARIABLE: &str = "TIDEGATE_MASTER_KEY";

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key file cannot be read or made.
    #[error("{action} the key file {path} failed")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file, or its folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The key file is not where or what it must be.
    #[error("the key file {path} is not used: {reason}")]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The key file is not there.
    #[error("the key file {path} does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A line is no key.
    #[error("line {line} of {origin} is wrong")]
    Text {
        /// Where it was read.
        origin: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: MasterKeyError,
    },
    /// There is no key.
    #[error("{origin} holds no key")]
    Empty {
        /// Where it was looked for.
        origin: String,
    },
    /// The command failed.
    #[error("the command of keys.command failed: {reason}")]
    Command {
        /// How.
        reason: String,
    },
    /// More than one source is configured.
    #[error("the master key is given twice: {first} and {second}")]
    Twice {
        /// One source.
        first: &'static str,
        /// Another.
        second: &'static str,
    },
    /// There is no place for a key file.
    #[error("there is no place for a key file: neither HOME nor XDG_CONFIG_HOME is set")]
    NoPlace,
    /// The source is not this program's to change.
    #[error("a new master key cannot be made in {0}")]
    Foreign(KeyOrigin),
}

impl KeysError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            KeysError::Unsafe { path, reason: "others may read it" } => {
                format!("`chmod 600 {}`, and think about who has read it so far", path.display())
            }
            KeysError::Unsafe { .. } => {
                "give keys.file a private file outside the data folder, owned by the user of the host".to_owned()
            }
            KeysError::Missing { .. } => {
                "the data folder is encrypted already: bring the key back from its backup, or name its place with keys.file"
                    .to_owned()
            }
            KeysError::Foreign(_) => {
                "put the output of `tidegate key new` before the old key there, start the host again, \
                 and look at `tidegate key status`"
                    .to_owned()
            }
            KeysError::Text { .. } | KeysError::Empty { .. } => {
                "one key a line, the current one first; `tidegate key new` prints a new one".to_owned()
            }
            KeysError::Twice { .. } => "keep one of them".to_owned(),
            KeysError::File { .. } | KeysError::Command { .. } | KeysError::NoPlace => {
                format!("the key comes from keys.file, keys.command or the variable {VARIABLE}")
            }
        }
    }
}

/// Where keys were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrigin {
    /// Nowhere: none were looked for.
    None,
    /// Compiled in, for what runs without a host.
    Local,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable,
    /// The output of a command.
    Command,
}

impl fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyOrigin::None => f.write_str("no place"),
            KeyOrigin::Local => f.write_str("this program"),
            KeyOrigin::File(path) => write!(f, "the key file {}", path.display()),
            KeyOrigin::Variable => write!(f, "the variable {VARIABLE}"),
            KeyOrigin::Command => f.write_str("the output of keys.command"),
        }
    }
}

/// Where to look for the master key. All but one of the first three are empty.
pub struct KeySource {
    /// `keys.file`.
    pub file: Option<PathBuf>,
    /// `keys.command`: a program and its arguments, which prints the keys.
    pub command: Vec<String>,
    /// The value of `TIDEGATE_MASTER_KEY`.
    pub variable: Option<Secret>,
    /// The file that is used, and made, when nothing is configured; `None` without a home.
    pub default_file: Option<PathBuf>,
}

/// What was found.
pub struct Loaded {
    /// The keys.
    pub ring: KeyRing,
    /// The key was made just now, in this file.
    pub made: Option<PathBuf>,
}

impl KeySource {
    /// Reads the keys. `is_encrypted` says that `data` was encrypted before: then no key is
    /// made that could not be the right one.
    ///
    /// # Errors
    /// There is no usable key, or more than one source.
    pub async fn load(&self, data: &Path, is_encrypted: bool) -> Result<Loaded, KeysError> {
        let configured = [
            (self.file.is_some(), "keys.file"),
            (!self.command.is_empty(), "keys.command"),
            (self.variable.is_some(), VARIABLE),
        ];
        let mut given = configured.iter().filter(|(is_given, _)| *is_given).map(|(_, name)| *name);
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(KeysError::Twice { first, second });
        }
        let found = |keys, origin| Loaded { ring: KeyRing::new(keys, origin), made: None };
        if let Some(text) = &self.variable {
            let keys = parse(text.expose(), || KeyOrigin::Variable.to_string())?;
            return Ok(found(keys, KeyOrigin::Variable));
        }
        if !self.command.is_empty() {
            let text = output(&self.command).await?;
            let keys = parse(&text, || KeyOrigin::Command.to_string())?;
            return Ok(found(keys, KeyOrigin::Command));
        }
        let path = self.file.as_ref().or(self.default_file.as_ref()).ok_or(KeysError::NoPlace)?;
        let origin = KeyOrigin::File(path.clone());
        if is_encrypted {
            let keys = file::read(path, data)?.ok_or_else(|| KeysError::Missing { path: path.clone() })?;
            return Ok(found(keys, origin));
        }
        let (keys, is_made) = file::read_or_make(path, data)?;
        Ok(Loaded { made: is_made.then(|| path.clone()), ..found(keys, origin) })
    }

    /// Makes a new key the current one of a key file; of other sources, reads them again.
    ///
    /// # Errors
    /// As [`KeySource::load`]; the source holds no other current key than before.
    pub async fn rotate(&self, data: &Path, before: &KeyRing) -> Result<KeyRing, KeysError> {
        // Hosts may share a key file: a key that one of them has just put in must stay.
        let _lock = match &before.origin {
            KeyOrigin::File(path) => Some(file::lock(path)?),
            KeyOrigin::None | KeyOrigin::Local | KeyOrigin::Variable | KeyOrigin::Command => None,
        };
        let KeyRing { mut keys, origin } = self.load(data, true).await?.ring;
        if keys.first().map(MasterKey::id) != before.current() {
            return Ok(KeyRing::new(keys, origin));
        }
        let KeyOrigin::File(path) = &origin else { return Err(KeysError::Foreign(origin)) };
        keys.insert(0, MasterKey::random());
        file::replace(path, &keys)?;
        Ok(KeyRing::new(keys, origin))
    }
}

/// The keys in a text: one a line; empty lines and comments are left out.
pub(super) fn parse(text: &str, origin: impl Fn() -> String) -> Result<Vec<MasterKey>, KeysError> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|(line, text)| {
        text.parse().map_err(|source| KeysError::Text { origin: origin(), line, source })
    });
    let keys: Vec<MasterKey> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(KeysError::Empty { origin: origin() }) } else { Ok(keys) }
}

async fn output(command: &[String]) -> Result<Zeroizing<String>, KeysError> {
    let failed = |reason: String| KeysError::Command { reason };
    let (program, arguments) = command.split_first().ok_or_else(|| failed("it is empty".to_owned()))?;
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(COMMAND_TIMEOUT, child)
        .await
        .map_err(|_| failed(format!("it took longer than {} s", COMMAND_TIMEOUT.as_secs())))?;
    let ended = ended.map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
    let stdout = Zeroizing::new(ended.stdout);
    if !ended.status.success() {
        return Err(failed(format!("{program} ended with {}", ended.status)));
    }
    let text = std::str::from_utf8(&stdout).map_err(|_| failed("its output is no text".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> KeySource {
        KeySource { file: None, command: Vec::new(), variable: None, default_file: None }
    }

    fn text(key: &MasterKey) -> String {
        format!("# ours\n\n  {}\n", key.text().expose())
    }

    #[tokio::test]
    async fn the_key_comes_from_one_place() {
        let temp = tempfile::tempdir().unwrap();
        let (data, key) = (temp.path().join("data"), MasterKey::random());
        let variable = KeySource { variable: Some(Secret::new(text(&key))), ..source() };
        let ring = variable.load(&data, true).await.unwrap_or_else(|error| panic!("{error}")).ring;
        assert_eq!((ring.current(), &ring.origin), (Some(key.id()), &KeyOrigin::Variable));
        let printed = vec!["printf".to_owned(), "%s".to_owned(), text(&key)];
        let command = KeySource { command: printed, ..source() };
        let ring = command.load(&data, true).await.unwrap_or_else(|error| panic!("{error}")).ring;
        assert_eq!(ring.current(), Some(key.id()));
        let file = Some(temp.path().join("master.key"));
        let twice = KeySource { file: file.clone(), ..variable };
        assert!(matches!(twice.load(&data, false).await, Err(KeysError::Twice { .. })));
        for command in [vec!["false".to_owned()], vec!["/nowhere/at/all".to_owned()]] {
            let failing = KeySource { command, ..source() };
            assert!(matches!(failing.load(&data, false).await, Err(KeysError::Command { .. })));
        }
        assert!(matches!(source().load(&data, false).await, Err(KeysError::NoPlace)));
        let default = KeySource { default_file: file, ..source() };
        assert!(matches!(default.load(&data, true).await, Err(KeysError::Missing { .. })));
        let made = default.load(&data, false).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(made.made, default.default_file);
        let again = default.load(&data, true).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((again.ring.current(), again.made), (made.ring.current(), None));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hosts_that_share_a_key_file_lose_no_key_of_each_other() {
        let temp = tempfile::tempdir().unwrap();
        let (data, path) = (temp.path().join("data"), temp.path().join("master.key"));
        let source = || KeySource { file: Some(path.clone()), ..source() };
        let before = source().load(&data, false).await.unwrap_or_else(|error| panic!("{error}")).ring;
        let rotations = (0..8).map(|_| {
            let (source, data, before) = (source(), data.clone(), before.clone());
            tokio::spawn(async move { source.rotate(&data, &before).await.unwrap().current() })
        });
        let made = futures::future::join_all(rotations).await;
        let kept = source().load(&data, true).await.unwrap_or_else(|error| panic!("{error}")).ring;
        assert!(
            made.into_iter().all(|id| kept.ids().any(|kept| Some(kept) == id.as_ref().copied().unwrap()))
        );
    }

    #[tokio::test]
    async fn rotation_puts_a_new_key_before_the_old_one() {
        let temp = tempfile::tempdir().unwrap();
        let (data, path) = (temp.path().join("data"), temp.path().join("master.key"));
        let source = KeySource { file: Some(path), ..source() };
        let before = source.load(&data, false).await.unwrap_or_else(|error| panic!("{error}")).ring;
        let after = source.rotate(&data, &before).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(after.ids().skip(1).collect::<Vec<_>>(), before.ids().collect::<Vec<_>>());
        // Of a host that was not told, the next rotation takes over what is there.
        let other = source.rotate(&data, &before).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(other, after);
        let key = MasterKey::random();
        let fixed = KeySource { file: None, variable: Some(Secret::new(text(&key))), ..source };
        let ring = fixed.load(&data, true).await.unwrap_or_else(|error| panic!("{error}")).ring;
        assert!(matches!(fixed.rotate(&data, &ring).await, Err(KeysError::Foreign(KeyOrigin::Variable))));
    }
}
