//! `tidegate token`.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::with_query;
use super::error::{Failure, Result};
use super::human::{relative, since, time};
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::account::{Login, Scope, TokenId};
use crate::api::{CreateToken, CreatedToken, TokenList, TokenView};

const PATH: &str = "/api/v1/tokens";

/// Make tokens for programs, and revoke them
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Make a token; it is shown this once
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    label: String,
    /// A right that it has; may be repeated [default: read, run and write]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// When it ends: in so long (12h, 90d), or at an instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Whose it is, for admins
    #[arg(long, value_name = "LOGIN")]
    user: Option<Login>,
    #[command(flatten)]
    format: Format,
}

/// List tokens
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Those of this user, for admins
    #[arg(long, value_name = "LOGIN", conflicts_with = "all")]
    user: Option<Login>,
    /// Those of all users, for admins
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: Format,
}

/// Revoke a token: it does not work any more, at once
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The token's id, as `token list` shows it
    id: TokenId,
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &TokenCommand, context: &mut Context) -> Result<()> {
    match command {
        TokenCommand::Create(args) => create(args, context),
        TokenCommand::List(args) => list(args, context),
        TokenCommand::Revoke(args) => revoke(args, context),
    }
}

fn create(args: &CreateArgs, context: &mut Context) -> Result<()> {
    let expires_at = args.expires.as_deref().map(expires).transpose()?;
    let scopes = (!args.scopes.is_empty()).then(|| args.scopes.clone());
    let user = args.user.as_ref().map(ToString::to_string);
    let request = CreateToken { label: args.label.clone(), scopes, expires_at, user };
    let made: CreatedToken = context.client()?.post(PATH, &request)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&made);
    }
    out.line(&made.secret)?;
    let TokenView { login, scopes, expires_at, .. } = &made.token;
    let until =
        expires_at.map_or("until it is revoked".to_owned(), |end| format!("until {}", time(end, &out.zone)));
    out.note(format!("it may {} for {login}, {until}; it is not shown again", words(scopes)));
    Ok(())
}

/// The instant that `--expires` names: what `--since` takes, the other way round.
fn expires(text: &str) -> Result<Timestamp> {
    let now = Timestamp::now();
    let wrong = |reason: String| Failure::usage(format!("--expires: {reason}"));
    let named = since(text, now).map_err(wrong)?;
    let end = match named.duration_since(now) {
        ago if ago.is_negative() && text.parse::<Timestamp>().is_err() => now.checked_add(-ago),
        _ => Ok(named),
    };
    end.map_err(|error| wrong(error.to_string()))
}

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>().join(", ")
}

fn list(args: &ListArgs, context: &mut Context) -> Result<()> {
    let user = if args.all { Some("*".to_owned()) } else { args.user.as_ref().map(ToString::to_string) };
    let document: Value = context.client()?.get(&with_query(PATH, &[("user", user)]))?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document);
    }
    let TokenList { tokens } = serde_json::from_value(document)?;
    if tokens.is_empty() {
        out.note("there are no tokens");
        out.hint("`tidegate token create --label TEXT` makes one");
        return Ok(());
    }
    let now = Timestamp::now();
    let mut table = Table::new([
        Column::text("ID"),
        Column::text("USER"),
        Column::text("LABEL").cut(),
        Column::text("SCOPES").spare(),
        Column::text("WORKS"),
        Column::text("LAST USED").spare(),
    ]);
    for token in &tokens {
        table.row([
            Shown::from(token.id),
            Shown::toned(&token.login, Tone::Bold),
            Shown::maybe(Some(&token.label).filter(|label| !label.is_empty())),
            words(&token.scopes).into(),
            works(token, now),
            Shown::maybe(token.used_at.map(|used| relative(used, now))),
        ]);
    }
    table.print(out)
}

fn works(token: &TokenView, now: Timestamp) -> Shown {
    match (token.works, token.revoked_at, token.expires_at) {
        (true, _, None) => Shown::toned("yes", Tone::Good),
        (true, _, Some(end)) => Shown::toned(format!("ends {}", relative(end, now)), Tone::Good),
        (false, Some(_), _) => Shown::toned("revoked", Tone::Bad),
        (false, None, Some(end)) if end <= now => Shown::toned("expired", Tone::Bad),
        (false, None, _) => Shown::toned("user disabled", Tone::Bad),
    }
}

fn revoke(args: &RevokeArgs, context: &mut Context) -> Result<()> {
    context.client()?.delete(&format!("{PATH}/{}", args.id))?;
    if args.format.json {
        return context.out.json(&json!({"revoked": args.id}));
    }
    context.out.note(format!("{} does not work any more", args.id));
    Ok(())
}
