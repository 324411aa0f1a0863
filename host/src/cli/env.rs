//! What the commands read from their process: the environment and standard input.
//!
//! The only file of the command line that does; everything else is handed an
//! [`Environment`].

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::error::{Explain, Failure, Result};
use super::serve::ConfigArgs;
use crate::config::Config;
use crate::keys::KeySource;
use crate::workflow::Secret;

/// A bearer token. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// The token in this text, without the white space around it; `None` when nothing
    /// is left.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The token as it is sent.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The master key as the environment has it. Its `Debug` shows nothing.
#[derive(Clone)]
pub(crate) struct MasterKeyText(Secret);

impl fmt::Debug for MasterKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKeyText(..)")
    }
}

/// What the environment says. An empty variable is one that is not set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `TIDEGATE_URL`: where the host is.
    pub(crate) url: Option<String>,
    /// `TIDEGATE_TOKEN`: the right to use it.
    pub(crate) token: Option<Token>,
    /// `TIDEGATE_DATA`: a data folder of this machine.
    pub(crate) data: Option<PathBuf>,
    /// The data folder that is used when none is named: `tidegate` in `XDG_DATA_HOME`,
    /// or `~/.local/share/tidegate`; `None` without a home.
    pub(crate) default_data: Option<PathBuf>,
    /// `TIDEGATE_CACHE`: where builds keep tools and downloads; `tidegate` in
    /// `XDG_CACHE_HOME`, or `~/.cache/tidegate`.
    pub(crate) cache: Option<PathBuf>,
    /// `TIDEGATE_RUNTIMES`: a folder with runtimes' components that somebody keeps up to
    /// date.
    pub(crate) runtimes: Option<PathBuf>,
    /// `TIDEGATE_GUESTS`: a folder with the components of the Rust examples.
    pub(crate) guests: Option<PathBuf>,
    /// `PATH`: where a shell looks for commands.
    pub(crate) path: Option<OsString>,
    /// `RUSTC`: the Rust compiler that cargo uses; `None` is the one on the path.
    pub(crate) rustc: Option<PathBuf>,
    /// `TIDEGATE_MASTER_KEY`: the key that settings are encrypted with.
    pub(crate) master_key: Option<MasterKeyText>,
    /// The key file that is used when none is configured: `tidegate/master.key` in
    /// `XDG_CONFIG_HOME`, or `~/.config/tidegate/master.key`; `None` without a home.
    pub(crate) key_file: Option<PathBuf>,
    /// What `tidegate login` writes: `tidegate/profile.toml` in `XDG_CONFIG_HOME`, or
    /// `~/.config/tidegate/profile.toml`; `None` without a home.
    pub(crate) profile: Option<PathBuf>,
    /// `LISTEN_FDS`, when `LISTEN_PID` names this process: how many listening sockets its
    /// starter handed over (`sd_listen_fds(3)`).
    pub(crate) listeners_inherited: u32,
}

impl Environment {
    /// The environment of this process.
    ///
    /// # Errors
    /// A variable that is not UTF-8 where it must be.
    pub(crate) fn of_process() -> Result<Self> {
        Self::read(|name| std::env::var_os(name))
    }

    /// Where the master key of a host with this configuration is looked for.
    pub(crate) fn keys(&self, config: &Config) -> KeySource {
        KeySource {
            file: Some(&config.keys.file).filter(|file| !file.is_empty()).map(PathBuf::from),
            command: config.keys.command.clone(),
            variable: self.master_key.as_ref().map(|key| key.0.clone()),
            default_file: self.key_file.clone(),
        }
    }

    /// Where a command that opens a data folder itself looks for the master key: as a host
    /// without a configuration file would.
    ///
    /// # Errors
    /// A variable of the environment that is wrong.
    pub(crate) fn local_keys(&self) -> Result<KeySource> {
        Ok(self.keys(&ConfigArgs::default().load(Vec::new())?))
    }

    /// The folder of this program, when a shell would not find it by its name.
    pub(crate) fn missing_from_path(&self) -> Option<PathBuf> {
        let program = std::env::current_exe().ok()?;
        let folders = self.path.iter().flat_map(std::env::split_paths);
        let found = folders.map(|folder| folder.join("tidegate")).find(|path| path.is_file());
        let is_found = found.and_then(|path| path.canonicalize().ok()) == program.canonicalize().ok();
        if is_found { None } else { program.parent().map(Path::to_owned) }
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| match set(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(Failure::configuration(format!("{name} is not valid UTF-8"))),
        };
        let home = set("HOME").map(PathBuf::from);
        // The XDG base directory specification has relative paths ignored.
        let base = |name: &str, below_home: &str| {
            let named = set(name).map(PathBuf::from).filter(|path| path.is_absolute());
            named.or_else(|| home.as_ref().map(|home| home.join(below_home)))
        };
        let number = |name: &str| set(name).and_then(|value| value.to_str()?.parse::<u32>().ok());
        // Those of another process were not for this one.
        let is_handed_to_us = number("LISTEN_PID") == Some(std::process::id());
        Ok(Self {
            url: text("TIDEGATE_URL")?,
            token: text("TIDEGATE_TOKEN")?.as_deref().and_then(Token::new),
            data: set("TIDEGATE_DATA").map(PathBuf::from),
            default_data: base("XDG_DATA_HOME", ".local/share").map(|path| path.join("tidegate")),
            cache: set("TIDEGATE_CACHE")
                .map(PathBuf::from)
                .or_else(|| base("XDG_CACHE_HOME", ".cache").map(|path| path.join("tidegate"))),
            runtimes: set("TIDEGATE_RUNTIMES").map(PathBuf::from),
            guests: set("TIDEGATE_GUESTS").map(PathBuf::from),
            path: set("PATH"),
            master_key: text("TIDEGATE_MASTER_KEY")?.map(|text| MasterKeyText(Secret::new(text))),
            key_file: base("XDG_CONFIG_HOME", ".config").map(|path| path.join("tidegate/master.key")),
            rustc: set("RUSTC").map(PathBuf::from),
            profile: base("XDG_CONFIG_HOME", ".config").map(|path| path.join("tidegate/profile.toml")),
            listeners_inherited: number("LISTEN_FDS").filter(|_| is_handed_to_us).unwrap_or(0),
        })
    }
}

/// Where a command reads what it was not given as an argument.
pub(crate) struct Input {
    reader: Box<dyn Read>,
    /// Whether a person types.
    pub(crate) is_terminal: bool,
}

/// The most that is read from standard input, in bytes: the default limit of an upload.
const STDIN_BYTES_MAX: u64 = 64 << 20;

impl Input {
    /// The process's standard input.
    pub(crate) fn of_process() -> Self {
        Self { reader: Box::new(io::stdin()), is_terminal: io::stdin().is_terminal() }
    }

    /// Input that is not typed.
    #[cfg(test)]
    pub(crate) fn holding(text: &str) -> Self {
        Self { reader: Box::new(io::Cursor::new(text.as_bytes().to_vec())), is_terminal: false }
    }

    /// All of it.
    ///
    /// # Errors
    /// It cannot be read, is not UTF-8, or is over 64 MiB.
    pub(crate) fn text(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut limited = self.reader.by_ref().take(STDIN_BYTES_MAX + 1);
        limited.read_to_end(&mut bytes).context("read standard input")?;
        if bytes.len() as u64 > STDIN_BYTES_MAX {
            return Err(Failure::new("standard input is over 64 MiB"));
        }
        String::from_utf8(bytes).map_err(|_| Failure::new("standard input is not valid UTF-8"))
    }

    /// A value that nobody should see: typed without echo where a person types, else
    /// all of standard input without its last line break.
    ///
    /// # Errors
    /// As [`Input::text`].
    pub(crate) fn secret(&mut self, prompt: &str) -> Result<String> {
        if !self.is_terminal {
            let mut text = self.text()?;
            if text.ends_with('\n') {
                text.pop();
                if text.ends_with('\r') {
                    text.pop();
                }
            }
            return Ok(text);
        }
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{prompt}");
        let _ = stderr.flush();
        let silence = Silence::start();
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        drop(silence);
        let _ = writeln!(stderr);
        if read.context("read the terminal")? == 0 {
            return Err(Failure::new("nothing was typed"));
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Turns the terminal's echo off until it is dropped.
struct Silence(Option<Termios>);

impl Silence {
    fn start() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            quiet.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG);
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &quiet);
        }
        Self(before)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// The file's text; `-` is standard input.
///
/// # Errors
/// It cannot be read or is not UTF-8.
pub(crate) fn text_of(path: &Path, input: &mut Input) -> Result<String> {
    if path == Path::new("-") {
        return input.text();
    }
    let bytes = std::fs::read(path).context(format!("read {}", path.display()))?;
    String::from_utf8(bytes).map_err(|_| Failure::new(format!("{} is not valid UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::Exit;

    fn environment(pairs: &[(&str, &str)]) -> Result<Environment> {
        Environment::read(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn folders_follow_the_xdg_variables() {
        let home = environment(&[("HOME", "/h")]).unwrap();
        assert_eq!(home.profile.unwrap(), Path::new("/h/.config/tidegate/profile.toml"));
        assert_eq!(home.default_data.unwrap(), Path::new("/h/.local/share/tidegate"));
        let xdg = [("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("XDG_DATA_HOME", "relative")];
        let xdg = environment(&xdg).unwrap();
        assert_eq!(xdg.profile.unwrap(), Path::new("/c/tidegate/profile.toml"));
        assert_eq!(xdg.default_data.unwrap(), Path::new("/h/.local/share/tidegate"));
        assert!(environment(&[]).unwrap().profile.is_none());
    }

    #[test]
    fn empty_variables_are_not_set_and_tokens_are_never_shown() {
        let set = [("TIDEGATE_URL", ""), ("TIDEGATE_TOKEN", " s3cret\n"), ("TIDEGATE_DATA", "")];
        let read = environment(&set).unwrap();
        assert_eq!((read.url.as_ref(), read.data.as_ref()), (None, None));
        assert_eq!(read.token.as_ref().unwrap().expose(), "s3cret");
        assert!(!format!("{read:?}").contains("s3cret"));
    }

    #[test]
    fn a_variable_that_is_not_utf8_is_bad_configuration() {
        use std::os::unix::ffi::OsStringExt;
        let failure =
            Environment::read(|name| (name == "TIDEGATE_URL").then(|| OsString::from_vec(vec![0xff])))
                .unwrap_err();
        assert_eq!(
            (failure.exit, failure.line().as_str()),
            (Exit::Configuration, "TIDEGATE_URL is not valid UTF-8")
        );
    }

    #[test]
    fn a_secret_from_a_pipe_loses_only_its_last_line_break() {
        for (given, kept) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\nb\n\n", "a\nb\n"), ("", "")] {
            assert_eq!(Input::holding(given).secret("? ").unwrap(), kept);
        }
    }
}
