//! The console: pages for people, over the same verbs as the management API.
//!
//! Handlers read through the API's own functions and the services below them, and write
//! HTML with [`maud`], which escapes what it is handed. What a workflow, a caller or a
//! guest said is only ever shown as text; the policy in [`guard`] lets no inline script
//! or style run, whatever slips through. Nothing here decides what a workflow does.

mod access;
mod assets;
mod form;
mod guard;
mod icons;
mod pages;
mod parts;
mod proof;
mod session;
mod shell;
mod text;
mod when;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::Markup;

use self::pages::{
    account, admin, audit, configuration, create, dead, function, host, monitoring, oidc, overview, run,
    runs, samples, schedules, settings, sign_in, users, versions, workflows,
};
use super::api::Api;
use crate::accounts::OIDC_PATH;
use crate::oidc::CALLBACK_PATH;

/// What pages work with.
struct Console {
    api: Arc<Api>,
    /// By what workflows are sorted that is not in memory.
    ranking: workflows::Ranking,
}

type Shared = axum::extract::State<Arc<Console>>;

/// The console's routes, for the router of the management API.
pub(super) fn routes(api: Arc<Api>) -> Router<Arc<Api>> {
    let console = Arc::new(Console { api, ranking: workflows::Ranking::default() });
    let signed_in = Router::new()
        .route("/sign-out", post(sign_in::sign_out))
        .route("/workflows", get(workflows::list))
        .route("/create", get(create::catalogue))
        .route("/create/{template}", get(create::form).post(create::create))
        .route("/schedule-preview", get(schedules::preview))
        .route("/workflows/{name}", get(overview::show))
        .route("/workflows/{name}/change", post(overview::change))
        .route("/workflows/{name}/configuration", get(configuration::show).post(configuration::change))
        .route("/workflows/{name}/share", post(configuration::share))
        .route("/workflows/{name}/run", post(overview::run_now))
        .route("/workflows/{name}/archive", post(overview::archive))
        .route("/workflows/{name}/schedules", post(schedules::change))
        .route("/workflows/{name}/versions", get(versions::list).post(versions::activate))
        .route("/workflows/{name}/versions/{number}", get(versions::diff))
        .route("/workflows/{name}/function", get(function::show))
        .route("/workflows/{name}/function/deploy", post(function::deploy))
        .route("/workflows/{name}/function/upload", post(function::upload))
        .route("/workflows/{name}/function/test", post(function::test))
        .route("/workflows/{name}/function/samples", post(samples::change))
        .route("/workflows/{name}/settings", get(settings::show).post(settings::change))
        .route("/workflows/{name}/runs", get(runs::of_workflow))
        .route("/workflows/{name}/runs/replay", post(runs::replay))
        .route("/workflows/{name}/events", get(runs::events_of_workflow))
        .route("/workflows/{name}/monitoring", get(monitoring::of_workflow))
        .route("/runs", get(runs::all))
        .route("/events", get(runs::events))
        .route("/runs/{id}", get(run::show))
        .route("/runs/{id}/again", post(run::again))
        .route("/runs/{id}/cancel", post(run::cancel))
        .route("/dead", get(dead::list).post(dead::redrive))
        .route("/monitoring", get(monitoring::of_host))
        .route("/host", get(host::show))
        .route("/admin", get(admin::show))
        .route("/backup", get(admin::backup).post(admin::backup))
        .route("/users", get(users::show).post(users::change))
        .route("/audit", get(audit::show))
        .route("/account", get(account::show).post(account::change))
        .route_layer(middleware::from_fn_with_state(console.clone(), guard::need_session));
    Router::new()
        .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
        .route(OIDC_PATH, get(oidc::begin))
        .route(CALLBACK_PATH, get(oidc::finish))
        .route("/static/{file}", get(assets::serve))
        .merge(signed_in)
        .route_layer(middleware::from_fn(guard::protect))
        .with_state(console)
}

/// A page for whoever asks for something that is not there; `None` for programs.
pub(super) fn not_found(headers: &hyper::HeaderMap) -> Option<Response> {
    guard::wants_page(headers).then(|| guard::error_page(&super::api::ApiError::NoRoute, headers))
}

/// Whether a request is a browser's for a page.
pub(super) fn wants_page(headers: &hyper::HeaderMap) -> bool {
    guard::wants_page(headers)
}

/// HTML as an answer.
struct Html(Markup);

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        axum::response::Html(self.0.into_string()).into_response()
    }
}
