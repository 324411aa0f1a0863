//! Why a request is not let out.

use std::fmt;
use std::net::IpAddr;

use super::error::Code;

/// The rule that a request broke. Each has its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// This machine, by its loopback addresses.
    Loopback,
    /// A network behind the host, or one shared by a carrier's customers.
    Private,
    /// The link that the host is on.
    LinkLocal,
    /// The service by which a cloud tells a machine its secrets.
    Metadata,
    /// More than one receiver.
    Multicast,
    /// No address at all, which the system takes for loopback.
    Unspecified,
    /// An IPv6 address that stands for an IPv4 one elsewhere.
    Translation,
    /// Documentation, benchmarks, protocols, not assigned.
    Reserved,
    /// A public address of this very machine.
    OwnAddress,
    /// A port on which this host listens.
    OwnListener,
    /// A name that stands for this machine or its network.
    LocalName,
    /// A name without a dot, which would be looked up in search domains.
    SingleLabel,
    /// A name that some parsers take for an IPv4 address.
    NumericName,
    /// An IPv6 address with a zone.
    ScopeId,
    /// Port 0.
    Port,
    /// Neither an address nor a name that DNS can hold.
    InvalidName,
    /// A user name or password in the URL.
    UserInfo,
    /// Neither `http` nor `https`.
    Scheme,
    /// More requests than a run may make.
    Requests,
    /// More requests at the same time than a run may make.
    Concurrent,
    /// More bytes than a run may send and receive.
    Bytes,
    /// More requests in a minute than an owner's workflows may make.
    OwnerRequests,
    /// More requests at the same time than an owner's workflows may make.
    OwnerConcurrent,
    /// More bytes in a minute than an owner's workflows may send and receive.
    OwnerBytes,
    /// None of the destinations that the workflow lists.
    NotListed,
}

impl Reason {
    /// All reasons, for counters that must exist before they count.
    pub const ALL: [Reason; 25] = [
        Reason::Loopback,
        Reason::Private,
        Reason::LinkLocal,
        Reason::Metadata,
        Reason::Multicast,
        Reason::Unspecified,
        Reason::Translation,
        Reason::Reserved,
        Reason::OwnAddress,
        Reason::OwnListener,
        Reason::LocalName,
        Reason::SingleLabel,
        Reason::NumericName,
        Reason::ScopeId,
        Reason::Port,
        Reason::InvalidName,
        Reason::UserInfo,
        Reason::Scheme,
        Reason::Requests,
        Reason::Concurrent,
        Reason::Bytes,
        Reason::OwnerRequests,
        Reason::OwnerConcurrent,
        Reason::OwnerBytes,
        Reason::NotListed,
    ];

    /// The reason as one word, for labels.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Loopback => "loopback",
            Reason::Private => "private",
            Reason::LinkLocal => "link-local",
            Reason::Metadata => "metadata",
            Reason::Multicast => "multicast",
            Reason::Unspecified => "unspecified",
            Reason::Translation => "translation",
            Reason::Reserved => "reserved",
            Reason::OwnAddress => "own-address",
            Reason::OwnListener => "own-listener",
            Reason::LocalName => "local-name",
            Reason::SingleLabel => "single-label",
            Reason::NumericName => "numeric-name",
            Reason::ScopeId => "scope-id",
            Reason::Port => "port",
            Reason::InvalidName => "invalid-name",
            Reason::UserInfo => "user-info",
            Reason::Scheme => "scheme",
            Reason::Requests => "requests",
            Reason::Concurrent => "concurrent",
            Reason::Bytes => "bytes",
            Reason::OwnerRequests => "owner-requests",
            Reason::OwnerConcurrent => "owner-concurrent",
            Reason::OwnerBytes => "owner-bytes",
            Reason::NotListed => "not-listed",
        }
    }

    /// The error that the guest gets: what is malformed, what is over a cap and what is
    /// prohibited are told apart.
    pub fn code(self) -> Code {
        match self {
            Reason::InvalidName | Reason::UserInfo => Code::HttpRequestUriInvalid,
            Reason::Scheme => Code::HttpProtocolError,
            Reason::Requests
            | Reason::Concurrent
            | Reason::Bytes
            | Reason::OwnerRequests
            | Reason::OwnerConcurrent
            | Reason::OwnerBytes
            | Reason::NotListed => Code::HttpRequestDenied,
            Reason::Loopback
            | Reason::Private
            | Reason::LinkLocal
            | Reason::Metadata
            | Reason::Multicast
            | Reason::Unspecified
            | Reason::Translation
            | Reason::Reserved
            | Reason::OwnAddress
            | Reason::OwnListener
            | Reason::LocalName
            | Reason::SingleLabel
            | Reason::NumericName
            | Reason::ScopeId
            | Reason::Port => Code::DestinationIpProhibited,
        }
    }
}

/// A request that is not let out: the rule, and the address when one broke it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The rule.
    pub reason: Reason,
    /// The address that it holds against; `None` when the URL or a cap broke it.
    pub address: Option<IpAddr>,
    /// The document behind the rule; empty when the rule is this host's own.
    pub source: &'static str,
}

impl Refusal {
    /// A refusal that is not about an address.
    pub fn new(reason: Reason) -> Self {
        Self { reason, address: None, source: "" }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} is ")?;
        }
        f.write_str(match self.reason {
            Reason::Loopback => "a loopback address",
            Reason::Private => "a private address",
            Reason::LinkLocal => "a link-local address",
            Reason::Metadata => "a cloud's metadata service",
            Reason::Multicast => "a multicast or broadcast address",
            Reason::Unspecified => "not the address of a host",
            Reason::Translation => "an IPv6 address that stands for an IPv4 one",
            Reason::Reserved => "a reserved address",
            Reason::OwnAddress => "an address of this machine",
            Reason::OwnListener => "where this host itself listens",
            Reason::LocalName => "the name is a local one",
            Reason::SingleLabel => "the name has no dot",
            Reason::NumericName => "the name ends in a number",
            Reason::ScopeId => "the address has a zone",
            Reason::Port => "port 0 does not exist",
            Reason::InvalidName => "the host is not a valid name or address",
            Reason::UserInfo => "the URL holds a user name",
            Reason::Scheme => "the scheme is neither http nor https",
            Reason::Requests => "the run has made all the requests it may make",
            Reason::Concurrent => "the run has as many requests open as it may have",
            Reason::Bytes => "the run has sent and received all the bytes that it may",
            Reason::OwnerRequests => {
                "the workflows of this owner have made all the requests that they may make in a minute"
            }
            Reason::OwnerConcurrent => {
                "the workflows of this owner have as many requests open as they may have"
            }
            Reason::OwnerBytes => {
                "the workflows of this owner have sent and received all the bytes that they may in a minute"
            }
            Reason::NotListed => "the workflow lists its destinations, and this is none of them",
        })?;
        if self.source.is_empty() { Ok(()) } else { write!(f, " ({})", self.source) }
    }
}
