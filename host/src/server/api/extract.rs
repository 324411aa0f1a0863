//! What handlers take from a request, with errors that name what is wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use hyper::header;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::strict::Strict;
use super::{Api, ApiError};
use crate::server::body::{self, Patience};
use crate::server::framing::Verdict;

/// JSON around a body: names, quotes, base64.
const JSON_OVERHEAD_BYTES: usize = 64 << 10;

/// Parts of the path.
pub(in crate::server) struct Segments<T>(pub(in crate::server) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Api>> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let taken = Path::<T>::from_request_parts(parts, api).await;
        taken.map(|Path(value)| Self(value)).map_err(|error| ApiError::Path(error.body_text()))
    }
}

/// The query.
pub(in crate::server) struct Params<T>(pub(in crate::server) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Api>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let taken = Query::<T>::from_request_parts(parts, api).await;
        taken
            .map(|Query(value)| Self(value))
            .map_err(|error| ApiError::Query(without_preamble(&error.body_text())))
    }
}

/// A JSON body.
pub(in crate::server) struct JsonBody<T>(pub(in crate::server) T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        need_type(&request, "application/json")?;
        let bytes = whole(request, json_bytes_max(api), whole_patience(api)).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body, or the default when there is no body or it is `null`.
pub(in crate::server) struct OptionalJson<T>(pub(in crate::server) T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<Api>> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, ApiError> {
        if http_body::Body::is_end_stream(request.body()) {
            return Ok(Self(T::default()));
        }
        need_type(&request, "application/json")?;
        let bytes = whole(request, json_bytes_max(api), whole_patience(api)).await?;
        if bytes.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        parse(&bytes).map(Self)
    }
}

/// An upload, as it is. Each piece of it has time, so that a slow line can upload a large
/// component.
pub(in crate::server) async fn upload(
    request: Request,
    api: &Api,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    let timeout = Duration::from_millis(api.app.config.server.body_timeout_ms);
    whole(request, bytes_max, Patience::Piece(timeout)).await
}

/// The essence of the request's content type in lower case; empty when there is none.
pub(super) fn content_type(request: &Request) -> String {
    let value = request.headers().get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The error for a content type that is not taken.
pub(super) fn wrong_type(found: &str, wanted: &'static str) -> ApiError {
    let found = if found.is_empty() { "(none)".to_owned() } else { format!("{found:.100?}") };
    ApiError::MediaType { found, wanted }
}

fn need_type(request: &Request, wanted: &'static str) -> Result<(), ApiError> {
    let found = content_type(request);
    if found == wanted { Ok(()) } else { Err(wrong_type(&found, wanted)) }
}

async fn whole(request: Request, bytes_max: usize, patience: Patience) -> Result<Bytes, ApiError> {
    let verdict = request.extensions().get::<Arc<Verdict>>().cloned();
    let bytes = body::read(request.into_body(), bytes_max, patience).await?;
    // Chunks are scanned as they come in.
    verdict.map_or(Ok(()), |verdict| verdict.check())?;
    Ok(bytes)
}

fn whole_patience(api: &Api) -> Patience {
    Patience::Whole(Duration::from_millis(api.app.config.server.body_timeout_ms))
}

/// Room for the largest body of a catch request in base64.
fn json_bytes_max(api: &Api) -> usize {
    api.app.config.server.body_bytes_max.saturating_mul(2).saturating_add(JSON_OVERHEAD_BYTES)
}

/// All bodies are objects; serde would take an array for one, field by field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::Json { reason: "an object is needed, not an array".to_owned(), is_data: true });
    }
    Json::<Objects<T>>::from_bytes(bytes).map(|Json(Objects(value))| value).map_err(|error| {
        let is_data = matches!(error, JsonRejection::JsonDataError(_));
        ApiError::Json { reason: without_preamble(&error.body_text()), is_data }
    })
}

/// A value whose structs are objects, also inside.
struct Objects<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Objects<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Strict(deserializer)).map(Self)
    }
}

/// axum's messages begin with a sentence of their own, and the parser's follow.
fn without_preamble(text: &str) -> String {
    text.split_once(": ").map_or(text, |(_, reason)| reason).to_owned()
}
