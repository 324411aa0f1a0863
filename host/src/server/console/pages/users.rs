//! Users: who may sign in, and as what.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{Markup, html};

use super::tokens;
use crate::account::{Role, Token, User, UserId};
use crate::accounts::{AccountError, NewLink, NewUser, UserPatch};
use crate::oidc::Oidc;
use crate::server::api::ApiError;
use crate::server::console::form::{Asked, Fields};
use crate::server::console::parts::{self, Field};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Console, Html, Shared, icons, shell, text, when};
use crate::server::reply::Problem;

/// What the page shows beside the users.
#[derive(Default)]
struct Beside<'a> {
    /// A link that was made.
    link: Option<&'a NewLink>,
    /// The user whose tokens are shown.
    tokens: Option<Arc<User>>,
    /// What was done.
    done: Option<&'a str>,
    /// What did not work.
    problem: Option<&'a Problem>,
}

/// The page; with `tokens`, also those of the user with this login.
pub(in super::super) async fn show(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Asked(asked): Asked,
) -> Result<Html, ApiError> {
    let login = asked.some("tokens");
    let tokens = login.map(|login| console.api.app.accounts.user(&login)).transpose()?;
    Ok(Html(page(&console, &viewer, &Fields::default(), Beside { tokens, ..Default::default() })))
}

fn page(console: &Console, viewer: &Viewer, typed: &Fields, beside: Beside<'_>) -> Markup {
    let Beside { link, tokens: whose, done, problem } = beside;
    // What is wrong with a new user stands at the login, which all of it is about.
    let adds = typed.get("action") == "add";
    let wrong = problem.filter(|_| adds).map(|problem| problem.message.as_str());
    let accounts = &console.api.app.accounts;
    let (users, now) = (accounts.users(), Timestamp::now());
    let mut working: HashMap<UserId, usize> = HashMap::new();
    for Token { user, .. } in accounts.tokens(None).iter().filter(|token| token.is_valid(now)) {
        *working.entry(*user).or_default() += 1;
    }
    let count = |user: &User| working.get(&user.id).copied().unwrap_or(0);
    let provider = console.api.app.oidc.as_ref().map_or("the sign-in provider", Oidc::name);
    let content = html! {
        div.head { p.crumbs { a href="/admin" { "Admin" } } h1 { "Users" } p.soft { "Members see what is not private and change what is theirs; admins do everything." } }
        @if let Some(done) = done { div.alert.good role="status" { p { (done) } } }
        @if let Some(problem) = problem.filter(|_| !adds) { (shell::alert(problem)) }
        @if let Some(link) = link {
            div.alert.good role="status" {
                p { strong { "A link for " (link.login.as_str()) "." } " It signs in once, until " (when::full(link.expires_at)) ". It follows the address of this page." }
                div.copy { input.mono type="text" readonly id="link" value=(link.path()) data-absolute="" aria-label="The link"; button type="button" data-copy="#link" { (icons::copy()) "Copy" } }
            }
        }
        div.panel.scroll { table.rows.stack {
            thead { tr { th scope="col" { "Login" } th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "Signs in by" } th scope="col" { "Tokens" } th scope="col" { "Since" } th scope="col" { span.hidden { "Actions" } } } }
            tbody { @for user in &users { (row(user, viewer, provider, count(user))) } }
        } }
        @if let Some(user) = whose {
            section.gap #tokens { h2 { "Tokens of " (user.login.as_str()) }
                @if user.disabled { p.soft { "The user is disabled: until that is changed, none of them works." } }
                (tokens::table(&accounts.tokens(Some(user.id)), "/users", user.login.as_str(), "The user has made none, or none in the last month that still works."))
            }
        }
        section.gap { h2 { "Add a user" }
            form.panel.pad.narrow method="post" action="/users" {
                (Field { name: "login", label: "Login", hint: Some("It cannot be changed later."), error: wrong }.text(if adds { typed.raw("login") } else { "" }, "ada"))
                (Field { name: "name", label: "Name", hint: None, error: None }.text(if adds { typed.raw("name") } else { "" }, ""))
                (Field { name: "role", label: "Role", hint: None, error: None }.around(|id, _| html! { select id=(id) name="role" { (parts::options(&[("member", "Member"), ("admin", "Admin")], if adds { typed.get("role") } else { "member" })) } }))
                p.soft { "The user gets a link that signs in once, and sets a password then." }
                button.primary type="submit" name="action" value="add" { "Add" }
            }
        }
    };
    Page { title: "Users", place: Place::Admin, scripts: &[], content }.render(viewer)
}

/// How somebody signs in.
fn ways(user: &User, provider: &str) -> String {
    let ways = [user.password.is_some().then_some("password"), user.identity.is_some().then_some(provider)];
    let ways: Vec<&str> = ways.into_iter().flatten().collect();
    if ways.is_empty() { "link only".to_owned() } else { ways.join(", ") }
}

fn row(user: &User, viewer: &Viewer, provider: &str, tokens: usize) -> Markup {
    let login = user.login.as_str();
    let query: String = form_urlencoded::byte_serialize(login.as_bytes()).collect();
    let is_me = user.id == viewer.account.user;
    html! {
        tr {
            th scope="row" { (login) @if is_me { span.soft { " (you)" } } }
            td data-name="Name" { @if user.name.is_empty() { (parts::none()) } @else { (text::line(&user.name)) } }
            td data-name="Role" { @if user.role == Role::Admin { "Admin" } @else { "Member" } @if user.disabled { " " span.state.paused { "Disabled" } } }
            td data-name="Signs in by" { (text::line(&ways(user, provider))) }
            td data-name="Tokens" { a href={ "/users?tokens=" (query) "#tokens" } aria-label={ (text::counted(tokens as u64, "token")) " of " (login) } { (tokens) } }
            td data-name="Since" { (when::relative(user.created_at)) }
            td.end { form method="post" action="/users" {
                input type="hidden" name="login" value=(login);
                @if !user.disabled { button.small type="submit" name="action" value="link" { "Make a link" } }
                @if !is_me {
                    @if user.disabled { " " button.small type="submit" name="action" value="enable" { "Enable" } }
                    @else { " " button.small type="submit" name="action" value="disable" data-ask={ "Disable " (login) "? The sessions end at once." } { "Disable" } }
                    @if user.role == Role::Admin { " " button.small type="submit" name="action" value="member" data-ask={ "Make " (login) " a member?" } { "Make a member" } }
                    @else { " " button.small type="submit" name="action" value="admin" data-ask={ "Make " (login) " an admin, who may do everything?" } { "Make an admin" } }
                    @if user.identity.is_some() { " " button.small type="submit" name="action" value="unlink" data-ask={ "Part " (login) " from its account at " (provider) "? The sessions end at once." } { "Unlink" } }
                }
            } }
        }
    }
}

/// Adds or changes one.
pub(in super::super) async fn change(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    fields: Fields,
) -> Result<Response, ApiError> {
    match done(&console, &fields).await {
        Ok(Done::Changed) => {
            Ok(Html(page(&console, &viewer, &Fields::default(), Beside::default())).into_response())
        }
        Ok(Done::Linked(link)) => {
            let beside = Beside { link: Some(&link), ..Default::default() };
            Ok(Html(page(&console, &viewer, &Fields::default(), beside)).into_response())
        }
        Ok(Done::Revoked(user)) => {
            let done = Some("The token does not work any more.");
            let beside = Beside { tokens: Some(user), done, ..Default::default() };
            Ok(Html(page(&console, &viewer, &Fields::default(), beside)).into_response())
        }
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error.into());
            }
            let beside = Beside { problem: Some(&problem), ..Default::default() };
            Ok((problem.status, Html(page(&console, &viewer, &fields, beside))).into_response())
        }
    }
}

/// What came of a form.
enum Done {
    Changed,
    Linked(NewLink),
    /// A token of this user was revoked.
    Revoked(Arc<User>),
}

async fn done(console: &Console, fields: &Fields) -> Result<Done, AccountError> {
    let accounts = &console.api.app.accounts;
    let login = fields.get("login");
    let patch = match fields.get("action") {
        "add" => {
            let role = if fields.get("role") == "admin" { Role::Admin } else { Role::Member };
            let new = NewUser {
                login: login.to_owned(),
                name: fields.get("name").to_owned(),
                role,
                password: None,
            };
            accounts.add_user(new).await?;
            return accounts.link(login).await.map(Done::Linked);
        }
        "link" => return accounts.link(login).await.map(Done::Linked),
        "revoke" => {
            let id = fields.get("token");
            let (_, user) = accounts.token(id)?;
            if user.login.as_str() != login {
                return Err(AccountError::Missing { what: format!("the token {id:.40?} of {login:.80?}") });
            }
            accounts.revoke_token(id).await?;
            return Ok(Done::Revoked(user));
        }
        "disable" => UserPatch { disabled: Some(true), ..Default::default() },
        "enable" => UserPatch { disabled: Some(false), ..Default::default() },
        "admin" => UserPatch { role: Some(Role::Admin), ..Default::default() },
        "unlink" => UserPatch { identity: Some(None), ..Default::default() },
        "member" => UserPatch { role: Some(Role::Member), ..Default::default() },
        other => {
            let reason = format!("{other:.40?} is nothing that can be done");
            return Err(AccountError::Invalid { field: "action", reason });
        }
    };
    accounts.change_user(login, patch).await.map(|_| Done::Changed)
}
