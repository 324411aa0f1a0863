//! What a host acknowledged, and whether it is there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::support::host::Host;
use crate::support::http::{Connection, Reply, Request};
use crate::support::wait;

/// What a client noted.
#[derive(Debug)]
pub(super) enum Note {
    /// A call was answered; its run.
    Called(String),
    /// A call was accepted for later; its run.
    Accepted(String),
    /// A call with this key is about to be made.
    Keyed(String),
    /// It was answered; key and run.
    Answered(String, String),
    /// A setting is about to be set to this number.
    Setting(u64),
    /// It is.
    Set(u64),
    /// A workflow is there.
    Created(String),
    /// It is about to be archived.
    Archiving(String),
    /// It is not there any more.
    Archived(String),
    /// A version is active.
    Deployed(u64),
    /// Something else came back.
    Refused(Reply),
}

/// Everything that was acknowledged over many ends of a host.
#[derive(Default)]
pub(super) struct Ledger {
    is_power_cut: bool,
    /// What can come later is refused.
    is_disk_full: bool,
    called: Vec<String>,
    accepted: Vec<String>,
    /// By key: how many calls without one had been answered before, and its run.
    keyed: BTreeMap<String, (usize, Option<String>)>,
    /// Calls without a key before here are on the disk.
    called_durably: usize,
    /// How many of the calls, the accepted and the keyed were looked for already.
    checked: (usize, usize),
    pending_keys: Vec<String>,
    setting: (u64, u64),
    workflows: BTreeSet<String>,
    archived: BTreeSet<String>,
    versions: BTreeSet<u64>,
    refused: Vec<Reply>,
}

impl Ledger {
    /// With `is_power_cut`, calls count only when something durable was answered after them:
    /// the records of those whose callers wait reach the disk a moment later.
    pub(super) fn new(is_power_cut: bool) -> Self {
        Self { is_power_cut, ..Self::default() }
    }

    /// A host may refuse what it has no room for.
    pub(super) fn of_a_full_disk() -> Self {
        Self { is_disk_full: true, ..Self::default() }
    }

    pub(super) fn take(&mut self, note: Note) {
        match note {
            Note::Called(run) => self.called.push(run),
            Note::Accepted(run) => self.accepted.push(run),
            Note::Keyed(key) => {
                self.pending_keys.push(key.clone());
                self.keyed.insert(key, (self.called.len(), None));
            }
            Note::Answered(key, run) => {
                let keyed = self.keyed.get_mut(&key).expect("it was noted before");
                keyed.1 = Some(run);
                // Both records are in one file, and this one is on the disk.
                self.called_durably = self.called_durably.max(keyed.0);
            }
            Note::Setting(value) => self.setting.1 = value,
            Note::Set(value) => self.setting.0 = value,
            Note::Created(name) => drop(self.workflows.insert(name)),
            Note::Archiving(name) => drop(self.workflows.remove(&name)),
            Note::Archived(name) => drop(self.archived.insert(name)),
            Note::Deployed(version) => drop(self.versions.insert(version)),
            Note::Refused(reply) => self.refused.push(reply),
        }
    }

    /// What was acknowledged since the last check is there.
    pub(super) fn check_new(&mut self, host: &Host) {
        // A host whose disk is gone or full says so; nothing else refuses anything.
        let (is_cut, is_full) = (self.is_power_cut, self.is_disk_full);
        let is_right = |reply: &Reply| match reply.status {
            200 => is_full && reply.header("tidegate-recorded") == Some("no"),
            503 => is_full && matches!(&*reply.field("code"), "draining" | "interrupted" | "stopping"),
            507 => is_full,
            _ => is_cut && reply.status >= 500,
        };
        let wrong: Vec<_> = self.refused.drain(..).filter(|reply| !is_right(reply)).collect();
        assert!(wrong.is_empty(), "refused: {wrong:?}");
        if self.is_power_cut {
            self.called.truncate(self.called_durably);
            self.keyed.values_mut().for_each(|keyed| keyed.0 = keyed.0.min(self.called_durably));
        }
        let mut api = Connection::open(host.api);
        for run in &self.called[self.checked.0..] {
            let record = show(host, &mut api, run).unwrap_or_else(|| panic!("the run {run} is lost"));
            assert_eq!(record["status"], "succeeded", "{record}");
        }
        for run in &self.accepted[self.checked.1..] {
            assert!(show(host, &mut api, run).is_some(), "the event {run} is lost");
        }
        self.checked = (self.called.len(), self.accepted.len());
        self.check_keys(host);
        self.check_metadata(host);
    }

    /// A call whose answer never came is made again: it ran once, or never.
    fn check_keys(&mut self, host: &Host) {
        let path = host.client().path("once").expect("the host is there");
        for key in std::mem::take(&mut self.pending_keys) {
            let request = Request::new("POST", &path).header("idempotency-key", &key);
            let request = request.json(&serde_json::json!({ "a": 1 }));
            let reply = wait::for_some("an answer to a key", || {
                Some(request.clone().send(host.catch)).filter(|reply| reply.status != 409)
            });
            let run = reply.header("tidegate-run").map(ToOwned::to_owned);
            let noted = &mut self.keyed.get_mut(&key).expect("it was noted before").1;
            match noted {
                Some(noted) => {
                    assert_eq!(
                        (reply.status, reply.header("tidegate-repeated")),
                        (200, Some("true")),
                        "{key}"
                    );
                    assert_eq!(run.as_ref(), Some(&*noted), "{key} ran again");
                }
                None => {
                    // Without room the reply that nobody was promised is not kept.
                    let is_known = reply.status == 200
                        || reply.field("code") == "interrupted"
                        || self.is_disk_full && reply.field("code") == "result-gone";
                    assert!(is_known, "{key}: {reply:?}");
                    *noted = run;
                }
            }
        }
    }

    fn check_metadata(&mut self, host: &Host) {
        let settings = host.get("/api/v1/workflows/sync/settings").expect(200).json();
        let number = settings["settings"][0]["value"].as_u64().unwrap_or(0);
        let (set, sent) = self.setting;
        assert!((set..=sent.max(set)).contains(&number), "{number} is not in {set} to {sent}");
        let list = host.get("/api/v1/workflows").expect(200).json();
        let names: Vec<_> =
            list["workflows"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        let there: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(there.len(), names.len(), "a workflow is there twice");
        assert!(self.workflows.is_subset(&there), "{:?}", self.workflows.difference(&there));
        assert!(self.archived.is_disjoint(&there), "{:?}", self.archived.intersection(&there));
        let list = host.get("/api/v1/workflows/deployed/versions").expect(200).json();
        let versions: Vec<_> =
            list["versions"].as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect();
        let there: BTreeSet<u64> = versions.iter().copied().collect();
        assert_eq!(there.len(), versions.len(), "a version is there twice");
        assert!(self.versions.is_subset(&there), "{:?}", self.versions.difference(&there));
        assert_eq!(there.last().copied(), Some(there.len() as u64), "a number was left out");
    }

    /// Fails with the runs that nobody who names their key is told of, and with their twins.
    fn tell_strays(&self, host: &Host, runs: &[String]) {
        let known: BTreeSet<&String> = self.keyed.values().filter_map(|(_, run)| run.as_ref()).collect();
        let mut api = Connection::open(host.api);
        let mut record = |run: &String| show(host, &mut api, run).expect("it is in the list");
        let all: Vec<_> = runs.iter().map(|run| (run, record(run))).collect();
        // The record of a call that the host's end cut has no request.
        let key = |record: &Value| {
            let headers = record["request"]["headers"].as_array().into_iter().flatten();
            headers.into_iter().find(|header| header[0] == "idempotency-key").map(|header| header[1].clone())
        };
        let (strays, others): (Vec<_>, Vec<_>) = all.iter().partition(|(run, _)| !known.contains(run));
        let is_twin = |record: &Value| {
            key(record).is_some_and(|own| strays.iter().any(|(_, stray)| key(stray).as_ref() == Some(&own)))
        };
        let twins: Vec<_> = others.into_iter().filter(|(_, record)| is_twin(record)).collect();
        panic!("{} runs of {} keys: {strays:#?}, beside {twins:#?}", runs.len(), self.keyed.len());
    }

    /// Everything is there once, and over.
    pub(super) fn check_all(&mut self, host: &Host, ends: usize) {
        wait::until("an empty queue", || {
            let metrics = host.get("/metrics").expect(200).text();
            let left = |name: &str| {
                let line = metrics.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_else(|| panic!("no {name}")).trim().parse::<u64>().unwrap()
            };
            left("tidegate_queue_waiting ") + left("tidegate_queue_running ") == 0
        });
        // So that the last tick is over, too.
        host.tell("PATCH", "/api/v1/workflows/pull", &serde_json::json!({ "state": "paused" })).expect(200);
        wait::until("the last tick's end", || ticks(host).iter().all(|tick| tick["state"] != "claimed"));
        let ticks = ticks(host);
        check_ticks(&ticks);
        let mut runs: BTreeMap<String, String> = BTreeMap::new();
        let mut keyed: Vec<String> = Vec::new();
        for run in pages(host, "/api/v1/runs", "runs") {
            let text = |name: &str| run[name].as_str().unwrap_or_default().to_owned();
            if text("workflow") == "once" {
                keyed.push(text("id"));
            }
            // A run that changes settings fails where there is no room for them, and says so.
            let has_no_room = self.is_disk_full
                && text("fault") == "host"
                && text("message").starts_with("there is no room on the host's disk for the settings");
            let is_right = matches!(&*text("status"), "succeeded" | "interrupted" | "cancelled");
            assert!(is_right || has_no_room, "{run}");
            assert!(runs.insert(text("id"), text("status")).is_none(), "{run} is there twice");
        }
        let keyed_runs = self.keyed.values().filter_map(|(_, run)| run.as_ref());
        let all = self.called.iter().chain(&self.accepted).chain(keyed_runs);
        let lost: Vec<_> = all.filter(|run| !runs.contains_key(*run)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        if keyed.len() > self.keyed.len() {
            self.tell_strays(host, &keyed);
        }
        // One that did not run is in the ledger; its record comes after it. Without room runs
        // are not recorded.
        let ran = ticks
            .iter()
            .filter(|tick| matches!(tick["state"].as_str().unwrap(), "ran" | "backfilled" | "interrupted"));
        let status = |tick: &Value| runs.get(tick["run"].as_str().unwrap());
        let (recorded, unrecorded): (Vec<_>, Vec<_>) = ran.partition(|tick| status(tick).is_some());
        assert!(self.is_disk_full || unrecorded.is_empty(), "without a record: {unrecorded:?}");
        let is_cut = |tick: &Value| tick["state"] == "interrupted";
        let otherwise: Vec<_> = recorded
            .iter()
            .filter(|tick| is_cut(tick) != (status(tick).is_some_and(|status| status == "interrupted")))
            .collect();
        assert!(otherwise.is_empty(), "not as their records say: {otherwise:?}");
        let health = host.get("/api/v1/health").expect(200).json();
        assert_eq!(health["store"]["stopped"], Value::Null);
        assert!(self.is_power_cut || health["store"]["warnings"] == serde_json::json!([]), "{health}");
        assert!(!self.has_too_little(ends), "the clients came to too little: {:?}", self.counts());
    }

    fn counts(&self) -> [usize; 4] {
        [self.called.len(), self.accepted.len(), self.keyed.len(), self.versions.len()]
    }

    /// Whether the clients came to less than so many ends of their host are worth.
    pub(super) fn has_too_little(&self, ends: usize) -> bool {
        self.counts().iter().any(|count| *count <= ends / 2)
    }
}

/// Each instant has one entry, and none is left out.
fn check_ticks(ticks: &[Value]) {
    let due = |tick: &Value| tick["due"].as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond();
    for pair in ticks.windows(2) {
        assert_eq!(due(&pair[0]) - due(&pair[1]), 1000, "{pair:#?}");
    }
}

/// The ledger of the pull's schedule, newest first.
pub(super) fn ticks(host: &Host) -> Vec<Value> {
    pages(host, "/api/v1/workflows/pull/ticks", "ticks")
}

/// A run's record; `None` when the host does not know it.
fn show(host: &Host, connection: &mut Connection, run: &str) -> Option<Value> {
    let request = host.request("GET", &format!("/api/v1/runs/{run}"));
    let reply = connection.send(request.bytes()).reply().expect("the host is there");
    (reply.status != 404).then(|| reply.expect(200).json())
}

/// All pages of a listing.
fn pages(host: &Host, path: &str, name: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = host.get(&format!("{path}?limit=500{cursor}")).expect(200).json();
        all.extend(page[name].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}
