//! Addresses and names that lead inside, in every spelling that some parser knows, by
//! every way that a request can take; and public ones, none of which may be refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use futures::future::BoxFuture;
use http::Uri;
use tokio::net::TcpListener;

use super::server::Server;
use super::{Answer, Guest, NEIGHBOURS, egress_with, request, soon};
use crate::engine::egress::allow::AllowList;
use crate::engine::egress::policy::Policy;
use crate::engine::egress::target::{Host, Target};
use crate::engine::egress::{IPV4_REFUSED, IPV6_REFUSED, Range, Resolve, Sources, decide};

/// A resolver whose names are their own answers: `a-10-0-0-1.b-8-8-8-8.example` resolves
/// to 10.0.0.1 and 8.8.8.8, in this order, and `v6-<32 digits>` to an IPv6 address.
struct Spelled;

impl Resolve for Spelled {
    fn resolve<'a>(&'a self, name: &'a str, _: Sources) -> BoxFuture<'a, Answer> {
        let addresses: Vec<IpAddr> = name.split('.').filter_map(address_of_label).collect();
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

fn address_of_label(label: &str) -> Option<IpAddr> {
    if let Some(digits) = label.strip_prefix("v6-") {
        return u128::from_str_radix(digits, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).into());
    }
    let numbers = label.strip_prefix("v4-")?;
    numbers.replace('-', ".").parse().ok().map(IpAddr::V4)
}

fn label(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("v4-{}", address.to_string().replace('.', "-")),
        IpAddr::V6(address) => format!("v6-{:032x}", address.to_bits()),
    }
}

/// First, last and middle address of a block.
fn samples(range: &Range) -> [IpAddr; 3] {
    match range.network {
        IpAddr::V4(network) => {
            let span = u32::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
            [0, span / 2, span].map(|offset| Ipv4Addr::from_bits(network.to_bits() + offset).into())
        }
        IpAddr::V6(network) => {
            let span = u128::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
            [0, span / 2, span].map(|offset| Ipv6Addr::from_bits(network.to_bits() + offset).into())
        }
    }
}

/// An IPv4 address as the parsers of this world read it.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let bits = address.to_bits();
    let low16 = u32::from(c) << 8 | u32::from(d);
    let low24 = bits & 0xff_ffff;
    let full: String = address
        .to_string()
        .chars()
        .map(|c| if c == '.' { '。' } else { char::from_u32(u32::from(c) - 0x30 + 0xff10).unwrap() })
        .collect();
    let percent: String = address.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect();
    vec![
        format!("{address}"),
        format!("{address}."),
        format!("{a}.{b}.{low16}"),
        format!("{a}.{low24}"),
        format!("{bits}"),
        format!("{bits}."),
        format!("0x{bits:x}"),
        format!("0X{bits:X}"),
        format!("0{bits:o}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0x{a:x}.{b}.0{c:o}.{d}"),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("{a}.{b}.{c}.0x{d:x}"),
        format!("{}.{b}.{c}.{d}", u32::from(a) + 256),
        format!("{}", u64::from(bits) + (1 << 32)),
        percent,
        full,
        format!("[::ffff:{address}]"),
        format!("[::FFFF:{:x}:{:x}]", bits >> 16, low16),
        format!("[0:0:0:0:0:ffff:{address}]"),
        format!("[::{address}]"),
        format!("[::ffff:0:{address}]"),
        format!("[64:ff9b::{address}]"),
        format!("[64:ff9b:1::{address}]"),
        format!("[2002:{:x}:{:x}::1]", bits >> 16, low16),
        format!("[2001:0:{:x}:{:x}::]", bits >> 16, low16),
        format!("[2001:0:4136:e378:8000:63bf:{:x}:{:x}]", !(bits >> 16) & 0xffff, !low16 & 0xffff),
        format!("[fe80::5efe:{:x}:{:x}]", bits >> 16, low16),
        format!("[::ffff:{address}%251]"),
        format!("[fe80::1%25lo]"),
        format!("user@{address}"),
        format!("public.example@{address}"),
        format!("{address}:80@public.example"),
    ]
}

/// Names of this machine and its network, of clouds' metadata, and of no form at all.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "LocalHost.",
        "a.localhost",
        "a.b.localhost.",
        "ip6-localhost",
        "localhost.localdomain.internal",
        "metadata",
        "metadata.google.internal",
        "METADATA.GOOGLE.INTERNAL.",
        "instance-data",
        "printer.local",
        "db.local.",
        "kubernetes.default.svc.cluster.local",
        "vault.internal",
        "redis",
        "db",
        "postgres.",
        "host.docker.internal",
        "gateway.docker.internal",
        "0",
        "0.",
        "1",
        "0x0",
        "00",
        "127.1",
        "127.0.1",
        "0177.1",
        "0x7f.1",
        "1.2.3",
        "1.2.3.4.5",
        "256.256.256.256",
        "1.2.3.0x",
        "a.1",
        "a.0x1",
        "a.0xffffffff",
        "a.08",
        "example.123",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::0001]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[ff02::1]",
        "[fec0::1]",
        "[::1]:0",
        "public.example:0",
        "a..example",
        ".example",
        "-",
        "..",
        "",
        "[",
        "]",
        "[]",
        "[::1",
        "::1",
        "[v1.fe80::a]",
        "[1.2.3.4]",
        "%6c%6f%63%61%6c",
        "local%68ost",
        "ⓛocalhost",
        "ｌocalhost",
        "localhost\u{2024}a",
        "１27.0.0.1",
        "127。0。0。1",
        "a b.example",
        "example.com\\@127.0.0.1",
        "127.0.0.1#@public.example",
        "127.0.0.1\\.public.example",
    ]
    .map(str::to_owned)
    .to_vec();
    names.extend((0..20).map(|n| format!("host{n}")));
    names.push(format!("{}.example", "a".repeat(64)));
    names.push(format!("{}example", "abcdefg.".repeat(40)));
    names
}

/// The policy's word on a URL, as far as it can be said before a connection: an URL that
/// the URL type itself refuses never becomes a request.
fn is_refused(policy: &Policy, url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return true };
    let Ok(target) = Target::parse(&uri, &policy.allowed) else { return true };
    match (&target.host, target.literal()) {
        (_, Some(address)) => policy.check(&target, address).is_err(),
        (Host::Name(name), None) => {
            let addresses: Vec<IpAddr> = name.split('.').filter_map(address_of_label).collect();
            assert!(!addresses.is_empty(), "{url} would be looked up");
            let mut at = addresses.into_iter().map(|address| (address.to_canonical(), target.port).into());
            at.any(|address| policy.check(&target, address).is_err())
        }
        (Host::Address(_), None) => false,
    }
}

fn policy() -> Policy {
    Policy::new(AllowList::default())
}

/// URLs that lead inside.
fn hostile() -> Vec<String> {
    let mut urls = Vec::new();
    let inside: Vec<IpAddr> = IPV4_REFUSED.iter().chain(IPV6_REFUSED).flat_map(samples).collect();
    for address in &inside {
        if let IpAddr::V4(address) = address {
            urls.extend(spellings(*address).into_iter().map(|host| format!("http://{host}/")));
        }
        let literal = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let label = label(*address);
        urls.extend([
            format!("https://{literal}/"),
            format!("http://{literal}:8080/a?b=c"),
            // One answer of a name, and one among public ones, in any place.
            format!("http://{label}.example/"),
            format!("http://{label}.v4-8-8-8-8.example/"),
            format!("http://v4-8-8-8-8.{label}.example/"),
            format!("http://v6-26064700000000000000000000001111.v4-8-8-8-8.{label}.v4-1-1-1-1.example/"),
        ]);
    }
    urls.extend(names().into_iter().map(|name| format!("http://{name}/")));
    for scheme in ["ftp", "file", "gopher", "dict", "ldap", "ws", "unix", "jar"] {
        urls.push(format!("{scheme}://8.8.8.8/"));
    }
    urls.sort();
    urls.dedup();
    urls
}

#[tokio::test]
async fn everything_that_leads_inside_is_refused_in_every_spelling() {
    let (policy, urls) = (policy(), hostile());
    assert!(urls.len() >= 2000, "only {}", urls.len());
    let let_out: Vec<&String> = urls.iter().filter(|url| !is_refused(&policy, url)).collect();
    assert!(let_out.is_empty(), "{} of {}: {let_out:#?}", let_out.len(), urls.len());
}

#[tokio::test]
async fn no_connection_is_seen_by_whoever_listens_inside() {
    // On all addresses of this machine, of both families where it has both.
    let listener = match TcpListener::bind("[::]:0").await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
    };
    let port = listener.local_addr().unwrap().port();
    let egress = egress_with(&[], Spelled, |config| config.connect_timeout_ms = 100);
    let urls = hostile();
    let mut sent = 0;
    for url in &urls {
        // At the listeners' port where none is written.
        let url = url.replacen("/?", "?", 1);
        let Some(host) = url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')) else {
            continue;
        };
        let with_port = format!("http://{host}:{port}/");
        if with_port.parse::<Uri>().is_err() {
            continue;
        }
        let mut guest = Guest::new(&egress);
        let answered = soon(guest.get(&with_port)).await;
        assert!(answered.is_err(), "{with_port}");
        sent += 1;
    }
    assert!(sent > 1000, "only {sent}");
    let opened = egress.counters().connections_opened.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(opened, 0);
    let seen = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(seen.is_err(), "somebody connected to {port}");
    let refused: u64 = egress.counters().refused().map(|(_, count)| count).sum();
    assert_eq!(refused, sent, "each is counted by its reason");
}

/// Public addresses of every size of network, and names.
fn public() -> Vec<String> {
    let mut urls = Vec::new();
    for first in [
        1, 2, 5, 8, 9, 11, 13, 23, 34, 52, 64, 77, 93, 101, 104, 128, 130, 140, 151, 163, 185, 193, 199, 217,
        223,
    ] {
        for rest in ["1.1.1", "2.3.4", "200.250.9", "67.255.254"] {
            urls.push(format!("https://{first}.{rest}/"));
        }
    }
    // On either side of what is refused.
    urls.extend(NEIGHBOURS.map(|address| format!("http://{address}/")));
    for network in [
        "2001:200",
        "2001:4860:4860",
        "2003",
        "2400:cb00",
        "2606:4700",
        "2620:fe",
        "2a00:1450",
        "2a02:26f0",
        "2c0f:f248",
        "3ffe:ffff",
    ] {
        for host in ["1", "8888", "dead:beef", "a:b:c:d"] {
            urls.push(format!("https://[{network}::{host}]/"));
        }
    }
    for (number, name) in [
        "api.hrflow.ai",
        "API.Twilio.com.",
        "xn--bcher-kva.example",
        "a-b.c-d.co.uk",
        "1.example",
        "_x.example",
    ]
    .iter()
    .cycle()
    .take(60)
    .enumerate()
    {
        urls.push(format!("https://v4-8-8-{}-8.{name}/", number + 1));
    }
    urls
}

#[test]
fn public_destinations_are_not_refused() {
    let (policy, urls) = (policy(), public());
    assert!(urls.len() >= 200, "only {}", urls.len());
    let refused: Vec<&String> = urls.iter().filter(|url| is_refused(&policy, url)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[tokio::test]
async fn name_that_changes_its_answer_never_gets_a_second_look() {
    /// Public when it is looked at first, inside whenever it is again.
    struct Rebinding(std::sync::atomic::AtomicU32, IpAddr);
    impl Resolve for Rebinding {
        fn resolve<'a>(&'a self, _: &'a str, _: Sources) -> BoxFuture<'a, Answer> {
            let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let answer = if asked == 0 { "127.0.0.1".parse().unwrap() } else { self.1 };
            Box::pin(std::future::ready(Ok(vec![answer])))
        }
    }
    for range in IPV4_REFUSED.iter().chain(IPV6_REFUSED) {
        for inside in samples(range) {
            // What is opened stands for a public address, so that there is a connection.
            let server =
                Server::script("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
            let dns = Arc::new(Rebinding(Default::default(), inside));
            struct Shared(Arc<Rebinding>);
            impl Resolve for Shared {
                fn resolve<'a>(&'a self, name: &'a str, sources: Sources) -> BoxFuture<'a, Answer> {
                    self.0.resolve(name, sources)
                }
            }
            let egress = egress_with(&[&server.entry()], Shared(dns.clone()), |_| {});
            let mut guest = Guest::new(&egress);
            let url = format!("http://rebinding.example:{}/", server.address.port());
            assert_eq!(soon(guest.get(&url)).await.unwrap().status(), 200);
            assert_eq!(
                dns.0.load(std::sync::atomic::Ordering::SeqCst),
                1,
                "checked and connected by one look"
            );
            if decide(inside).is_err() && inside != server.address.ip() {
                let again = soon(guest.fetch(request("GET", &url, ""))).await;
                guest.assert_failed(again, "destination-ip-prohibited");
            }
            assert_eq!(server.accepted(), 1);
        }
    }
}

#[test]
fn the_table_agrees_with_another_ones() {
    // `addresses.py` asked Python's `ipaddress`, whose tables are its own.
    let other: std::collections::BTreeMap<IpAddr, bool> =
        serde_json::from_str(include_str!("addresses.json")).unwrap();
    assert!(other.len() > 3000, "only {}", other.len());
    let mut stricter = std::collections::BTreeSet::new();
    for (address, is_global) in other {
        match (decide(address), is_global) {
            (Ok(()), false) => panic!("{address} is let out, and is not global"),
            (Err(refusal), true) => stricter.insert(refusal.source),
            (Ok(()), true) | (Err(_), false) => false,
        };
    }
    // What is refused here and global there, each with the reason for it.
    insta::assert_snapshot!(stricter.into_iter().collect::<Vec<_>>().join("\n"));
}
