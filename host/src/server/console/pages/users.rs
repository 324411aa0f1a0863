//! Users: who may sign in, and as what.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use crate::account::{Role, User};
use crate::accounts::{AccountError, NewLink, NewUser, UserPatch};
use crate::server::api::ApiError;
use crate::server::console::form::Fields;
use crate::server::console::parts::{self, Field};
use crate::server::console::session::Viewer;
use crate::server::console::shell::{Page, Place};
use crate::server::console::{Console, Html, Shared, icons, shell, text, when};
use crate::server::reply::Problem;

/// The page.
pub(in super::super) async fn show(State(console): Shared, Extension(viewer): Extension<Viewer>) -> Html {
    Html(page(&console, &viewer, None, &Fields::default(), None))
}

fn page(
    console: &Console,
    viewer: &Viewer,
    link: Option<&NewLink>,
    typed: &Fields,
    problem: Option<&Problem>,
) -> Markup {
    // What is wrong with a new user stands at the login, which all of it is about.
    let adds = typed.get("action") == "add";
    let wrong = problem.filter(|_| adds).map(|problem| problem.message.as_str());
    let users = console.api.app.accounts.users();
    let content = html! {
        div.head { p.crumbs { a href="/admin" { "Admin" } } h1 { "Users" } p.soft { "Members see what is not private and change what is theirs; admins do everything." } }
        @if let Some(problem) = problem.filter(|_| !adds) { (shell::alert(problem)) }
        @if let Some(link) = link {
            div.alert.good role="status" {
                p { strong { "A link for " (link.login.as_str()) "." } " It signs in once, until " (when::full(link.expires_at)) ". It follows the address of this page." }
                div.copy { input.mono type="text" readonly id="link" value=(link.path()) data-absolute="" aria-label="The link"; button type="button" data-copy="#link" { (icons::copy()) "Copy" } }
            }
        }
        div.panel.scroll { table.rows.stack {
            thead { tr { th scope="col" { "Login" } th scope="col" { "Name" } th scope="col" { "Role" } th scope="col" { "Signs in by" } th scope="col" { "Since" } th scope="col" { span.hidden { "Actions" } } } }
            tbody { @for user in &users { (row(user, viewer)) } }
        } }
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

fn row(user: &User, viewer: &Viewer) -> Markup {
    let login = user.login.as_str();
    let is_me = user.id == viewer.account.user;
    html! {
        tr {
            th scope="row" { (login) @if is_me { span.soft { " (you)" } } }
            td data-name="Name" { @if user.name.is_empty() { (parts::none()) } @else { (text::line(&user.name)) } }
            td data-name="Role" { @if user.role == Role::Admin { "Admin" } @else { "Member" } @if user.disabled { " " span.state.paused { "Disabled" } } }
            td data-name="Signs in by" { @if user.password.is_some() { "password" } @else { "link only" } }
            td data-name="Since" { (when::relative(user.created_at)) }
            td.end { form method="post" action="/users" {
                input type="hidden" name="login" value=(login);
                @if !user.disabled { button.small type="submit" name="action" value="link" { "Make a link" } }
                @if !is_me {
                    @if user.disabled { " " button.small type="submit" name="action" value="enable" { "Enable" } }
                    @else { " " button.small type="submit" name="action" value="disable" data-ask={ "Disable " (login) "? The sessions end at once." } { "Disable" } }
                    @if user.role == Role::Admin { " " button.small type="submit" name="action" value="member" data-ask={ "Make " (login) " a member?" } { "Make a member" } }
                    @else { " " button.small type="submit" name="action" value="admin" data-ask={ "Make " (login) " an admin, who may do everything?" } { "Make an admin" } }
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
        Ok(link) => {
            Ok(Html(page(&console, &viewer, link.as_ref(), &Fields::default(), None)).into_response())
        }
        Err(error) => {
            let problem = Problem::from(&error);
            if problem.status.is_server_error() {
                return Err(error.into());
            }
            Ok((problem.status, Html(page(&console, &viewer, None, &fields, Some(&problem)))).into_response())
        }
    }
}

async fn done(console: &Console, fields: &Fields) -> Result<Option<NewLink>, AccountError> {
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
            return accounts.link(login).await.map(Some);
        }
        "link" => return accounts.link(login).await.map(Some),
        "disable" => UserPatch { disabled: Some(true), ..Default::default() },
        "enable" => UserPatch { disabled: Some(false), ..Default::default() },
        "admin" => UserPatch { role: Some(Role::Admin), ..Default::default() },
        "member" => UserPatch { role: Some(Role::Member), ..Default::default() },
        other => {
            let reason = format!("{other:.40?} is nothing that can be done");
            return Err(AccountError::Invalid { field: "action", reason });
        }
    };
    accounts.change_user(login, patch).await.map(|_| None)
}
