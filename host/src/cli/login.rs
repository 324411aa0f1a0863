//! `tidegate login` and `tidegate logout`.

use clap::Args;
use serde_json::json;

use super::address::{Address, FoundIn, base_url};
use super::client::Client;
use super::env::Token;
use super::error::{Explain, Failure, Result};
use super::profile::Profile;
use super::{Context, Format};
use crate::api::WorkflowList;

/// Remember a host and a token for this user
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The host, for example https://tidegate.example.org
    url: String,
    /// The token; - reads it from standard input or asks for it without echo
    #[arg(long, default_value = "-", value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    format: Format,
}

/// Forget the host and the token that `login` remembered
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    format: Format,
}

/// Checks the token and writes the profile.
pub(crate) fn login(args: &LoginArgs, context: &mut Context) -> Result<()> {
    let url = base_url(&args.url).map_err(Failure::usage)?;
    let path = context.env.profile.clone().ok_or_else(no_home)?;
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
    Profile { url: url.clone(), token }.write(&path)?;
    if args.format.json {
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

/// Removes the profile.
pub(crate) fn logout(args: &LogoutArgs, context: &mut Context) -> Result<()> {
    let path = context.env.profile.clone().ok_or_else(no_home)?;
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
