//! The end of the process and of the machine at any moment.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;

use super::logfile::Purpose;
use super::rows::Selection;
use super::samples::{end, event, input, log, run, set, tick, workflow};
use super::{
    Claim, Durability, EmbeddedOptions, EmbeddedStore, EventQueue, EventState, QueueEntry, Retention,
    RunFilter, Settlement, Store, TickState, WorkflowRetention,
};
use crate::run::{Run, RunId, Status};
use crate::workflow::{SettingWriter, WorkflowId};

/// Copies a folder as it is at this moment: what a crash of the process leaves.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

pub(super) fn open(path: &Path, options: EmbeddedOptions) -> Arc<EmbeddedStore> {
    tokio::task::block_in_place(|| EmbeddedStore::open(path, options)).unwrap()
}

/// What a store acknowledged.
#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) runs: Vec<RunId>,
    pub(super) workflows: BTreeSet<WorkflowId>,
    pub(super) archived: BTreeSet<WorkflowId>,
    /// The last number that was committed as the setting `NUMBER`.
    pub(super) settings: BTreeMap<WorkflowId, u64>,
    pub(super) claims: BTreeSet<(WorkflowId, Timestamp)>,
    pub(super) settled: BTreeSet<(WorkflowId, Timestamp)>,
    pub(super) events: Vec<RunId>,
    /// Events that were tried once and wait for another attempt.
    pub(super) retried: BTreeSet<RunId>,
    /// Events that are over.
    pub(super) ended: BTreeSet<RunId>,
    /// Runs that were only written are not counted on.
    pub(super) is_power_cut: bool,
}

impl Acknowledged {
    /// Everything is there, once; `runs_from` is the first run that is read in full.
    pub(super) async fn check(&self, store: &EmbeddedStore, runs_from: usize) {
        let selection = Selection::new(&RunFilter::default(), None, Arc::default());
        let rows = store.shared.segments.select(&selection, usize::MAX).unwrap();
        let stored: HashSet<RunId> = rows.iter().map(|(_, row)| row.id).collect();
        let lost: Vec<_> = self.runs.iter().filter(|id| !stored.contains(id)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        for id in &self.runs[runs_from..] {
            assert_eq!(store.run(*id).await.unwrap().unwrap().id, *id);
            assert_eq!(store.run_log(*id).await.unwrap().unwrap(), log(2).to_vec());
        }
        let mut verified = store.verify().await.unwrap();
        // Of what was never flushed a power cut may leave the end and not the middle.
        verified.problems.retain(|line| !self.is_power_cut || !line.ends_with(" damaged"));
        assert_eq!(verified.problems, [] as [String; 0]);
        assert_eq!(verified.runs_checked, stored.len() as u64, "a run is there twice");

        let workflows: BTreeSet<_> =
            store.workflows().await.unwrap().iter().map(|workflow| workflow.id).collect();
        assert!(self.workflows.is_subset(&workflows));
        assert!(self.archived.is_disjoint(&workflows));
        for (workflow, number) in &self.settings {
            let settings = store.settings(*workflow).await.unwrap();
            assert!(settings.entries["NUMBER"].value.expose().parse::<u64>().unwrap() >= *number);
        }
        for (workflow, due) in &self.claims {
            let claim = store.claim(tick(*workflow, "s", *due)).await.unwrap();
            assert_eq!(claim, Claim::Taken, "{due}");
        }
        let unsettled = store.unsettled_ticks().await.unwrap();
        let unsettled: BTreeSet<_> = unsettled.iter().map(|tick| (tick.workflow, tick.due)).collect();
        assert!(self.settled.is_disjoint(&unsettled));
        self.check_events(store).await;
    }

    /// Every event is there, with its input while it needs it, and none is where it was
    /// before.
    async fn check_events(&self, store: &EmbeddedStore) {
        for id in &self.events {
            let entry = store.event(*id).await.unwrap().unwrap_or_else(|| panic!("event {id} is lost"));
            let is_over = matches!(entry.state, EventState::Ended { .. });
            assert!(is_over || !self.ended.contains(id), "event {id} came back: {:?}", entry.state);
            assert!(entry.attempt >= 2 || !self.retried.contains(id), "the retry of {id} is lost");
            if !is_over {
                assert_eq!(store.event_input(*id).await.unwrap(), Some(input(&id.to_string())));
            }
        }
    }

    /// Takes a line that the child printed.
    fn take(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["written", _] if self.is_power_cut => {}
            ["run" | "written", id] => self.runs.push(id.parse().unwrap()),
            ["workflow", id] => drop(self.workflows.insert(id.parse().unwrap())),
            // From here on it may be there or not.
            ["archiving", id] => drop(self.workflows.remove(&id.parse().unwrap())),
            ["archived", id] => drop(self.archived.insert(id.parse().unwrap())),
            ["setting", id, number] => {
                self.settings.insert(id.parse().unwrap(), number.parse().unwrap());
            }
            ["claim", id, due] => drop(self.claims.insert((id.parse().unwrap(), due.parse().unwrap()))),
            ["event", id] => self.events.push(id.parse().unwrap()),
            ["retry", id] => drop(self.retried.insert(id.parse().unwrap())),
            ["end", id] => drop(self.ended.insert(id.parse().unwrap())),
            ["settle", id, due] => drop(self.settled.insert((id.parse().unwrap(), due.parse().unwrap()))),
            _ => {}
        }
    }
}

// ---- kill -9 ------------------------------------------------------------------------

const FOLDER_VARIABLE: &str = "TIDEGATE_TEST_KILL_FOLDER";
/// Set by `make soak` to more than the tests' number of cycles.
const CYCLES_VARIABLE: &str = "TIDEGATE_SOAK_CYCLES";
const CYCLES: usize = 100;
/// The longest that a child may take for what it is asked for: a second on a machine with
/// nothing else to do.
const CHILD_TIME_MAX: Duration = Duration::from_secs(900);
/// Cycles after which a new folder is begun: checking one reads all of it.
pub(super) const FOLDER_CYCLES: usize = 50;

/// How often something is done: the tests' number, or what `make soak` sets.
pub(super) fn soak(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().map_or(usual, |text| text.parse().unwrap())
}

/// Everything that rotates does so often.
pub(super) fn restless() -> EmbeddedOptions {
    EmbeddedOptions {
        flush: Duration::from_millis(5),
        segment_rows: 100,
        checkpoint: Duration::from_millis(20),
        ..EmbeddedOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let mut left = soak(CYCLES_VARIABLE, CYCLES);
    while left > 0 {
        let cycles = left.min(FOLDER_CYCLES);
        kill_and_check(cycles).await;
        left -= cycles;
        progress(left, "kill -9 cycles of the store");
    }
}

/// Says how far a soak is.
#[allow(clippy::print_stderr, reason = "a soak goes on for hours")]
pub(super) fn progress(left: usize, what: &str) {
    if left > 0 {
        eprintln!("{left} {what} are left");
    }
}

async fn kill_and_check(cycles: usize) {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let mut acknowledged = Acknowledged::default();
    for cycle in 0..cycles {
        let runs_before = acknowledged.runs.len();
        tokio::task::block_in_place(|| run_and_kill(&data, &mut acknowledged));
        // Sometimes the next child opens what a kill left, unchecked.
        if cycle % 5 == 4 || cycle + 1 == cycles {
            let store = open(&data, restless());
            acknowledged.check(&store, runs_before).await;
            store.close().await.unwrap();
        }
    }
    let Acknowledged { runs, workflows, settings, claims, ended, .. } = acknowledged;
    let least = [runs.len(), workflows.len(), settings.len(), claims.len(), ended.len()].into_iter().min();
    assert!(least > Some(cycles / 2), "the children came to too little");
}

/// Lets a child work on the folder, and kills it in the middle.
fn run_and_kill(data: &Path, acknowledged: &mut Acknowledged) {
    let mut load = Load::start(data);
    // The moment is random in what the child has done, not in time.
    load.take(rand::rng().random_range(1..600), acknowledged);
    load.kill(acknowledged);
}

/// A child that works on a folder until it is killed.
pub(super) struct Load {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Load {
    pub(super) fn start(data: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::crash_tests::child_of_the_kill_test", "--nocapture"])
            .env(FOLDER_VARIABLE, data)
            // sled starts the program `sync` when it opens: it flushes the whole machine.
            .env("PATH", "")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits until it says so many lines.
    pub(super) fn take(&mut self, lines: u32, acknowledged: &mut Acknowledged) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let (_done, is_done) = std::sync::mpsc::channel::<()>();
        // A child that hangs ends the test instead of holding it up for ever.
        std::thread::spawn(move || {
            if is_done.recv_timeout(CHILD_TIME_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        for _ in 0..lines {
            assert!(self.line(acknowledged), "the child ended by itself, or was killed because it hung");
        }
    }

    /// Stops it where it is, and takes what it has said until now.
    pub(super) fn freeze(&mut self, acknowledged: &mut Acknowledged) {
        use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
        let piped = rustix::io::ioctl_fionread(self.lines.get_ref()).unwrap();
        let mut said = self.lines.buffer().to_vec();
        self.lines.consume(said.len());
        let (told, piped) = (said.len(), usize::try_from(piped).unwrap());
        said.resize(told + piped, 0);
        self.lines.get_mut().read_exact(&mut said[told..]).unwrap();
        let said = String::from_utf8(said).unwrap();
        // The last line may be half a line.
        said.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .for_each(|line| acknowledged.take(line));
    }

    /// Kills it, and takes what it has said.
    pub(super) fn kill(mut self, acknowledged: &mut Acknowledged) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert!(!status.success());
        while self.line(acknowledged) {}
    }

    fn line(&mut self, acknowledged: &mut Acknowledged) -> bool {
        let mut line = String::new();
        let is_whole = self.lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n');
        acknowledged.take(line.trim_end());
        is_whole
    }
}

/// Not a test: what the kill test starts.
#[test]
fn child_of_the_kill_test() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    // Should nobody kill it, it ends by itself, and the test notices.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(60));
        std::process::exit(3);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(work_for_ever(PathBuf::from(folder)));
}

fn say(line: String) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

async fn work_for_ever(folder: PathBuf) {
    let store = open(&folder, restless());
    let first = workflow(&format!("w-{}", RunId::new()));
    store.create_workflow(first.clone()).await.unwrap();
    say(format!("workflow {}", first.id));
    let appends = || {
        let (store, id) = (store.clone(), first.id);
        async move {
            for number in 0u64.. {
                let run = Arc::new(run(id));
                // Those that wait for no flush would be by far the most.
                let (durability, word) = match number % 4 {
                    0 => (Durability::Durable, "run"),
                    _ => (Durability::Written, "written"),
                };
                store.append_run(run.clone(), log(2), durability).await.unwrap();
                say(format!("{word} {}", run.id));
            }
        }
    };
    let claims = async {
        let due = Timestamp::now();
        for number in 0.. {
            let due = due + SignedDuration::from_micros(number);
            store.claim(tick(first.id, "s", due)).await.unwrap();
            say(format!("claim {} {due}", first.id));
            if number % 2 == 0 {
                store.settle(first.id, "s", due, TickState::Ran, Duration::ZERO).await.unwrap();
                say(format!("settle {} {due}", first.id));
            }
        }
    };
    let changes = async {
        for number in 0u64.. {
            let changes = vec![set("NUMBER", &number.to_string()), set("OTHER", "\"x\"")];
            store.commit_settings(first.id, changes, SettingWriter::User(None)).await.unwrap();
            say(format!("setting {} {number}", first.id));
            let more = workflow(&format!("w-{}", RunId::new()));
            store.create_workflow(more.clone()).await.unwrap();
            say(format!("workflow {}", more.id));
            if number % 3 == 0 {
                say(format!("archiving {}", more.id));
                store.archive_workflow(more.id).await.unwrap();
                say(format!("archived {}", more.id));
            }
        }
    };
    // Runs that nobody is told of come and go, so that segments are written anew.
    let noise = async {
        let other = workflow(&format!("w-{}", RunId::new()));
        store.create_workflow(other.clone()).await.unwrap();
        let own = WorkflowRetention {
            workflow: other.id,
            accepted_before: None,
            bytes_max: None,
            runs_max: Some(10),
        };
        for number in 1.. {
            store.append_run(Arc::new(run(other.id)), log(9), Durability::Written).await.unwrap();
            if number % 100 == 0 {
                let retention = Retention { workflows: vec![own], ..Retention::default() };
                store.prune(retention).await.unwrap();
            }
        }
    };
    let events = drive_events(&store, first.id, say);
    tokio::join!(appends(), appends(), appends(), claims, changes, noise, events);
}

/// Events that are enqueued, tried, tried again, and ended: each step is told.
async fn drive_events(store: &EmbeddedStore, workflow: WorkflowId, mut tell: impl FnMut(String)) {
    loop {
        let event = event(workflow);
        let id = event.id;
        let entry = QueueEntry::waiting(event, Timestamp::now());
        store.enqueue(entry, input(&id.to_string())).await.unwrap();
        tell(format!("event {id}"));
        let not_before = Timestamp::now();
        store.take(id).await.unwrap().unwrap();
        store.settle_event(id, id, Settlement::Retry { not_before, counts: true }).await.unwrap();
        tell(format!("retry {id}"));
        let run = store.take(id).await.unwrap().unwrap().entry.run;
        store.settle_event(id, run, Settlement::End(end(Status::Succeeded, false))).await.unwrap();
        tell(format!("end {id}"));
    }
}

// ---- power cut ----------------------------------------------------------------------

/// The disk has what was flushed, and of what was not any part: a cut, or holes of
/// whole sectors.
fn lose_what_was_not_flushed(path: &Path, flushed: u64) {
    const SECTOR: usize = 512;
    let mut random = rand::rng();
    let mut bytes = fs::read(path).unwrap();
    let flushed = (flushed as usize).min(bytes.len());
    let end = random.random_range(flushed..=bytes.len());
    bytes.truncate(end);
    let mut at = flushed;
    while at < end {
        let next = ((at / SECTOR + 1) * SECTOR).min(end);
        if random.random_bool(0.5) {
            bytes[at..next].fill(0);
        }
        at = next;
    }
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cut_loses_nothing_that_was_acknowledged_as_durable() {
    let temp = tempfile::tempdir().unwrap();
    let live = temp.path().join("live");
    // Nothing is flushed but what somebody waits for.
    let hour = Duration::from_secs(3600);
    let options = EmbeddedOptions { flush: hour, checkpoint: hour, ..EmbeddedOptions::default() };
    let store = open(&live, options.clone());
    let first = workflow("first");
    store.create_workflow(first.clone()).await.unwrap();
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    acknowledged.lock().unwrap().workflows.insert(first.id);
    let worker = tokio::spawn(work(store.clone(), first.id, acknowledged.clone()));
    let mut runs_seen = 0;
    for image in 0..8 {
        while acknowledged.lock().unwrap().runs.len() < runs_seen + 20 {
            tokio::task::yield_now().await;
        }
        // First what was acknowledged, then what was flushed, then the files.
        let seen = {
            let now = acknowledged.lock().unwrap();
            Acknowledged {
                runs: now.runs.clone(),
                workflows: now.workflows.clone(),
                archived: BTreeSet::new(),
                settings: now.settings.clone(),
                claims: now.claims.clone(),
                settled: now.settled.clone(),
                events: now.events.clone(),
                retried: now.retried.clone(),
                ended: now.ended.clone(),
                is_power_cut: true,
            }
        };
        let queue_flushed = store.queue.flushed().await;
        let (log_flushed, journal_flushed) = store
            .ask(|writer, reply| {
                let flushed = (
                    (writer.log.number, writer.log.synced()),
                    (writer.journal.number, writer.journal.synced()),
                );
                super::writer::answer(reply, Ok(flushed));
            })
            .await
            .unwrap();
        let data = temp.path().join(format!("image-{image}"));
        copy(&live, &data);
        lose_what_was_not_flushed(&Purpose::Runs.path(&data.join("runs"), log_flushed.0), log_flushed.1);
        let journal = Purpose::Journal.path(&data.join("metadata/journal"), journal_flushed.0);
        lose_what_was_not_flushed(&journal, journal_flushed.1);
        let queue = Purpose::Queue.path(&data.join("queue"), queue_flushed.0);
        lose_what_was_not_flushed(&queue, queue_flushed.1);
        if image % 2 == 0 {
            fs::remove_dir_all(data.join("metadata/sled")).unwrap();
        }
        let cut = open(&data, options.clone());
        check_after_power_cut(&seen, &cut).await;
        cut.close().await.unwrap();
        runs_seen = seen.runs.len();
    }
    worker.abort();
    store.close().await.unwrap();
}

/// Holes in what was never flushed are reported as damage; what was acknowledged is
/// there all the same.
async fn check_after_power_cut(seen: &Acknowledged, store: &EmbeddedStore) {
    for id in &seen.runs {
        assert_eq!(store.run(*id).await.unwrap().unwrap().id, *id);
        assert_eq!(store.run_log(*id).await.unwrap().unwrap(), log(2).to_vec());
    }
    let workflows = store.workflows().await.unwrap();
    let workflows: BTreeSet<_> = workflows.iter().map(|workflow| workflow.id).collect();
    assert!(seen.workflows.is_subset(&workflows));
    for (workflow, number) in &seen.settings {
        let settings = store.settings(*workflow).await.unwrap();
        assert!(settings.entries["NUMBER"].value.expose().parse::<u64>().unwrap() >= *number);
    }
    for (workflow, due) in &seen.claims {
        assert_eq!(store.claim(tick(*workflow, "s", *due)).await.unwrap(), Claim::Taken);
    }
    seen.check_events(store).await;
    // And it goes on.
    let next: Arc<Run> = Arc::new(run(*seen.workflows.first().unwrap()));
    store.append_run(next.clone(), log(1), Durability::Durable).await.unwrap();
    assert!(store.run(next.id).await.unwrap().is_some());
}

/// Durable and merely written changes, mixed, for ever.
async fn work(store: Arc<EmbeddedStore>, id: WorkflowId, acknowledged: Arc<Mutex<Acknowledged>>) {
    let durable = async {
        loop {
            let run = Arc::new(run(id));
            store.append_run(run.clone(), log(2), Durability::Durable).await.unwrap();
            acknowledged.lock().unwrap().runs.push(run.id);
        }
    };
    let written = async {
        loop {
            store.append_run(Arc::new(run(id)), log(2), Durability::Written).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let claims = async {
        for number in 0.. {
            let due = Timestamp::from_microsecond(number).unwrap();
            store.claim(tick(id, "s", due)).await.unwrap();
            acknowledged.lock().unwrap().claims.insert((id, due));
        }
    };
    let changes = async {
        for number in 0u64.. {
            let changes = vec![set("NUMBER", &number.to_string())];
            store.commit_settings(id, changes, SettingWriter::User(None)).await.unwrap();
            acknowledged.lock().unwrap().settings.insert(id, number);
            let more = workflow(&format!("w-{}", RunId::new()));
            store.create_workflow(more.clone()).await.unwrap();
            acknowledged.lock().unwrap().workflows.insert(more.id);
        }
    };
    let events = drive_events(&store, id, |line| acknowledged.lock().unwrap().take(&line));
    tokio::join!(durable, written, claims, changes, events);
}
