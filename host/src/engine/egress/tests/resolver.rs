//! The system's resolver against a name server of the test's own.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::server::Server;
use super::{Guest, egress_with, soon};
use crate::engine::egress::{Detail, Resolve, Sources, SystemResolver};

struct NameServer {
    resolver: Arc<SystemResolver>,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// What the server knows: names, types, data, response codes.
fn answer(asked: &str, record_type: RecordType) -> Result<Vec<Record>, ResponseCode> {
    let record = |owner: &str, data: &str| {
        let address: IpAddr = data.parse().unwrap();
        Record::from_rdata(name(owner), 60, RData::from(address))
    };
    Ok(match (asked, record_type) {
        ("both.example.", RecordType::A) => vec![record(asked, "8.8.8.8"), record(asked, "10.0.0.1")],
        ("both.example.", RecordType::AAAA) => vec![record(asked, "2606:4700::1111")],
        ("alias.example.", RecordType::A) => {
            let alias = RData::CNAME(CNAME(name("inside.example.")));
            vec![Record::from_rdata(name(asked), 60, alias), record("inside.example.", "192.168.1.1")]
        }
        // A chain of aliases that nobody may remember, to this machine.
        ("chain.example.", RecordType::A) => {
            let alias =
                |from: &str, to: &str| Record::from_rdata(name(from), 0, RData::CNAME(CNAME(name(to))));
            let inside: IpAddr = [127, 0, 0, 1].into();
            vec![
                alias(asked, "one.public.example."),
                alias("one.public.example.", "two.public.example."),
                alias("two.public.example.", "db.corp.example."),
                Record::from_rdata(name("db.corp.example."), 0, RData::from(inside)),
            ]
        }
        ("mixed.example.", RecordType::A) => vec![record(asked, "8.8.8.8")],
        ("mixed.example.", RecordType::AAAA) => vec![record(asked, "::1")],
        ("mapped.example.", RecordType::AAAA) => vec![record(asked, "::ffff:127.0.0.1")],
        ("nat64.example.", RecordType::AAAA) => vec![record(asked, "64:ff9b::7f00:1")],
        ("chain.example." | "mapped.example." | "nat64.example.", _) => Vec::new(),
        ("empty.example.", _) | ("alias.example.", _) => Vec::new(),
        ("broken.example.", _) => return Err(ResponseCode::ServFail),
        ("refused.example.", _) => return Err(ResponseCode::Refused),
        ("crm.corp.example.", RecordType::A) => vec![record(asked, "10.9.9.9")],
        _ => return Err(ResponseCode::NXDomain),
    })
}

async fn name_server() -> NameServer {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut server = NameServerConfig::udp([127, 0, 0, 1].into());
    server.connections[0].port = socket.local_addr().unwrap().port();
    let config = ResolverConfig::from_parts(None, vec![name("corp.example.")], vec![server]);
    let mut options = ResolverOpts::default();
    options.attempts = 0;
    options.timeout = Duration::from_millis(200);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let asked = question.name().to_ascii();
            seen.lock().unwrap().push(asked.clone());
            if asked == "silent.example." {
                continue;
            }
            let mut message = Message::response(query.metadata.id, OpCode::Query);
            message.add_query(question.clone());
            match answer(&asked, question.query_type()) {
                Ok(records) => message.insert_answers(records),
                Err(code) => message.metadata.response_code = code,
            }
            socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    NameServer { resolver: Arc::new(SystemResolver::with_config(&config, options).unwrap()), asked, task }
}

#[tokio::test]
async fn all_addresses_of_a_name_are_found() {
    let server = name_server().await;
    for (asked, found) in [
        ("both.example", &["8.8.8.8", "10.0.0.1", "2606:4700::1111"][..]),
        ("alias.example", &["192.168.1.1"][..]),
    ] {
        let addresses = soon(server.resolver.resolve(asked, Sources::Dns)).await.unwrap();
        let found: Vec<IpAddr> = found.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(addresses, found, "{asked}");
    }
}

#[tokio::test]
async fn failures_name_the_response_code() {
    let server = name_server().await;
    for (asked, word, rcode) in [
        ("none.example", "dns-error", Some("NXDOMAIN")),
        ("empty.example", "dns-error", Some("NODATA")),
        ("broken.example", "dns-error", Some("SERVFAIL")),
        ("refused.example", "dns-error", Some("REFUSED")),
        ("silent.example", "dns-timeout", None),
    ] {
        let failure = soon(server.resolver.resolve(asked, Sources::Dns)).await.unwrap_err();
        let detail = rcode.map_or(Detail::None, |rcode| Detail::Rcode(rcode.to_owned()));
        assert_eq!((failure.code.word(), failure.detail), (word, detail), "{asked}");
    }
}

#[tokio::test]
async fn search_domains_count_for_allowed_names_only() {
    let server = name_server().await;
    let found = soon(server.resolver.resolve("crm", Sources::System)).await.unwrap();
    assert_eq!(found, ["10.9.9.9".parse::<IpAddr>().unwrap()]);
    server.asked.lock().unwrap().clear();
    assert!(soon(server.resolver.resolve("crm", Sources::Dns)).await.is_err());
    assert!(server.asked.lock().unwrap().iter().all(|asked| asked == "crm."));
    assert!(soon(server.resolver.resolve("a.crm", Sources::Dns)).await.is_err());
    assert!(!server.asked.lock().unwrap().iter().any(|asked| asked.contains("corp")));
}

#[tokio::test]
async fn localhost_is_never_asked_for() {
    let server = name_server().await;
    for asked in ["localhost", "a.localhost"] {
        let found = server.resolver.resolve(asked, Sources::System).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

struct Through(Arc<SystemResolver>);

impl Resolve for Through {
    fn resolve<'a>(
        &'a self,
        name: &'a str,
        sources: Sources,
    ) -> futures::future::BoxFuture<'a, Result<Vec<IpAddr>, crate::engine::egress::Failure>> {
        self.0.resolve(name, sources)
    }
}

#[tokio::test]
async fn answers_that_lead_inside_are_refused_before_anybody_connects() {
    let server = name_server().await;
    let inside = Server::raw(|_, _| async {}).await;
    let egress = egress_with(&[], Through(server.resolver.clone()), |_| {});
    for asked in ["chain", "mixed", "mapped", "nat64", "alias", "both"] {
        let mut guest = Guest::new(&egress);
        let result = soon(guest.get(&format!("http://{asked}.example:{}/", inside.address.port()))).await;
        guest.assert_failed(result, "destination-ip-prohibited");
    }
    assert!(server.asked.lock().unwrap().iter().any(|asked| asked == "chain.example."));
    let opened = egress.counters().connections_opened.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((inside.accepted(), opened), (0, 0));
}
