//! The parts of a URL that a request needs.

/// Why a text is not the URL of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It begins with neither `http://` nor `https://`.
    #[error("a URL begins with http:// or https://")]
    Scheme,
    /// There is no host between the scheme and the path.
    #[error("the URL has no host")]
    Host,
    /// There is a user name or a password before the host.
    #[error("the URL has a user name or a password in it: send an authorization header instead")]
    Credentials,
    /// There is a character that must be escaped.
    #[error("the URL has a character that must be percent-encoded at position {0}")]
    Character(
        /// Counted in bytes, from 1.
        usize,
    ),
}

/// A URL, cut into what `wasi:http` wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'text> {
    pub(super) https: bool,
    /// Host and, if it was given, port.
    pub(super) authority: &'text str,
    /// Begins with `/`; never has a fragment.
    pub(super) path_with_query: String,
}

impl<'text> Url<'text> {
    pub(super) fn parse(text: &'text str) -> Result<Self, UrlError> {
        if let Some(position) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(UrlError::Character(position + 1));
        }
        let (https, rest) = match (strip_scheme(text, "https://"), strip_scheme(text, "http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(UrlError::Scheme),
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _fragment)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err(UrlError::Host);
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self { https, authority, path_with_query: format!("{slash}{path}") })
    }
}

fn strip_scheme<'text>(text: &'text str, scheme: &str) -> Option<&'text str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_splits_into_scheme_authority_and_path() {
        for (text, https, authority, path) in [
            ("http://a.example", false, "a.example", "/"),
            ("HTTPS://a.example:8443/b/c?d=e#f", true, "a.example:8443", "/b/c?d=e"),
            ("http://a.example?q=/x@y", false, "a.example", "/?q=/x@y"),
            ("https://[::1]:80/#x", true, "[::1]:80", "/"),
        ] {
            let path_with_query = path.to_owned();
            assert_eq!(Url::parse(text), Ok(Url { https, authority, path_with_query }), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("ftp://a.example/", UrlError::Scheme),
            ("a.example/path", UrlError::Scheme),
            ("https:///path", UrlError::Host),
            ("http://:80/", UrlError::Host),
            ("https://user:word@a.example/", UrlError::Credentials),
            ("https://a.example/a b", UrlError::Character(20)),
            ("https://a.example/ü", UrlError::Character(19)),
        ] {
            assert_eq!(Url::parse(text), Err(error), "{text}");
        }
    }
}
