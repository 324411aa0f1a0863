//! Finding the host and the right to use it.
//!
//! In this order: `TIDEGATE_URL` and `TIDEGATE_TOKEN`; `TIDEGATE_DATA`, a data folder
//! of this machine; the profile that `tidegate login` wrote; the default data folder;
//! `http://127.0.0.1:8080`. A token is only ever sent to the host that it came with.

use std::path::{Path, PathBuf};

use super::env::{Environment, Token};
use super::error::{Exit, Explain, Failure, Result};
use super::profile::Profile;
use crate::data::{HOST_FILE, HostFile, TOKEN_FILE};

/// Where a host listens by default.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// What the data folder says of its host; `None` when it says nothing.
///
/// # Errors
/// The file cannot be read or is damaged.
pub(crate) fn host_of(folder: &Path) -> Result<Option<HostFile>> {
    let path = folder.join(HOST_FILE);
    match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("read {}", path.display())),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).context(format!("read {}", path.display())),
    }
}

/// Whether the process that wrote the file still exists.
pub(crate) fn is_alive(file: &HostFile) -> bool {
    let pid = i32::try_from(file.pid).ok().and_then(rustix::process::Pid::from_raw);
    let test = pid.map(rustix::process::test_kill_process);
    // Not permitted: it exists and belongs to somebody else.
    matches!(test, Some(Ok(()) | Err(rustix::io::Errno::PERM)))
}

/// A host, and the right to use it.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// Without a slash at its end.
    pub(crate) url: String,
    /// `None` when there is none to be found.
    pub(crate) token: Option<Token>,
    /// Where the URL was found.
    pub(crate) found_in: FoundIn,
}

/// Where a host's URL was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundIn {
    /// `TIDEGATE_URL`.
    Variable,
    /// The file `host.json` of this data folder.
    Data(PathBuf, HostFile),
    /// The profile that `tidegate login` wrote.
    Profile(PathBuf),
    /// The command line.
    Argument,
    /// Nowhere: it is the default.
    Default,
}

impl Address {
    /// The host that the environment means.
    ///
    /// # Errors
    /// A URL that is none, a data folder without a token, a broken profile.
    pub(crate) fn find(env: &Environment) -> Result<Self> {
        let profile = || env.profile.as_deref().map_or(Ok(None), Profile::read);
        if let Some(url) = &env.url {
            let url = base_url(url).map_err(|reason| wrong_url("TIDEGATE_URL", &reason))?;
            let token = match (&env.token, &env.data) {
                (Some(token), _) => Some(token.clone()),
                (None, Some(folder)) => Some(admin_token(folder)?),
                (None, None) => Self::token_for(&url, env.default_data.as_deref(), profile()?),
            };
            return Ok(Self { url, token, found_in: FoundIn::Variable });
        }
        if let Some(folder) = &env.data {
            let own = if env.token.is_some() { None } else { Some(admin_token(folder)?) };
            return Self::of_data(folder, env.token.clone(), own);
        }
        if let (Some(profile), Some(path)) = (profile()?, env.profile.clone()) {
            let origin = format!("url in {}", path.display());
            let url = base_url(&profile.url).map_err(|reason| wrong_url(&origin, &reason))?;
            let token = env.token.clone().or(Some(profile.token));
            return Ok(Self { url, token, found_in: FoundIn::Profile(path) });
        }
        match &env.default_data {
            // Nobody named this folder: what cannot be read in it is not an error.
            Some(folder) if host_of(folder).is_ok_and(|file| file.is_some()) => {
                Self::of_data(folder, env.token.clone(), admin_token(folder).ok())
            }
            _ => {
                Ok(Self { url: DEFAULT_URL.to_owned(), token: env.token.clone(), found_in: FoundIn::Default })
            }
        }
    }

    /// The host of a data folder, with the token that was `given`, else the folder's `own`.
    fn of_data(folder: &Path, given: Option<Token>, own: Option<Token>) -> Result<Self> {
        let Some(file) = host_of(folder)? else {
            // No host serves it: who listens at the default address has no right to its token.
            return Ok(Self { url: DEFAULT_URL.to_owned(), token: given, found_in: FoundIn::Default });
        };
        let token = given.or(own);
        let origin = format!("url in {}", folder.join(HOST_FILE).display());
        let url = base_url(&file.url).map_err(|reason| wrong_url(&origin, &reason))?;
        Ok(Self { url, token, found_in: FoundIn::Data(folder.to_owned(), file) })
    }

    /// A token that came with this very URL, from the profile or a host on this machine.
    fn token_for(url: &str, default_data: Option<&Path>, profile: Option<Profile>) -> Option<Token> {
        if let Some(profile) = profile.filter(|profile| base_url(&profile.url).as_deref() == Ok(url)) {
            return Some(profile.token);
        }
        let folder = default_data?;
        let file = host_of(folder).ok()??;
        (base_url(&file.url).as_deref() == Ok(url)).then(|| admin_token(folder).ok()).flatten()
    }
}

fn wrong_url(origin: &str, reason: &str) -> Failure {
    Failure::configuration(format!("{origin}: {reason}")).hint(format!("a URL looks like {DEFAULT_URL}"))
}

/// The token that the first `serve` wrote into its data folder.
fn admin_token(folder: &Path) -> Result<Token> {
    let path = folder.join(TOKEN_FILE);
    let text = std::fs::read_to_string(&path)
        .context(format!("there is no token in the data folder: read {}", path.display()))
        .exit(Exit::Configuration);
    let text = text.hint(format!("the first `tidegate serve --data {}` writes it", folder.display()))?;
    let token = Token::new(&text);
    token.ok_or_else(|| Failure::configuration(format!("{} is empty", path.display())))
}

/// The URL without its slash at the end: `http` or `https`, a host, perhaps a path.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn base_url(text: &str) -> std::result::Result<String, String> {
    let text = text.trim();
    let url: http::Uri = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(format!("{text:?} must begin with http:// or https://"));
    }
    match url.authority() {
        None => return Err(format!("{text:?} names no host")),
        // They would end up in messages, and nothing reads them.
        Some(authority) if authority.as_str().contains('@') => {
            return Err("a user name or a password cannot be part of it".to_owned());
        }
        Some(_) => {}
    }
    if url.query().is_some() || text.contains('#') {
        return Err(format!("{text:?} must end with a host, a port or a path"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        env: Environment,
    }

    impl Place {
        /// A machine with a running host at port 7 in its default data folder.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let env = Environment {
                default_data: Some(folder.path().join("data")),
                profile: Some(folder.path().join("profile.toml")),
                ..Environment::default()
            };
            Self { _folder: folder, env }
        }

        fn with_host(self) -> Self {
            write_host(self.env.default_data.as_ref().unwrap(), "http://127.0.0.1:7", "default");
            self
        }

        fn with_profile(self) -> Self {
            let profile = Profile { url: "http://p:1/".to_owned(), token: Token::new("profile").unwrap() };
            profile.write(self.env.profile.as_ref().unwrap()).unwrap();
            self
        }

        fn find(&self) -> (String, Option<String>) {
            let address = Address::find(&self.env).unwrap();
            (address.url, address.token.map(|token| token.expose().to_owned()))
        }
    }

    fn write_host(folder: &Path, url: &str, token: &str) {
        std::fs::create_dir_all(folder).unwrap();
        let file = HostFile { url: url.to_owned(), catch_url: url.to_owned(), pid: std::process::id() };
        std::fs::write(folder.join(HOST_FILE), serde_json::to_vec(&file).unwrap()).unwrap();
        std::fs::write(folder.join(TOKEN_FILE), format!("{token}\n")).unwrap();
    }

    fn found(url: &str, token: &str) -> (String, Option<String>) {
        (url.to_owned(), (!token.is_empty()).then(|| token.to_owned()))
    }

    #[test]
    fn the_nearest_source_wins() {
        let mut place = Place::new();
        assert_eq!(place.find(), found(DEFAULT_URL, ""));
        place = place.with_host();
        assert_eq!(place.find(), found("http://127.0.0.1:7", "default"));
        place = place.with_profile();
        assert_eq!(place.find(), found("http://p:1", "profile"));

        let named = tempfile::tempdir().unwrap();
        write_host(named.path(), "http://127.0.0.1:9", "named");
        place.env.data = Some(named.path().to_owned());
        assert_eq!(place.find(), found("http://127.0.0.1:9", "named"));
        place.env.token = Token::new("variable");
        assert_eq!(place.find(), found("http://127.0.0.1:9", "variable"));
        place.env.url = Some("http://v:2/".to_owned());
        assert_eq!(place.find(), found("http://v:2", "variable"));
    }

    #[test]
    fn a_token_goes_only_to_the_host_it_came_with() {
        let mut place = Place::new().with_host().with_profile();
        place.env.url = Some("http://elsewhere".to_owned());
        assert_eq!(place.find(), found("http://elsewhere", ""));
        place.env.url = Some("http://p:1".to_owned());
        assert_eq!(place.find(), found("http://p:1", "profile"));
        place.env.url = Some("http://127.0.0.1:7".to_owned());
        assert_eq!(place.find(), found("http://127.0.0.1:7", "default"));

        // No host serves this folder: somebody else may listen at the default address.
        let named = tempfile::tempdir().unwrap();
        write_host(named.path(), "http://127.0.0.1:9", "named");
        std::fs::remove_file(named.path().join(HOST_FILE)).unwrap();
        place.env.url = None;
        place.env.data = Some(named.path().to_owned());
        assert_eq!(place.find(), found(DEFAULT_URL, ""));
        place.env.token = Token::new("variable");
        assert_eq!(place.find(), found(DEFAULT_URL, "variable"));
    }

    #[test]
    fn a_named_data_folder_without_a_token_is_bad_configuration() {
        let mut place = Place::new();
        place.env.data = Some(PathBuf::from("/nonexistent"));
        let failure = Address::find(&place.env).unwrap_err();
        assert_eq!(failure.exit, Exit::Configuration);
        assert!(failure.hints[0].contains("tidegate serve --data /nonexistent"), "{failure:?}");
    }

    #[test]
    fn a_text_that_is_no_url_says_why() {
        for (text, reason) in [
            ("127.0.0.1:8080", "must begin with http"),
            ("ftp://h", "must begin with http"),
            ("http://u:p@h", "cannot be part"),
            ("http://h?x=1", "must end with"),
            ("ht tp", "is not a URL"),
        ] {
            let error = base_url(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert_eq!(base_url(" https://h/prefix/ ").unwrap(), "https://h/prefix");
    }

    #[test]
    fn a_host_file_knows_whether_its_process_lives() {
        let mut file = HostFile { url: String::new(), catch_url: String::new(), pid: std::process::id() };
        assert!(is_alive(&file));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        file.pid = child.id();
        child.wait().unwrap();
        assert!(!is_alive(&file));
        file.pid = 0;
        assert!(!is_alive(&file));
    }
}
