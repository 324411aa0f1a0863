//! `tidegate user`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::escaped;
use super::error::{Failure, Result};
use super::human::{relative, time};
use super::output::clean;
use super::page::Fields;
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format, in_process};
use crate::account::{Login, Role};
use crate::api::{CreateUser, IdentitySpec, LinkView, PatchUser, PutPassword, UserList, UserView};

const PATH: &str = "/api/v1/users";

/// Add users, and give and take their rights
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    Add(AddArgs),
    List(ListArgs),
    Show(ShowArgs),
    Role(RoleArgs),
    Password(PasswordArgs),
    Link(LinkArgs),
    Disable(DisableArgs),
    Enable(EnableArgs),
    Identity(IdentityArgs),
}

/// Add a user
///
/// Asks for the password, or reads it from standard input. With --data it works on the data
/// folder of a host that is down: so the first admin is made.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The login: lower-case letters, digits and . _ @ + -
    login: Login,
    /// What people call the user
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    name: String,
    /// What the user may do beside what workflows grant
    #[arg(long, default_value = "member")]
    role: Role,
    /// Set no password: print a link by which the user signs in once
    #[arg(long, conflicts_with = "data")]
    link: bool,
    /// The data folder of a host that is down
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

/// List the users
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    format: Format,
}

/// Show a user
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The user
    login: Login,
    #[command(flatten)]
    format: Format,
}

/// Give a user another role; it has to sign in again
#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// The user
    login: Login,
    /// The role
    role: Role,
    #[command(flatten)]
    format: Format,
}

/// Give a user a password; its sessions end
///
/// Asks for it, or reads it from standard input. Left out, LOGIN is whoever asks.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// The user
    login: Option<Login>,
    /// Take the password away
    #[arg(long, requires = "login")]
    remove: bool,
    #[command(flatten)]
    format: Format,
}

/// Make a link by which a user signs in once, and may set a password
#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// The user
    login: Login,
    #[command(flatten)]
    format: Format,
}

/// Take all rights from a user, with its sessions and tokens
#[derive(Debug, Args)]
pub(crate) struct DisableArgs {
    /// The user
    login: Login,
    #[command(flatten)]
    format: Format,
}

/// Give a disabled user its rights back
#[derive(Debug, Args)]
pub(crate) struct EnableArgs {
    /// The user
    login: Login,
    #[command(flatten)]
    format: Format,
}

/// Say who at the sign-in provider a user is
///
/// Whoever that is signs in as the user from then on. The user's sessions end.
#[derive(Debug, Args)]
#[group(id = "who", required = true, multiple = false, args = ["subject", "remove"])]
pub(crate) struct IdentityArgs {
    /// The user
    login: Login,
    /// What the provider calls it for ever: its `sub`
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// The provider's `iss`, if it is not the one that is configured
    #[arg(long, value_name = "URL", requires = "subject")]
    issuer: Option<String>,
    /// Part the user from whoever it is there
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    format: Format,
}

/// Runs one of the commands.
pub(crate) fn run(command: &UserCommand, context: &mut Context) -> Result<()> {
    match command {
        UserCommand::Add(args) => add(args, context),
        UserCommand::List(args) => list(args, context),
        UserCommand::Show(args) => show(args, context),
        UserCommand::Role(args) => {
            let patch = PatchUser { role: Some(args.role), ..PatchUser::default() };
            change(&args.login, &patch, &format!("is {}", args.role), args.format, context)
        }
        UserCommand::Password(args) => password(args, context),
        UserCommand::Link(args) => link(args, context),
        UserCommand::Disable(args) => {
            let patch = PatchUser { disabled: Some(true), ..PatchUser::default() };
            change(&args.login, &patch, "is disabled", args.format, context)
        }
        UserCommand::Enable(args) => {
            let patch = PatchUser { disabled: Some(false), ..PatchUser::default() };
            change(&args.login, &patch, "is enabled", args.format, context)
        }
        UserCommand::Identity(args) => {
            let issuer = args.issuer.clone();
            let identity = args.subject.clone().map(|subject| IdentitySpec { issuer, subject });
            let what = match identity {
                Some(_) => "signs in by the provider",
                None => "does not sign in by the provider any more",
            };
            let patch = PatchUser { identity: Some(identity), ..PatchUser::default() };
            change(&args.login, &patch, what, args.format, context)
        }
    }
}

fn path(login: &Login) -> String {
    format!("{PATH}/{}", escaped(login.as_str()))
}

fn add(args: &AddArgs, context: &mut Context) -> Result<()> {
    let password = match args.link {
        true => None,
        false => Some(new_password(args.login.as_str(), context)?),
    };
    let (login, name, role) = (args.login.to_string(), args.name.clone(), args.role);
    let request = CreateUser { login, name, role, password };
    if let Some(data) = &args.data {
        let user = in_process::add_user(data, &context.env.local_keys()?, request)?;
        return told(&user, "is added", args.format, context);
    }
    let client = context.client()?;
    let user: UserView = client.post(PATH, &request)?;
    if !args.link {
        return told(&user, "is added", args.format, context);
    }
    let link: LinkView = client.post_empty(&format!("{}/link", path(&args.login)))?;
    if args.format.json {
        return context.out.json(&json!({"user": user, "link": link}));
    }
    context.out.note(format!("{} is added as {}", user.login, user.role));
    print_link(&link, context)
}

/// A new password, typed twice where a person types.
fn new_password(login: &str, context: &mut Context) -> Result<String> {
    let input = &mut context.input;
    let password = input.secret(&format!("password of {login} (not shown): "))?;
    if input.is_terminal && input.secret("the same again: ")? != password {
        return Err(Failure::usage("the two are not the same"));
    }
    Ok(password)
}

fn told(user: &UserView, what: &str, format: Format, context: &mut Context) -> Result<()> {
    if format.json {
        return context.out.json(user);
    }
    let role = if what == "is added" { format!(" as {}", user.role) } else { String::new() };
    context.out.note(format!("{} {what}{role}", user.login));
    Ok(())
}

fn list(args: &ListArgs, context: &mut Context) -> Result<()> {
    let document: Value = context.client()?.get(PATH)?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document);
    }
    let UserList { users } = serde_json::from_value(document)?;
    let now = Timestamp::now();
    let mut table = Table::new([
        Column::text("LOGIN"),
        Column::text("NAME").cut(),
        Column::text("ROLE"),
        Column::text("SIGNS IN BY").cut(),
        Column::text("ADDED").spare(),
    ]);
    for user in &users {
        table.row([
            Shown::toned(&user.login, Tone::Bold),
            Shown::maybe(Some(&user.name).filter(|name| !name.is_empty())),
            user.role.into(),
            means(user),
            relative(user.created_at, now).into(),
        ]);
    }
    table.print(out)
}

fn means(user: &UserView) -> Shown {
    match (user.disabled, user.has_password, user.has_provider) {
        (true, ..) => Shown::toned("disabled", Tone::Bad),
        (false, true, true) => "password, provider".into(),
        (false, true, false) => "password".into(),
        (false, false, true) => "provider".into(),
        (false, false, false) => Shown::toned("a link or a token only", Tone::Warn),
    }
}

fn show(args: &ShowArgs, context: &mut Context) -> Result<()> {
    let document: Value = context.client()?.get(&path(&args.login))?;
    let out = &mut context.out;
    if args.format.json {
        return out.json(&document);
    }
    let user: UserView = serde_json::from_value(document)?;
    let state = if user.disabled { out.paint.bad("disabled") } else { out.paint.good("enabled") };
    out.line(format!("{}  {}, {state}", out.paint.bold(&user.login), user.role))?;
    if !user.name.is_empty() {
        out.line(clean(&user.name))?;
    }
    out.line("")?;
    let now = Timestamp::now();
    let at = |instant| format!("{} ({})", time(instant, &out.zone), relative(instant, now));
    let mut fields = Fields::default();
    fields.add("password", if user.has_password { "set" } else { "none" });
    fields.add("provider", if user.has_provider { "linked" } else { "not linked" });
    fields.add("added", at(user.created_at));
    fields.add("changed", at(user.updated_at));
    fields.add("id", user.id);
    fields.print(out)
}

fn change(login: &Login, patch: &PatchUser, what: &str, format: Format, context: &mut Context) -> Result<()> {
    let user: UserView = context.client()?.patch(&path(login), patch)?;
    told(&user, what, format, context)
}

fn password(args: &PasswordArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let user: UserView = match &args.login {
        Some(login) => {
            let password = match args.remove {
                true => None,
                false => Some(new_password(login.as_str(), context)?),
            };
            client.put(&format!("{}/password", path(login)), &PutPassword { password, current: None })?
        }
        None => {
            let me: crate::api::MeView = client.get("/api/v1/me")?;
            let current = match context.input.is_terminal {
                true => Some(context.input.secret("present password (not shown; empty if there is none): ")?),
                false => None,
            };
            let current = current.filter(|current| !current.is_empty());
            let password = Some(new_password(me.login.as_str(), context)?);
            client.put("/api/v1/me/password", &PutPassword { password, current })?
        }
    };
    let what = if args.remove { "has no password" } else { "has a new password" };
    told(&user, what, args.format, context)
}

fn link(args: &LinkArgs, context: &mut Context) -> Result<()> {
    let link: LinkView = context.client()?.post_empty(&format!("{}/link", path(&args.login)))?;
    if args.format.json {
        return context.out.json(&link);
    }
    print_link(&link, context)
}

fn print_link(link: &LinkView, context: &mut Context) -> Result<()> {
    let out = &mut context.out;
    out.line(clean(&link.url))?;
    let until = time(link.expires_at, &out.zone);
    out.note(format!("it works once, until {until}; hand it over where nobody else reads it"));
    Ok(())
}
