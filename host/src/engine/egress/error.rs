//! What an exchange fails with: one word for the record, one code for the guest.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use wasmtime_wasi_http::Error as WasiError;

use super::refusal::Refusal;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The codes of `wasi:http/types.error-code` that an exchange can end with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All codes, for counters that must exist before they count.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as `wasi:http` spells it, in lower case.
            pub fn word(self) -> &'static str {
                match self {
                    $(Code::$name => $word,)*
                }
            }
        }
    };
}

codes! {
    /// No answer from the name servers in time.
    DnsTimeout = "dns-timeout",
    /// The name does not exist, has no address, or the name servers failed.
    DnsError = "dns-error",
    /// The system could not even begin to connect.
    DestinationUnavailable = "destination-unavailable",
    /// The address policy refuses the destination.
    DestinationIpProhibited = "destination-ip-prohibited",
    /// The system has no way there.
    DestinationIpUnroutable = "destination-ip-unroutable",
    /// Nobody listens there.
    ConnectionRefused = "connection-refused",
    /// The connection was reset, or the exchange was given up.
    ConnectionTerminated = "connection-terminated",
    /// No connection in time, encryption included.
    ConnectionTimeout = "connection-timeout",
    /// The response did not begin, or go on, in time.
    ConnectionReadTimeout = "connection-read-timeout",
    /// The host has as many connections as it may have.
    ConnectionLimitReached = "connection-limit-reached",
    /// The other side does not speak TLS, or none that we speak.
    TlsProtocolError = "tls-protocol-error",
    /// Its certificate is not valid for the host.
    TlsCertificateError = "tls-certificate-error",
    /// It refused the TLS handshake.
    TlsAlertReceived = "tls-alert-received",
    /// The run is over a cap.
    HttpRequestDenied = "http-request-denied",
    /// The request's body is over its cap, or not as long as it was said to be.
    HttpRequestBodySize = "http-request-body-size",
    /// `CONNECT` is not let out.
    HttpRequestMethodInvalid = "http-request-method-invalid",
    /// The URL is malformed.
    HttpRequestUriInvalid = "http-request-uri-invalid",
    /// The connection ended in the middle of the response.
    HttpResponseIncomplete = "http-response-incomplete",
    /// The response's head is over its cap.
    HttpResponseHeaderSectionSize = "http-response-header-section-size",
    /// The response's body is over its cap.
    HttpResponseBodySize = "http-response-body-size",
    /// The whole exchange took too long.
    HttpResponseTimeout = "http-response-timeout",
    /// The server switched protocols, which nobody had asked for.
    HttpUpgradeFailed = "http-upgrade-failed",
    /// What came back is not HTTP.
    HttpProtocolError = "http-protocol-error",
    /// The host failed.
    InternalError = "internal-error",
}

/// Why an exchange failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The kind.
    pub code: Code,
    /// What is known beyond the kind.
    pub detail: Detail,
}

/// What a guest is told beyond a failure's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// Nothing more.
    None,
    /// The cap, in bytes.
    Cap(u64),
    /// The response code of DNS, such as `NXDOMAIN`.
    Rcode(String),
    /// The TLS alert, by number and name.
    Alert(u8, String),
    /// The rule that refused it. The guest learns the code only; the record says
    /// it all.
    Refused(Refusal),
    /// What only the record says.
    Because(&'static str),
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self { code, detail: Detail::None }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.reason.code(), detail: Detail::Refused(refusal) }
    }
}

impl Failure {
    /// A failure over a cap.
    pub fn cap(code: Code, bytes: u64) -> Self {
        Self { code, detail: Detail::Cap(bytes) }
    }

    /// The failure that a connection attempt ended with.
    pub fn of_connect(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::ConnectionRefused => Code::ConnectionRefused,
            Kind::TimedOut => Code::ConnectionTimeout,
            Kind::NetworkUnreachable | Kind::HostUnreachable | Kind::AddrNotAvailable => {
                Code::DestinationIpUnroutable
            }
            Kind::ConnectionReset | Kind::ConnectionAborted => Code::ConnectionTerminated,
            _ => Code::DestinationUnavailable,
        }
        .into()
    }

    /// The failure that a TLS handshake ended with.
    pub fn of_handshake(error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::of_io(error, Code::TlsProtocolError);
        };
        Self::of_tls(tls)
    }

    fn of_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Code::TlsCertificateError.into()
            }
            rustls::Error::AlertReceived(alert) => Self {
                code: Code::TlsAlertReceived,
                detail: Detail::Alert(u8::from(*alert), format!("{alert:?}")),
            },
            _ => Code::TlsProtocolError.into(),
        }
    }

    /// The failure of an exchange on a connection that exists.
    pub fn of_hyper(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Code::HttpResponseHeaderSectionSize.into();
        }
        if error.is_incomplete_message() {
            return Code::HttpResponseIncomplete.into();
        }
        if error.is_canceled() || error.is_closed() {
            return Code::ConnectionTerminated.into();
        }
        if let Some(io) = source::<io::Error>(error) {
            return Self::of_io(io, Code::HttpProtocolError);
        }
        let Some(h2) = source::<h2::Error>(error) else { return Code::HttpProtocolError.into() };
        match h2.get_io() {
            Some(io) => Self::of_io(io, Code::HttpProtocolError),
            None if h2.is_remote() => Code::ConnectionTerminated.into(),
            None => Code::HttpProtocolError.into(),
        }
    }

    fn of_io(error: &io::Error, otherwise: Code) -> Self {
        use io::ErrorKind as Kind;
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::of_tls(tls);
        }
        match error.kind() {
            Kind::UnexpectedEof => Code::HttpResponseIncomplete,
            Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::NotConnected => {
                Code::ConnectionTerminated
            }
            Kind::TimedOut => Code::ConnectionReadTimeout,
            _ => otherwise,
        }
        .into()
    }

    /// The failure as the guest gets it.
    pub fn to_wasi(&self) -> WasiError {
        let cap = match self.detail {
            Detail::Cap(bytes) => Some(bytes),
            _ => None,
        };
        match self.code {
            Code::DnsTimeout => WasiError::DnsTimeout,
            Code::DnsError => match &self.detail {
                Detail::Rcode(rcode) => WasiError::DnsError { rcode: Some(rcode.clone()), info_code: None },
                _ => WasiError::DnsError { rcode: None, info_code: None },
            },
            Code::DestinationUnavailable => WasiError::DestinationUnavailable,
            Code::DestinationIpProhibited => WasiError::DestinationIpProhibited,
            Code::DestinationIpUnroutable => WasiError::DestinationIpUnroutable,
            Code::ConnectionRefused => WasiError::ConnectionRefused,
            Code::ConnectionTerminated => WasiError::ConnectionTerminated,
            Code::ConnectionTimeout => WasiError::ConnectionTimeout,
            Code::ConnectionReadTimeout => WasiError::ConnectionReadTimeout,
            Code::ConnectionLimitReached => WasiError::ConnectionLimitReached,
            Code::TlsProtocolError => WasiError::TlsProtocolError,
            Code::TlsCertificateError => WasiError::TlsCertificateError,
            Code::TlsAlertReceived => match &self.detail {
                Detail::Alert(id, name) => {
                    WasiError::TlsAlertReceived { alert_id: Some(*id), alert_message: Some(name.clone()) }
                }
                _ => WasiError::TlsAlertReceived { alert_id: None, alert_message: None },
            },
            Code::HttpRequestDenied => WasiError::HttpRequestDenied,
            Code::HttpRequestBodySize => WasiError::HttpRequestBodySize(cap),
            Code::HttpRequestMethodInvalid => WasiError::HttpRequestMethodInvalid,
            Code::HttpRequestUriInvalid => WasiError::HttpRequestUriInvalid,
            Code::HttpResponseIncomplete => WasiError::HttpResponseIncomplete,
            Code::HttpResponseHeaderSectionSize => {
                WasiError::HttpResponseHeaderSectionSize(cap.and_then(|bytes| u32::try_from(bytes).ok()))
            }
            Code::HttpResponseBodySize => WasiError::HttpResponseBodySize(cap),
            Code::HttpResponseTimeout => WasiError::HttpResponseTimeout,
            Code::HttpUpgradeFailed => WasiError::HttpUpgradeFailed,
            Code::HttpProtocolError => WasiError::HttpProtocolError,
            Code::InternalError => WasiError::InternalError(None),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.word())?;
        self.detail.text().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

impl Detail {
    /// What is known, for people.
    pub fn text(&self) -> Option<String> {
        match self {
            Detail::None => None,
            Detail::Cap(bytes) => Some(format!("the cap is {bytes} bytes")),
            Detail::Rcode(rcode) => Some(rcode.clone()),
            Detail::Alert(_, name) => Some(name.clone()),
            Detail::Refused(refusal) => Some(refusal.to_string()),
            Detail::Because(reason) => Some((*reason).to_owned()),
        }
    }
}

/// The first error of type `E` among the causes.
fn source<E: StdError + 'static>(error: &dyn StdError) -> Option<&E> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}
