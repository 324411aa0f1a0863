//! Names to addresses, inside of the process.
//!
//! `getaddrinfo` would block a thread that nothing can cancel, and mix `/etc/hosts` and
//! search domains into the answer. Here these two count only for names that the operator
//! wrote into `egress.allow_private`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::read_system_conf;

use super::error::{Code, Detail, Failure};

/// Whose answers count for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sources {
    /// The name servers, asked for exactly this name.
    Dns,
    /// What any other program of this machine would find: `/etc/hosts` and search domains
    /// too, and `localhost` as the loopback addresses.
    System,
}

/// Finds the addresses of a name. Says nothing about whether they may be reached.
pub trait Resolve: Send + Sync + 'static {
    /// All IPv4 and IPv6 addresses of `name`, which is in lower case and has no final
    /// dot. Dropping the future gives the lookup up.
    ///
    /// # Errors
    /// [`Code::DnsError`] or [`Code::DnsTimeout`].
    fn resolve<'a>(&'a self, name: &'a str, sources: Sources) -> BoxFuture<'a, Result<Vec<IpAddr>, Failure>>;
}

/// How often it is looked whether the system's files have changed.
const FILES_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// The resolver of `/etc/resolv.conf`, with a cache that keeps to the answers' times to
/// live. Changes of the file are taken over within 5 seconds.
pub struct SystemResolver {
    current: ArcSwap<Resolvers>,
    checked_at: Mutex<Instant>,
}

struct Resolvers {
    dns: TokioResolver,
    system: TokioResolver,
    files: [Option<SystemTime>; 2],
}

impl SystemResolver {
    /// Reads the system's files. Where there is no usable `/etc/resolv.conf`, a name
    /// server on this machine is asked, as other programs would.
    ///
    /// # Errors
    /// The resolver cannot be built from them.
    pub fn new() -> Result<Self, NetError> {
        Resolvers::read().map(Self::of)
    }

    /// The resolver of this configuration, until the system's files change.
    #[cfg(test)]
    pub(super) fn with_config(config: &ResolverConfig, options: ResolverOpts) -> Result<Self, NetError> {
        Resolvers::build(config, options, changed_at()).map(Self::of)
    }

    fn of(resolvers: Resolvers) -> Self {
        Self { current: ArcSwap::from_pointee(resolvers), checked_at: Mutex::new(Instant::now()) }
    }

    /// The resolvers for the files as they are now, or were some seconds ago.
    fn resolvers(&self) -> Arc<Resolvers> {
        let current = self.current.load_full();
        {
            let mut checked_at = self.checked_at.lock().unwrap_or_else(PoisonError::into_inner);
            if checked_at.elapsed() < FILES_CHECK_INTERVAL {
                return current;
            }
            *checked_at = Instant::now();
        }
        if current.files == changed_at() {
            return current;
        }
        match Resolvers::read() {
            Ok(resolvers) => {
                let resolvers = Arc::new(resolvers);
                self.current.store(resolvers.clone());
                resolvers
            }
            Err(error) => {
                tracing::warn!(error = %error, "resolver configuration not taken over");
                current
            }
        }
    }
}

impl Resolvers {
    fn read() -> Result<Self, NetError> {
        let files = changed_at();
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            tracing::warn!(error = %error, "no resolver configuration, asking this machine");
            let here = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            (ResolverConfig::from_parts(None, Vec::new(), vec![here]), ResolverOpts::default())
        });
        Self::build(&config, options, files)
    }

    fn build(
        config: &ResolverConfig,
        mut options: ResolverOpts,
        files: [Option<SystemTime>; 2],
    ) -> Result<Self, NetError> {
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let build = |hosts| {
            let mut options = options.clone();
            options.use_hosts_file = hosts;
            TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default())
                .with_options(options)
                .build()
        };
        Ok(Self { dns: build(ResolveHosts::Never)?, system: build(ResolveHosts::Always)?, files })
    }
}

fn changed_at() -> [Option<SystemTime>; 2] {
    [RESOLV_CONF, HOSTS].map(|path| Path::new(path).metadata().and_then(|data| data.modified()).ok())
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str, sources: Sources) -> BoxFuture<'a, Result<Vec<IpAddr>, Failure>> {
        Box::pin(async move {
            let found = match sources {
                // With the final dot no search domain is tried.
                Sources::Dns => self.resolvers().dns.lookup_ip(format!("{name}.")).await,
                Sources::System if name == "localhost" || name.ends_with(".localhost") => {
                    return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
                }
                Sources::System => self.resolvers().system.lookup_ip(name).await,
            };
            let addresses: Vec<IpAddr> = found.map_err(|error| failure(&error))?.iter().collect();
            if addresses.is_empty() { Err(no_address()) } else { Ok(addresses) }
        })
    }
}

/// The failure of a name that exists and has no address.
fn no_address() -> Failure {
    Failure { code: Code::DnsError, detail: Detail::Rcode("NODATA".to_owned()) }
}

fn failure(error: &NetError) -> Failure {
    use hickory_resolver::proto::op::ResponseCode;
    let rcode = match error {
        NetError::Timeout => return Code::DnsTimeout.into(),
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => return no_address(),
            code => code,
        },
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        _ => return Code::DnsError.into(),
    };
    // As the IANA registry of response codes spells them.
    let rcode = match rcode {
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::Refused => "REFUSED",
        other => other.to_str(),
    };
    Failure { code: Code::DnsError, detail: Detail::Rcode(rcode.to_owned()) }
}
