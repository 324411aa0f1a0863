//! Why an exchange failed.

use super::UrlError;
use crate::bindings::wasi::http::types::ErrorCode;

/// Why a request could not be sent, or its response not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not the URL of a request.
    #[error("the URL cannot be used")]
    Url(#[from] UrlError),
    /// The method is not a token (RFC 9110 section 9.1).
    #[error("{0:?} is not an HTTP method")]
    Method(String),
    /// A header cannot be sent: its name or value is malformed, or the host keeps the
    /// name to itself.
    #[error("the header {name:?} cannot be sent: {problem}")]
    Header {
        /// The header's name.
        name: String,
        /// `invalid-syntax`, `forbidden` or `immutable`, as `wasi:http` names them.
        problem: &'static str,
    },
    /// A `content-length` header was set that is not the body's length. It need not be
    /// set at all.
    #[error("the header content-length is {header:?}, and the body has {bytes} bytes")]
    ContentLength {
        /// What the header says.
        header: String,
        /// The body's length.
        bytes: usize,
    },
    /// JSON cannot hold the request's body.
    #[error("the request's body is not JSON")]
    RequestJson(#[source] serde_json::Error),
    /// The host did not send the request or did not get the response.
    #[error("the exchange with {authority} failed: {code}{}", detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Exchange {
        /// The host and, if the URL has one, the port.
        authority: String,
        /// The error code as `wasi:http` names it, for example `connection-refused`.
        code: &'static str,
        /// What else the host said.
        detail: Option<String>,
    },
    /// The response's body has more bytes than the client reads.
    #[error("the body from {authority} has more than {bytes_max} bytes")]
    BodySize {
        /// The host and, if the URL has one, the port.
        authority: String,
        /// The limit.
        bytes_max: u64,
    },
    /// The response's body is not UTF-8.
    #[error("the body from {authority} is not valid UTF-8")]
    ResponseText {
        /// The host and, if the URL has one, the port.
        authority: String,
        /// Where it is not.
        source: std::string::FromUtf8Error,
    },
    /// The response's body is not JSON, or not of the wanted form.
    #[error("the body from {authority} is not the JSON that was expected")]
    ResponseJson {
        /// The host and, if the URL has one, the port.
        authority: String,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// The response's status is 400 or more.
    #[error("{authority} answered with status {status}")]
    Status {
        /// The host and, if the URL has one, the port.
        authority: String,
        /// The status.
        status: u16,
    },
}

impl Error {
    /// The error code of a failed exchange, as `wasi:http` names it, for example
    /// `connection-refused`.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Exchange { code, .. } => Some(code),
            _ => None,
        }
    }

    pub(super) fn exchange(authority: &str, code: ErrorCode) -> Self {
        let (code, detail) = describe(code);
        Self::Exchange { authority: authority.to_owned(), code, detail }
    }

    /// For what can only fail if the host does not keep to `wasi:http`.
    pub(super) fn protocol(authority: &str, what: &str) -> Self {
        Self::exchange(authority, ErrorCode::InternalError(Some(what.to_owned())))
    }
}

/// The name of the code in the WIT, and what it carries.
fn describe(code: ErrorCode) -> (&'static str, Option<String>) {
    fn size<T: std::fmt::Display>(bytes: Option<T>) -> Option<String> {
        bytes.map(|bytes| format!("{bytes} bytes"))
    }
    match code {
        ErrorCode::DnsTimeout => ("DNS-timeout", None),
        ErrorCode::DnsError(payload) => ("DNS-error", payload.rcode),
        ErrorCode::DestinationNotFound => ("destination-not-found", None),
        ErrorCode::DestinationUnavailable => ("destination-unavailable", None),
        ErrorCode::DestinationIpProhibited => ("destination-IP-prohibited", None),
        ErrorCode::DestinationIpUnroutable => ("destination-IP-unroutable", None),
        ErrorCode::ConnectionRefused => ("connection-refused", None),
        ErrorCode::ConnectionTerminated => ("connection-terminated", None),
        ErrorCode::ConnectionTimeout => ("connection-timeout", None),
        ErrorCode::ConnectionReadTimeout => ("connection-read-timeout", None),
        ErrorCode::ConnectionWriteTimeout => ("connection-write-timeout", None),
        ErrorCode::ConnectionLimitReached => ("connection-limit-reached", None),
        ErrorCode::TlsProtocolError => ("TLS-protocol-error", None),
        ErrorCode::TlsCertificateError => ("TLS-certificate-error", None),
        ErrorCode::TlsAlertReceived(payload) => ("TLS-alert-received", payload.alert_message),
        ErrorCode::HttpRequestDenied => ("HTTP-request-denied", None),
        ErrorCode::HttpRequestLengthRequired => ("HTTP-request-length-required", None),
        ErrorCode::HttpRequestBodySize(bytes) => ("HTTP-request-body-size", size(bytes)),
        ErrorCode::HttpRequestMethodInvalid => ("HTTP-request-method-invalid", None),
        ErrorCode::HttpRequestUriInvalid => ("HTTP-request-URI-invalid", None),
        ErrorCode::HttpRequestUriTooLong => ("HTTP-request-URI-too-long", None),
        ErrorCode::HttpRequestHeaderSectionSize(bytes) => ("HTTP-request-header-section-size", size(bytes)),
        ErrorCode::HttpRequestHeaderSize(field) => {
            ("HTTP-request-header-size", field.and_then(|field| field.field_name))
        }
        ErrorCode::HttpRequestTrailerSectionSize(bytes) => ("HTTP-request-trailer-section-size", size(bytes)),
        ErrorCode::HttpRequestTrailerSize(field) => ("HTTP-request-trailer-size", field.field_name),
        ErrorCode::HttpResponseIncomplete => ("HTTP-response-incomplete", None),
        ErrorCode::HttpResponseHeaderSectionSize(bytes) => ("HTTP-response-header-section-size", size(bytes)),
        ErrorCode::HttpResponseHeaderSize(field) => ("HTTP-response-header-size", field.field_name),
        ErrorCode::HttpResponseBodySize(bytes) => ("HTTP-response-body-size", size(bytes)),
        ErrorCode::HttpResponseTrailerSectionSize(bytes) => {
            ("HTTP-response-trailer-section-size", size(bytes))
        }
        ErrorCode::HttpResponseTrailerSize(field) => ("HTTP-response-trailer-size", field.field_name),
        ErrorCode::HttpResponseTransferCoding(coding) => ("HTTP-response-transfer-coding", coding),
        ErrorCode::HttpResponseContentCoding(coding) => ("HTTP-response-content-coding", coding),
        ErrorCode::HttpResponseTimeout => ("HTTP-response-timeout", None),
        ErrorCode::HttpUpgradeFailed => ("HTTP-upgrade-failed", None),
        ErrorCode::HttpProtocolError => ("HTTP-protocol-error", None),
        ErrorCode::LoopDetected => ("loop-detected", None),
        ErrorCode::ConfigurationError => ("configuration-error", None),
        ErrorCode::InternalError(detail) => ("internal-error", detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_destination_and_the_code() {
        let error = Error::exchange("a.example:81", ErrorCode::ConnectionRefused);
        assert_eq!(error.to_string(), "the exchange with a.example:81 failed: connection-refused");
        assert_eq!(error.code(), Some("connection-refused"));
        let error = Error::exchange("a.example", ErrorCode::HttpResponseBodySize(Some(7)));
        assert_eq!(
            error.to_string(),
            "the exchange with a.example failed: HTTP-response-body-size (7 bytes)"
        );
        assert_eq!(Error::Method(String::new()).code(), None);
    }
}
