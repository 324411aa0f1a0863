//! What people typed: a form's fields, or a query's.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use super::Console;
use super::guard::Notes;
use crate::server::api::{ApiError, upload};

/// Largest form: a source file of the largest size in the form's encoding.
const FORM_BYTES_MAX: usize = 4 << 20;

/// Fields that say what is done, and with what: they go to the audit log.
const NOTED: [&str; 10] =
    ["action", "keep", "part", "which", "name", "login", "role", "version", "schedule", "token"];

/// Names and values, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// What `application/x-www-form-urlencoded` says.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// All names and values, in their order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a field as it was typed; empty when there is none.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// The value of a field without space around it; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The value, unless it is empty.
    pub(super) fn some(&self, name: &str) -> Option<String> {
        Some(self.get(name)).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Whether a box is ticked.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// All values of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The names in a field, separated by commas or spaces.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.raw(name).split([',', ' ']).filter(|one| !one.is_empty()).map(str::to_owned).collect()
    }

    /// As a query, with `changed` instead of what it says of that field and without empty
    /// ones.
    pub(super) fn query_with(&self, changed: &[(&str, &str)]) -> String {
        let kept = self.0.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        let pairs = kept.chain(changed.iter().copied()).filter(|(_, value)| !value.is_empty());
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }
}

impl FromRequest<Arc<Console>> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, ApiError> {
        let notes = request.extensions().get::<Notes>().cloned().unwrap_or_default();
        let fields = Self::parse(&upload(request, &console.api, FORM_BYTES_MAX).await?);
        NOTED.iter().filter_map(|name| fields.some(name)).for_each(|value| notes.add(value));
        Ok(fields)
    }
}

/// The fields of the query.
pub(super) struct Asked(pub(super) Fields);

impl FromRequestParts<Arc<Console>> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Console>) -> Result<Self, Infallible> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

/// The first part of the path that varies.
pub(super) struct Named(pub(super) String);

impl FromRequestParts<Arc<Console>> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, ApiError> {
        let taken = axum::extract::Path::<String>::from_request_parts(parts, console).await;
        taken.map(|path| Self(path.0)).map_err(|error| ApiError::Path(error.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_keep_what_is_not_changed() {
        let fields = Fields::parse(b"q=a+b&kind=&sort=name&page=2");
        assert_eq!(fields.query_with(&[("page", "3")]), "q=a+b&sort=name&page=3");
        assert_eq!(fields.query_with(&[("page", ""), ("q", "")]), "sort=name");
        assert_eq!((fields.get("q"), fields.get("none")), ("a b", ""));
    }
}
