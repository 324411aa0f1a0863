//! `tidegate login` and `tidegate logout`.

use std::path::Path;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::address::{Address, FoundIn, base_url};
use super::client::Client;
use super::env::Token;
use super::error::{Explain, Failure, Result};
use super::profile::Profile;
use super::{Context, Format};
use crate::account::{Login, Scope, SecretKind};
use crate::api::{CreateToken, CreatedToken, WorkflowList};

/// Remember a host and a token for this user
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The host, for example https://tidegate.example.org
    url: String,
    /// The token; - reads it from standard input or asks for it without echo
    #[arg(long, default_value = "-", value_name = "TOKEN")]
    token: String,
    /// Sign in with this login and a password instead: makes a token for this machine
    #[arg(long, value_name = "LOGIN", conflicts_with = "token")]
    user: Option<Login>,
    #[command(flatten)]
    format: Format,
}

/// Forget the host and the token that `login` remembered, and revoke the token
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    format: Format,
}

/// Checks the token and writes the profile.
pub(crate) fn login(args: &LoginArgs, context: &mut Context) -> Result<()> {
    let url = base_url(&args.url).map_err(Failure::usage)?;
    let path = context.env.profile.clone().ok_or_else(no_home)?;
    if let Some(login) = &args.user {
        return sign_in(login, url, &path, args.format, context);
    }
    let text = match args.token.as_str() {
        "-" => context.input.secret(&format!("token for {url} (not shown): "))?,
        given => {
            context.out.warning("the token is in the shell's history and in the process list");
            context.out.hint("`tidegate login URL --token -` reads it from standard input or asks for it");
            given.to_owned()
        }
    };
    let token = Token::new(&text).ok_or_else(|| Failure::usage("the token is empty"))?;
    // A token that does not work is not worth keeping.
    let address = Address { url: url.clone(), token: Some(token.clone()), found_in: FoundIn::Argument };
    Client::new(address).get::<WorkflowList>("/api/v1/workflows").context("log in")?;
    remember(Profile { url, token }, &path, args.format, context)
}

/// How long a token works that a password made for a machine.
const LASTS: SignedDuration = SignedDuration::from_hours(24 * 90);

fn sign_in(login: &Login, url: String, path: &Path, format: Format, context: &mut Context) -> Result<()> {
    let password = context.input.secret(&format!("password of {login} at {url} (not shown): "))?;
    let client = Client::new(Address { url: url.clone(), token: None, found_in: FoundIn::Argument });
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let scopes = Scope::ALL.to_vec();
    let expires_at = Timestamp::now().checked_add(LASTS).ok();
    let request =
        CreateToken { label: format!("login on {node}"), scopes: Some(scopes), expires_at, user: None };
    let made: CreatedToken =
        client.post_as("/api/v1/tokens", &request, login.as_str(), &password).context("log in")?;
    let token = Token::new(&made.secret).ok_or_else(|| Failure::new("the host made an empty token"))?;
    remember(Profile { url, token }, path, format, context)
}

fn remember(profile: Profile, path: &Path, format: Format, context: &mut Context) -> Result<()> {
    profile.write(path)?;
    let url = profile.url;
    if format.json {
        return context.out.json(&json!({"url": url, "profile": path}));
    }
    context.out.note(format!("logged in to {url}; the profile is {}", path.display()));
    for (variable, set) in
        [("TIDEGATE_URL", context.env.url.is_some()), ("TIDEGATE_DATA", context.env.data.is_some())]
    {
        if set {
            context.out.warning(format!("{variable} is set and wins over the profile"));
        }
    }
    Ok(())
}

/// Removes the profile, and revokes its token where that is one of a user's.
pub(crate) fn logout(args: &LogoutArgs, context: &mut Context) -> Result<()> {
    let path = context.env.profile.clone().ok_or_else(no_home)?;
    if let Ok(Some(Profile { url, token })) = Profile::read(&path)
        && token.expose().starts_with(SecretKind::Token.prefix())
    {
        let client = Client::new(Address { url, token: Some(token), found_in: FoundIn::Argument });
        // The profile goes in any case.
        if let Err(failure) = client.delete("/api/v1/session") {
            context.out.warning(format!("the token was not revoked: {}", failure.line()));
            context.out.hint("`tidegate token revoke ID` does it");
        }
    }
    let removed = match std::fs::remove_file(&path) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).context(format!("remove {}", path.display())),
    };
    if args.format.json {
        return context.out.json(&json!({"removed": removed, "profile": path}));
    }
    context.out.note(if removed { "logged out" } else { "there was no profile" });
    Ok(())
}

fn no_home() -> Failure {
    Failure::configuration("there is no place for a profile: neither XDG_CONFIG_HOME nor HOME is set")
}
