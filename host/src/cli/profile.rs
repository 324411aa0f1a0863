//! What `tidegate login` keeps: the address of a host and the right to use it.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::env::Token;
use super::error::{Exit, Explain, Failure, Result};

/// The file `profile.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The host's URL, without a slash at its end.
    pub(crate) url: String,
    /// The right to use it.
    pub(crate) token: Token,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    url: String,
    token: String,
}

impl Profile {
    /// The profile in this file; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, is no profile, or others than its owner can read it.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).context(format!("read the profile {shown}")).exit(Exit::Configuration);
            }
        };
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Failure::configuration(format!(
                "the profile {shown} holds a token, and others can read it (mode {:o})",
                mode & 0o777
            ))
            .hint(format!("chmod 600 {shown}")));
        }
        // The parser's own message would show the line, and the line may be the token.
        let wire: Wire = toml::from_str(&text).map_err(|error: toml::de::Error| {
            Failure::configuration(format!("the profile {shown} is broken: {}", error.message()))
                .hint("`tidegate login URL --token -` writes it anew")
        })?;
        let token = Token::new(&wire.token).ok_or_else(|| {
            Failure::configuration(format!("the profile {shown} has an empty token"))
                .hint("`tidegate login URL --token -` writes it anew")
        })?;
        Ok(Some(Self { url: wire.url, token }))
    }

    /// Writes the profile, readable by its owner alone, in one step.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let doing = || format!("write the profile {}", path.display());
        std::fs::create_dir_all(folder).context(doing())?;
        let wire = Wire { url: self.url.clone(), token: self.token.expose().to_owned() };
        let text = toml::to_string(&wire)?;
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = (|| {
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, path)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        written.context(doing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile { url: "http://h:1".to_owned(), token: Token::new("t0k").unwrap() }
    }

    #[test]
    fn a_profile_is_written_for_its_owner_alone_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/tidegate/profile.toml");
        assert_eq!(Profile::read(&path).unwrap(), None);
        profile().write(&path).unwrap();
        profile().write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Profile::read(&path).unwrap(), Some(profile()));
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "no draft stays behind");
    }

    #[test]
    fn a_profile_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        profile().write(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let failure = Profile::read(&path).unwrap_err();
        assert_eq!(failure.exit, Exit::Configuration);
        assert!(failure.line().ends_with("others can read it (mode 644)"), "{failure}");
    }

    #[test]
    fn a_broken_profile_is_refused_without_showing_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        for text in
            ["token = t0k", "url = \"http://h\"\ntoken = \"t0k\"\nx = 1", "url = \"h\"\ntoken = \" \""]
        {
            profile().write(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            let failure = Profile::read(&path).unwrap_err();
            assert_eq!(failure.exit, Exit::Configuration, "{text}");
            assert!(!failure.line().contains("t0k"), "{failure}");
        }
    }
}
