//! The management API: JSON over HTTP for the command line, the console and programs.
//!
//! Handlers translate between [`crate::api`]'s wire types and the verbs of
//! [`crate::registry`], [`crate::deploy`], [`crate::invoker`] and [`crate::store`];
//! they decide nothing themselves. Errors leave as [`ApiError`] and get their status in
//! [`super::reply`].

pub(in crate::server) mod access;
mod accounts;
pub(in crate::server) mod audit;
pub(in crate::server) mod auth;
pub(in crate::server) mod backup;
mod error;
pub(in crate::server) mod events;
pub(in crate::server) mod extract;
pub(in crate::server) mod history;
mod keys;
mod openapi;
pub(in crate::server) mod probes;
pub(in crate::server) mod queue;
pub(in crate::server) mod replay;
mod request;
pub(in crate::server) mod runs;
mod runtimes;
pub(in crate::server) mod samples;
pub(in crate::server) mod schedules;
pub(in crate::server) mod settings;
pub(in crate::server) mod statistics;
mod strict;
pub(in crate::server) mod versions;
pub(in crate::server) mod view;
mod whole;
pub(in crate::server) mod workflows;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::HeaderMap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use self::error::ApiError;
pub(super) use self::extract::upload;
pub(super) use self::request::written;
use super::console;
use crate::app::App;

/// What handlers work with.
pub(super) struct Api {
    pub(super) app: Arc<App>,
    /// Cancelled when the host stops taking requests.
    draining: CancellationToken,
    /// Event streams that may still be opened.
    streams: Arc<Semaphore>,
    /// The OpenAPI document as it is sent.
    document: String,
}

type Shared = axum::extract::State<Arc<Api>>;

/// The client's address, in a request's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Where a request comes from, in its extensions: the connection's other end, or who a trusted
/// proxy says that it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client(pub(super) IpAddr);

/// The route that answered, in a response's extensions: a pattern for counters, never a
/// path.
#[derive(Debug, Clone)]
pub(super) enum Route {
    Fixed(&'static str),
    Matched(MatchedPath),
}

impl Route {
    /// No route at all.
    pub(super) const NONE: Route = Route::Fixed("none");

    pub(super) fn pattern(&self) -> &str {
        match self {
            Route::Fixed(pattern) => pattern,
            Route::Matched(path) => path.as_str(),
        }
    }
}

/// The router of everything but the catch endpoints. What is going on in `changes` outlives its
/// caller.
pub(super) fn router(app: Arc<App>, draining: CancellationToken, changes: TaskTracker) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = openapi::complete(document);
    let document = serde_json::to_string(&document).expect("the document is texts, numbers and maps");
    let streams = Arc::new(Semaphore::new(events::STREAMS_MAX));
    let api = Arc::new(Api { app, draining, streams, document });
    let guard = middleware::from_fn_with_state(api.clone(), access::guard);
    router
        .route_layer(guard)
        .merge(console::routes(api.clone()))
        .route_layer(middleware::from_fn_with_state(changes, whole::carry_out))
        .route_layer(middleware::from_fn(remember_route))
        .fallback(nothing_here)
        .method_not_allowed_fallback(async || ApiError::Method)
        .with_state(api)
}

/// Every route, with its documentation.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::default()
        .routes(routes!(workflows::list, workflows::create))
        .routes(routes!(workflows::show, workflows::change, workflows::archive))
        .routes(routes!(versions::list, versions::upload))
        .routes(routes!(versions::source))
        .routes(routes!(versions::activate))
        .routes(routes!(settings::list, settings::change))
        .routes(routes!(settings::put))
        .routes(routes!(samples::list))
        .routes(routes!(samples::put, samples::remove))
        .routes(routes!(runs::list_of_workflow, runs::test))
        .routes(routes!(schedules::change, schedules::remove))
        .routes(routes!(schedules::upcoming))
        .routes(routes!(schedules::preview))
        .routes(routes!(schedules::ticks))
        .routes(routes!(statistics::of_all))
        .routes(routes!(statistics::of_workflow))
        .routes(routes!(runs::list))
        .routes(routes!(runs::show))
        .routes(routes!(runs::log))
        .routes(routes!(replay::replay))
        .routes(routes!(replay::replay_many))
        .routes(routes!(queue::cancel))
        .routes(routes!(queue::list))
        .routes(routes!(queue::redrive))
        .routes(routes!(events::events))
        .routes(routes!(accounts::sign_in, accounts::sign_out))
        .routes(routes!(accounts::sign_in_ways))
        .routes(routes!(accounts::prove))
        .routes(routes!(accounts::me))
        .routes(routes!(accounts::set_own_password))
        .routes(routes!(accounts::tokens, accounts::create_token))
        .routes(routes!(accounts::revoke_token))
        .routes(routes!(accounts::users, accounts::create_user))
        .routes(routes!(accounts::user, accounts::change_user))
        .routes(routes!(accounts::set_password))
        .routes(routes!(accounts::create_link))
        .routes(routes!(audit::list))
        .routes(routes!(audit::verify))
        .routes(routes!(runtimes::list))
        .routes(routes!(runtimes::install))
        .routes(routes!(probes::version))
        .routes(routes!(probes::health))
        .routes(routes!(probes::usage))
        .routes(routes!(history::show))
        .routes(routes!(keys::list))
        .routes(routes!(keys::rotate))
        .routes(routes!(backup::backup))
        .routes(routes!(openapi::document))
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
        .routes(routes!(probes::root))
}

async fn nothing_here(headers: HeaderMap) -> Response {
    console::not_found(&headers).unwrap_or_else(|| ApiError::NoRoute.into_response())
}

async fn remember_route(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(Route::Matched(path));
    }
    response
}
