//! The OpenAPI 3.1 document: what the handlers' own descriptions leave to be said once.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Info, License, OpenApi, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::{Shared, auth};
use crate::api::{
    AsyncAccepted, BackupFile, BackupManifest, CallbackBody, ErrorBody, EventsLost, RunError, RunEvent,
};
use crate::server::catch;

/// The name of the security scheme.
const TOKEN: &str = "token";

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "readDocument", tag = "host", security(()),
    responses((status = 200, description = "The OpenAPI document", body = serde_json::Value)),
)]
pub(super) async fn document(State(api): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], api.document.clone())
}

/// Adds to the handlers' descriptions what is the same for all of them, and the catch
/// endpoints, which the router does not serve.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = Info::new("Tidegate", env!("CARGO_PKG_VERSION"));
    document.info.description = Some(
        "The management API and the catch endpoints of a Tidegate host. Every answer that is not a success has \
         the body `ErrorBody`, or `RunError` where a run was recorded; their `code` is a stable word."
            .to_owned(),
    );
    document.info.license = Some(License::new("Apache-2.0"));
    let components = document.components.get_or_insert_with(Components::new);
    for (name, schema) in [
        (ErrorBody::name(), ErrorBody::schema()),
        (RunError::name(), RunError::schema()),
        (RunEvent::name(), RunEvent::schema()),
        (EventsLost::name(), EventsLost::schema()),
        (AsyncAccepted::name(), AsyncAccepted::schema()),
        (CallbackBody::name(), CallbackBody::schema()),
        (BackupManifest::name(), BackupManifest::schema()),
        (BackupFile::name(), BackupFile::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert(TOKEN.to_owned(), RefOr::T(bearer));
    for (path, item) in &mut document.paths.paths {
        let needs_token = !auth::OPEN.contains(&path.as_str()) && path != auth::METRICS;
        for operation in operations(item) {
            common_answers(operation, needs_token);
        }
    }
    for (path, item) in [catch_endpoint(), result_endpoint()] {
        document.paths.paths.insert(path, item);
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}

/// Answers that any route can give; what a handler says of itself stands.
fn common_answers(operation: &mut Operation, needs_token: bool) {
    let mut add = |status: &str, description: &str| {
        let answers = &mut operation.responses.responses;
        answers.entry(status.to_owned()).or_insert_with(|| RefOr::T(error(description)));
    };
    add("400", "The request, its path or its query is malformed");
    add("429", "The caller's address has too many requests; `Retry-After` says when to try again");
    add("default", "Any other error");
    if needs_token {
        add("401", "A valid token is needed");
        add("403", "The account or its token may not do this");
        add("500", "The host failed; its log has the cause under the `request_id`");
        add("503", "The host has no room for this now; `Retry-After` says when to try again");
    }
    if operation.request_body.is_some() {
        add("408", "The body did not come in time");
        add("413", "The body is too large");
        add("415", "The body's content type is not taken here");
        add("422", "A field is wrong; the message names it");
    }
    if needs_token && operation.security.is_none() {
        operation.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    }
}

fn error(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}

/// `POST /catch/{key}`. Which methods and types it takes is each workflow's to say; this
/// is the default.
fn catch_endpoint() -> (String, PathItem) {
    #[utoipa::path(
        post, path = "/catch/{key}", operation_id = "callWorkflow", tag = "catch", security(()),
        description = "Runs a catch workflow and answers what it returns. The reply header `tidegate-run` names the run; on a failure `tidegate-fault` is `caller`, `guest` or `host`.",
        params(
            ("key" = String, Path, description = "The secret part of the workflow's URL"),
            ("prefer" = Option<String>, Header, description = "`respond-async`: answer 202 once the request is on the disk, and run it later"),
            ("idempotency-key" = Option<String>, Header, description = "Requests with the same key run once; later ones get the first one's reply, with `tidegate-repeated: true`"),
            ("tidegate-callback" = Option<String>, Header, description = "With `respond-async`: the URL that is sent a signed `CallbackBody` when it is over; its host has to be one of `endpoint.callback_hosts`"),
        ),
        request_body(content(
            (std::collections::BTreeMap<String, serde_json::Value> = "application/json"),
            (std::collections::BTreeMap<String, String> = "application/x-www-form-urlencoded"),
            (std::collections::BTreeMap<String, String> = "multipart/form-data"),
        ), description = "A JSON object or a form"),
        responses(
            (status = 200, description = "What the workflow returned, or `{\"run\", \"status\"}`; it chooses status, headers and body", body = serde_json::Value),
            (status = 202, description = "`respond-async` was asked for: the request is on the disk; `location` has the path of its result", body = AsyncAccepted),
            (status = 400, description = "The body is not valid JSON, or no object", body = RunError),
            (status = 401, description = "The workflow takes signed requests only, and the signature is missing or wrong; the code says which check failed", body = RunError),
            (status = 404, description = "There is no such endpoint", body = ErrorBody),
            (status = 405, description = "The endpoint does not accept the method; `Allow` says which it does", body = RunError),
            (status = 408, description = "The body did not come in time", body = RunError),
            (status = 409, description = "A request with this key is running", body = ErrorBody),
            (status = 410, description = "A request with this key ran, and its reply is not kept any more", body = ErrorBody),
            (status = 413, description = "The body is too large", body = RunError),
            (status = 415, description = "The content type is not one that workflows understand", body = RunError),
            (status = 422, description = "The key was used for another request", body = ErrorBody),
            (status = 429, description = "The caller's address, the endpoint or the workflows of its owner have too many requests; `Retry-After` says when to try again", body = ErrorBody),
            (status = 502, description = "The workflow failed; its run's record says why", body = RunError),
            (status = 503, description = "The workflow is paused or has no version, or the host has no room; `Retry-After` says when to try again", body = ErrorBody),
            (status = 504, description = "The workflow took longer than its deadline", body = RunError),
            (status = 507, description = "The disk is too full for a request that is to run later, or once", body = ErrorBody),
            (status = "default", description = "Whatever status the workflow chose", body = serde_json::Value),
        ),
    )]
    #[expect(dead_code, reason = "it carries the description of what server/catch answers")]
    fn catch_post() {}

    use utoipa::Path as _;
    debug_assert!(__path_catch_post::path().starts_with(catch::PREFIX));
    let item = PathItem::new(HttpMethod::Post, __path_catch_post::operation());
    (__path_catch_post::path(), item)
}

/// `GET /catch/{key}/runs/{id}`.
fn result_endpoint() -> (String, PathItem) {
    #[utoipa::path(
        get, path = "/catch/{key}/runs/{id}", operation_id = "fetchResult", tag = "catch", security(()),
        description = "The result of a request that was answered 202: the reply that a caller who waited would have got, with its status and headers. Whoever knows the URL may read it.",
        params(
            ("key" = String, Path, description = "The secret part of the workflow's URL"),
            ("id" = String, Path, description = "The run that the 202 named"),
        ),
        responses(
            (status = 200, description = "What the workflow returned; it chooses status, headers and body", body = serde_json::Value),
            (status = 202, description = "It is not over; `Retry-After` says when to ask again", body = AsyncAccepted),
            (status = 404, description = "There is no such endpoint or result, or it is not remembered any more", body = ErrorBody),
            (status = 410, description = "The reply is not kept any more", body = ErrorBody),
            (status = 502, description = "The workflow failed, and is not tried again", body = RunError),
            (status = "default", description = "Whatever status the workflow chose", body = serde_json::Value),
        ),
    )]
    #[expect(dead_code, reason = "it carries the description of what server/queued answers")]
    fn result_get() {}

    use utoipa::Path as _;
    let item = PathItem::new(HttpMethod::Get, __path_result_get::operation());
    (__path_result_get::path(), item)
}
