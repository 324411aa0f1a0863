//! The examples in Python, deployed as they are, against stand-ins for their services.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidegate::engine::Source;
use tidegate::run::FaultKind;

use crate::support::python;
use crate::support::python_host::{Host, Ran, Server, changed, request, tick};

/// One example with its settings, which it keeps from run to run.
struct Deployed {
    host: Arc<Host>,
    source: Arc<Source>,
    settings: Map<String, Value>,
}

impl Deployed {
    async fn new(host: &Arc<Host>, name: &str, settings: Value) -> Self {
        let text = read(&format!("{name}/workflow.py"));
        let source = host.source("workflow.py", &text).await;
        let source = source.unwrap_or_else(|found| panic!("{name}: {found:?}"));
        let Value::Object(settings) = settings else { panic!("settings are an object") };
        Self { host: host.clone(), source, settings }
    }

    async fn catch(&mut self, given: &Value) -> Ran {
        let ran = self.host.run(request(given), Some(self.source.clone()), &self.settings, None).await;
        self.keep(ran)
    }

    async fn pull(&mut self) -> Ran {
        let ran = self.host.run(tick(), Some(self.source.clone()), &self.settings, None).await;
        self.keep(ran)
    }

    /// Saves settings as the host does: early ones always, the others after success.
    fn keep(&mut self, ran: Ran) -> Ran {
        let mut saved = ran.commits.clone();
        if let Ok(outcome) = &ran.report.end {
            saved.push(changed(&outcome.changes));
        }
        for (name, value) in saved.iter().flat_map(|changes| changes.as_object().into_iter().flatten()) {
            match value {
                Value::Null => self.settings.remove(name),
                value => self.settings.insert(name.clone(), value.clone()),
            };
        }
        ran
    }
}

fn read(path: &str) -> String {
    let path = python::repository().join("examples").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sample(name: &str) -> Value {
    serde_json::from_str(&read(&format!("{name}/request.json"))).unwrap()
}

fn value(ran: &Ran) -> Value {
    let outcome = ran.report.end.as_ref().unwrap_or_else(|fault| panic!("{fault:?}"));
    serde_json::from_str(outcome.value.as_deref().unwrap_or("null")).unwrap()
}

fn reply(ran: &Ran) -> (u16, Value) {
    let outcome = ran.report.end.as_ref().unwrap_or_else(|fault| panic!("{fault:?}"));
    let reply = outcome.reply.as_ref().expect("a reply");
    (reply.status, serde_json::from_slice(reply.body.as_ref().expect("a body")).unwrap())
}

fn failure(ran: &Ran) -> &str {
    let fault = ran.report.end.as_ref().expect_err("it is to fail");
    assert_eq!(fault.kind, FaultKind::Exception, "{fault:?}");
    &fault.message
}

/// The stand-ins of `tests/python/services.py`.
struct Services(Server);

impl Services {
    fn start() -> Self {
        Self(Server::start("services.py", &[]))
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.0.port)
    }

    fn state(&self) -> Value {
        let mut got = ureq::get(self.url("/state")).call().unwrap();
        serde_json::from_str(&got.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn fail(&self, faults: Value) {
        ureq::post(self.url("/faults")).send(faults.to_string()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_sent_when_a_profile_is_indexed() {
    let services = Services::start();
    let host = Arc::new(Host::new("").await);
    let settings = json!({
        "API_KEY": "hr-key", "USER_EMAIL": "ann@corp.example", "API_URL": services.url("/v1/"),
        "MESSAGE_API_KEY": "sms-key", "MESSAGE_URL": services.url("/sms"),
    });
    let mut sms = Deployed::new(&host, "sms-on-profile", settings).await;
    let webhook = sample("sms-on-profile");

    let sent = sms.catch(&webhook).await;
    assert_eq!(reply(&sent), (201, json!({ "message": "Message sent" })));
    let urls: Vec<_> = sent.report.exchanges.iter().map(|exchange| exchange.url.as_str()).collect();
    assert_eq!(urls.len(), 2, "{urls:?}");
    assert_eq!(services.state()["messages"], json!(["First1 Last1 just applied! Call +33000000001."]));

    for (faults, says) in [
        (json!({ "sms": ["500"] }), "the messaging service answered 500"),
        (json!({ "sms": ["429"] }), "the messaging service answered 429"),
        (json!({ "hr": ["500"] }), "HrFlow.ai has no profile p-1: on demand"),
        (json!({ "hr": ["nonsense"] }), "JSONDecodeError"),
        (json!({ "sms": ["reset"] }), "Remote end closed connection without response"),
    ] {
        services.fail(faults.clone());
        let failed = sms.catch(&webhook).await;
        assert!(failure(&failed).contains(says), "{faults}: {}", failure(&failed));
    }
    // Nobody answers: the deadline ends it.
    services.fail(json!({ "sms": ["slow"] }));
    let source = Some(sms.source.clone());
    let ran = host.run(request(&webhook), source, &sms.settings, Some(1500)).await;
    assert_eq!(ran.report.end.expect_err("it is to fail").kind, FaultKind::Deadline);
    assert_eq!(services.state()["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_kept_after_each_page_that_was_read() {
    let services = Services::start();
    let host = Arc::new(Host::new("").await);
    let settings = json!({ "FEED_URL": services.url("/feed") });
    let mut feed = Deployed::new(&host, "cursor", settings).await;
    for (fault, says) in
        [("500", "500 Server Error"), ("nonsense", "JSONDecodeError"), ("429", "429 Client Error")]
    {
        services.fail(json!({ "feed": [fault] }));
        let failed = feed.pull().await;
        assert!(failure(&failed).contains(says), "{fault}: {}", failure(&failed));
    }
    services.fail(json!({ "feed": ["", "500"] }));
    let broken = feed.pull().await;
    assert!(failure(&broken).contains("500 Server Error"), "{}", failure(&broken));
    assert_eq!(feed.settings["CURSOR"], "i-2", "the page that was read");
    let rest = feed.pull().await;
    assert_eq!(value(&rest), json!({ "read": 3, "cursor": "i-5" }));
    let log: Vec<_> = rest.report.log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(log, ["i-3: Item 3", "i-4: Item 4", "i-5: Item 5"]);
    assert_eq!(value(&feed.pull().await), json!({ "read": 0, "cursor": "i-5" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_broken_anywhere_loses_and_repeats_nothing() {
    let services = Services::start();
    let host = Arc::new(Host::new("").await);
    let settings = json!({
        "API_KEY": "hr-key", "USER_EMAIL": "ann@corp.example", "API_URL": services.url("/v1/"),
        "SOURCE_KEY": "s-1", "ATS_API_KEY": "ats-key", "ATS_URL": services.url("/profiles"),
    });
    let mut sync = Deployed::new(&host, "sync-to-ats", settings).await;

    // Each of these ends a run somewhere else; the next one goes on from there. The first
    // request searches, or reads the first of 30 profiles when a batch is under way. The
    // host asks again where a connection that it kept is reset: once, hence two of them.
    for faults in [
        json!({ "hr": ["500"] }),
        json!({ "hr": ["", "reset", "reset"] }),
        json!({ "ats": ["500"] }),
        json!({ "ats": ["lost"] }),
        json!({ "hr": vec![""; 40].into_iter().chain(["500"]).collect::<Vec<_>>() }),
        json!({ "hr": vec![""; 45].into_iter().chain(["lost"]).collect::<Vec<_>>() }),
    ] {
        services.fail(faults.clone());
        let broken = sync.pull().await;
        assert!(broken.report.end.is_err(), "{faults} did not break it");
    }
    assert_eq!(value(&sync.pull().await), json!({ "synced": 30 }));
    assert_eq!(value(&sync.pull().await), json!({ "synced": 5 }));
    assert_eq!(value(&sync.pull().await), json!({ "synced": 0 }));
    assert!(!sync.settings.contains_key("BATCH"), "{:?}", sync.settings);

    let state = services.state();
    let mut arrived: Vec<_> =
        state["people"].as_array().unwrap().iter().map(|one| one["reference"].as_str().unwrap()).collect();
    assert_eq!(arrived.len(), 35, "each exactly once");
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived.len(), 35);
    assert_eq!(state["batches"].as_array().unwrap().len(), 2);
    for (key, profile) in state["profiles"].as_object().unwrap() {
        let tags = profile["tags"].as_array().unwrap();
        let synced = tags.iter().filter(|tag| tag["name"] == "sync").count();
        assert_eq!(synced, 1, "{key}: {tags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_examples_run_with_their_samples() {
    let host = Arc::new(Host::new("").await);
    let settings = |name: &str| serde_json::from_str(&read(&format!("{name}/settings.json"))).unwrap();

    let mut applications = Deployed::new(&host, "python-catch", settings("python-catch")).await;
    for number in 1..3 {
        let taken = applications.catch(&sample("python-catch")).await;
        assert_eq!(reply(&taken), (201, json!({ "number": number, "thanks": "Ada Martin" })));
    }
    assert_eq!(applications.settings["RECEIVED"], json!(2));

    let mut reminders = Deployed::new(&host, "python-pull", settings("python-pull")).await;
    assert_eq!(value(&reminders.pull().await), json!({ "reminders": ["i-2"] }));
    assert_eq!(value(&reminders.pull().await), json!({ "reminders": [] }));

    let mut webhook = Deployed::new(&host, "signed-webhook", settings("signed-webhook")).await;
    let mut signed = sample("signed-webhook");
    assert_eq!(reply(&webhook.catch(&signed).await).0, 200);
    signed["headers"]["http-hrflow-signature"] = "0".repeat(64).into();
    assert_eq!(reply(&webhook.catch(&signed).await).0, 401);
}
