//! Project folders: `workflow.toml` and the code beside it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Explain, Failure, Result, diagnostic_at};
use crate::api::{Diagnostic, ScheduleSpec};
use crate::workflow::{Destination, Endpoint, Kind, LimitOverrides, RetryPolicy, Signature, WorkflowName};

/// The file that makes a folder a project.
pub(crate) const FILE: &str = "workflow.toml";

/// A project folder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Project {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The workflow's name.
    pub(crate) name: WorkflowName,
    /// How it is started.
    pub(crate) kind: Kind,
    /// What it is written in.
    pub(crate) lang: Lang,
    /// One or a few sentences; `None` leaves the host's as it is.
    pub(crate) description: Option<String>,
    /// The runtime for its source; `None` takes the host's default.
    pub(crate) runtime: Option<String>,
    /// When it is due; empty leaves the host's as they are.
    pub(crate) schedules: Vec<ScheduleSpec>,
    /// Limits of its own; `None` leaves the host's as they are.
    pub(crate) limits: Option<LimitOverrides>,
    /// Whether and when failed work is tried again; `None` leaves the host's as it is.
    pub(crate) retry: Option<RetryPolicy>,
    /// What its endpoint accepts; `None` leaves the host's as it is.
    pub(crate) endpoint: Option<Endpoint>,
    /// How requests have to be signed; `None` leaves the host's as it is.
    pub(crate) signature: Option<Signature>,
    /// Where its requests may go; `None` leaves the host's as it is.
    pub(crate) egress: Option<Vec<Destination>>,
}

/// What a workflow is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lang {
    /// A file with `def workflow(...)`.
    Python,
    /// A crate that is built for wasm32-wasip2.
    Rust,
}

#[derive(Deserialize)]
struct Wire {
    name: Spanned<String>,
    kind: Kind,
    lang: Lang,
    description: Option<String>,
    runtime: Option<Spanned<String>>,
    #[serde(default)]
    schedule: Vec<Spanned<ScheduleSpec>>,
    limits: Option<Spanned<LimitOverrides>>,
    retry: Option<Spanned<RetryPolicy>>,
    endpoint: Option<Spanned<Endpoint>>,
    signature: Option<Spanned<Signature>>,
    egress: Option<Vec<Spanned<Destination>>>,
}

const KEYS: &[&str] = &[
    "name",
    "kind",
    "lang",
    "description",
    "runtime",
    "schedule",
    "limits",
    "retry",
    "endpoint",
    "signature",
    "egress",
];
const SCHEDULE_KEYS: &[&str] =
    &["name", "every", "cron", "timezone", "overlap", "missed", "missed_max", "start_deadline", "jitter"];
const LIMIT_KEYS: &[&str] = &[
    "deadline_ms",
    "cpu_ms_max",
    "memory_bytes_max",
    "concurrency_max",
    "body_bytes_max",
    "log_bytes_max",
    "reply_bytes_max",
    "rate_per_s_max",
    "burst_max",
    "egress_requests_max",
    "egress_concurrent_max",
    "egress_bytes_max",
    "retention_days",
    "retention_runs_max",
    "retention_bytes_max",
];
const RETRY_KEYS: &[&str] = &["attempts", "backoff_ms", "backoff_max_ms", "jitter_percent", "on"];
const ENDPOINT_KEYS: &[&str] =
    &["methods", "raw_bodies", "cors_origins", "delivery_id_header", "callback_hosts"];
const EGRESS_KEYS: &[&str] = &["host", "port", "methods", "path_prefix"];
const SIGNATURE_KEYS: &[&str] = &["scheme", "secret_settings", "tolerance_s", "once"];

impl Project {
    /// Reads the project in this folder.
    ///
    /// # Errors
    /// There is none, or its `workflow.toml` is wrong: says where.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => {
                return Err(Failure::new(format!("there is no {FILE} in {}", folder.display()))
                    .hint("`tidegate new NAME --kind catch --lang python` makes a project folder")
                    .hint("a single .py or .wasm file needs none: name the file itself"));
            }
            Err(error) => return Err(error).context(format!("read {}", path.display())),
        };
        parse(folder, &text).map_err(|found| {
            Failure::configuration(format!("{} is wrong", path.display()))
                .diagnostics(vec![Diagnostic { file: path.display().to_string(), ..*found }])
        })
    }

    /// The file that holds `def workflow(...)`: `workflow.py`, or the only other one.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub(crate) fn python_file(&self) -> Result<PathBuf> {
        let usual = self.folder.join("workflow.py");
        if usual.is_file() {
            return Ok(usual);
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).context(format!("read {}", self.folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_test = name.starts_with("test_") || name.ends_with("_test.py") || name == "conftest.py";
            if name.ends_with(".py") && !is_test && path.is_file() {
                found.push(path);
            }
        }
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::new(format!("there is no Python file in {}", self.folder.display()))
                .hint("put `def workflow(...)` into workflow.py")),
            _ => Err(Failure::new(format!("{} has several Python files", self.folder.display()))
                .hint("name the one with `def workflow(...)` workflow.py")),
        }
    }

    /// Packages of its own, which no shared runtime has to have.
    pub(crate) fn requirements(&self) -> Option<PathBuf> {
        Some(self.folder.join("requirements.txt")).filter(|path| path.is_file())
    }
}

/// Reads a `workflow.toml`. The error's file is `workflow.toml`.
fn parse(folder: &Path, text: &str) -> std::result::Result<Project, Box<Diagnostic>> {
    let at = |offset: usize, message: String| Box::new(diagnostic_at(FILE, text, offset, message));
    let of_toml = |error: toml::de::Error| {
        // What is missing has no place.
        match error.span().filter(|_| !error.message().starts_with("missing field")) {
            Some(span) => at(span.start, error.message().to_owned()),
            None => whole(error.message()),
        }
    };
    check_keys(text, DeTable::parse(text).map_err(of_toml)?.get_ref())?;
    let wire: Wire = toml::from_str(text).map_err(of_toml)?;

    let name = wire.name.get_ref().parse().map_err(|error| at(wire.name.span().start, format!("{error}")))?;
    if let (Some(limits), Kind::Pull) = (&wire.endpoint, wire.kind) {
        return Err(at(limits.span().start, "a pull has no endpoint".to_owned()));
    }
    if let (Some(signature), Kind::Pull) = (&wire.signature, wire.kind) {
        return Err(at(signature.span().start, "a pull has no requests that are signed".to_owned()));
    }
    if let (Some(runtime), Lang::Rust) = (&wire.runtime, wire.lang) {
        return Err(at(
            runtime.span().start,
            "a runtime is for Python: Rust is built to a component".to_owned(),
        ));
    }
    let mut names = std::collections::BTreeSet::new();
    for schedule in &wire.schedule {
        check_schedule(schedule.get_ref(), wire.kind).map_err(|reason| at(schedule.span().start, reason))?;
        let name = schedule.get_ref().name.as_deref().unwrap_or("default");
        if !names.insert(name) {
            return Err(at(schedule.span().start, format!("there are two schedules named {name}")));
        }
    }
    let egress = wire.egress.map(|list| {
        let checked = list.into_iter().map(|one| {
            let (start, host) = (one.span().start, one.get_ref().host.clone());
            one.into_inner().checked().map_err(|error| at(start, format!("the destination {host:?} {error}")))
        });
        checked.collect::<std::result::Result<Vec<_>, _>>()
    });
    Ok(Project {
        folder: folder.to_owned(),
        name,
        kind: wire.kind,
        lang: wire.lang,
        description: wire.description,
        runtime: wire.runtime.map(Spanned::into_inner),
        schedules: wire.schedule.into_iter().map(Spanned::into_inner).collect(),
        limits: wire.limits.map(Spanned::into_inner),
        retry: wire.retry.map(Spanned::into_inner),
        endpoint: wire.endpoint.map(Spanned::into_inner),
        signature: wire.signature.map(Spanned::into_inner),
        egress: egress.transpose()?,
    })
}

/// What can be said of a schedule without the host.
pub(crate) fn check_schedule(schedule: &ScheduleSpec, kind: Kind) -> std::result::Result<(), String> {
    if kind == Kind::Catch {
        return Err("a catch has no schedule: it is started by requests".to_owned());
    }
    match (&schedule.every, &schedule.cron, &schedule.timezone) {
        (Some(_), Some(_), _) => Err("a schedule has `every` or `cron`, not both".to_owned()),
        (None, None, _) => Err("a schedule needs `every` or `cron`".to_owned()),
        (Some(_), None, Some(_)) => Err("`timezone` belongs to `cron`".to_owned()),
        _ => Ok(()),
    }
}

fn whole(message: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic {
        file: FILE.to_owned(),
        line: 0,
        column: 0,
        message: message.to_owned(),
        text: None,
        hint: None,
    })
}

/// Refuses keys that mean nothing, and names the one that was probably meant.
fn check_keys(text: &str, table: &DeTable<'_>) -> std::result::Result<(), Box<Diagnostic>> {
    check_table(text, table, KEYS)?;
    let sections = [
        ("schedule", SCHEDULE_KEYS),
        ("limits", LIMIT_KEYS),
        ("retry", RETRY_KEYS),
        ("endpoint", ENDPOINT_KEYS),
        ("signature", SIGNATURE_KEYS),
        ("egress", EGRESS_KEYS),
    ];
    for (section, known) in sections {
        match table.get(section).map(Spanned::get_ref) {
            Some(DeValue::Table(keys)) => check_table(text, keys, known)?,
            Some(DeValue::Array(list)) => {
                for keys in list.iter().filter_map(|value| value.get_ref().as_table()) {
                    check_table(text, keys, known)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_table(text: &str, table: &DeTable<'_>, known: &[&str]) -> std::result::Result<(), Box<Diagnostic>> {
    for key in table.keys() {
        if known.contains(&key.get_ref().as_ref()) {
            continue;
        }
        let mut found = diagnostic_at(FILE, text, key.span().start, format!("unknown key {}", key.get_ref()));
        found.hint = Some(match nearest(key.get_ref(), known) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("known keys here: {}", known.join(", ")),
        });
        return Err(Box::new(found));
    }
    Ok(())
}

/// The known word that is most like `word`, when one is.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(candidate, word), *candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.75).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MissedWord;
    use crate::cli::error::{Exit, render};
    use crate::schedule::Overlap;

    const GOOD: &str = r#"
name = "sync"
kind = "pull"
lang = "python"
description = "Copies new profiles."
runtime = "hrflow-4"

[[schedule]]
every = "90m"

[[schedule]]
name = "nightly"
cron = "0 3 * * *"
timezone = "Europe/Paris"

[limits]
deadline_ms = 60000

[retry]
attempts = 3
on = ["exception", "interrupted"]
"#;

    fn refused(text: &str) -> String {
        render(&parse(Path::new("p"), text).unwrap_err())
    }

    #[test]
    fn a_complete_file_is_understood() {
        let project = parse(Path::new("p"), GOOD).unwrap();
        assert_eq!((project.name.as_str(), project.kind, project.lang), ("sync", Kind::Pull, Lang::Python));
        assert_eq!(project.runtime.as_deref(), Some("hrflow-4"));
        assert_eq!(project.schedules[0].every.as_deref(), Some("90m"));
        assert_eq!(project.schedules[1].timezone.as_deref(), Some("Europe/Paris"));
        assert_eq!(project.limits.unwrap().deadline_ms, Some(60_000));
        let retry = project.retry.unwrap();
        assert_eq!((retry.attempts, retry.backoff_ms, retry.on.len()), (3, 1000, 2));
        assert_eq!(project.endpoint, None);
        let catch = "name = 'a'\nkind = 'catch'\nlang = 'rust'\n[endpoint]\nmethods = ['GET']\n";
        let catch = parse(Path::new("p"), catch).unwrap();
        assert_eq!(catch.endpoint.unwrap().methods, ["GET"]);
        let signed = "name = 'a'\nkind = 'catch'\nlang = 'rust'\n[signature]\nscheme = 'standard-webhooks'\n\
                      secret_settings = ['NEW', 'OLD']\n";
        let signature = parse(Path::new("p"), signed).unwrap().signature.unwrap();
        assert_eq!((signature.secret_settings.len(), signature.tolerance_s, signature.once), (2, 300, None));
        let listed = "name = 'a'\nkind = 'pull'\nlang = 'python'\n[[egress]]\nhost = 'API.hrflow.ai'\nmethods = ['GET']\n";
        assert_eq!(parse(Path::new("p"), listed).unwrap().egress.unwrap()[0].host, "api.hrflow.ai");
        let closed = "name = 'a'\nkind = 'pull'\nlang = 'python'\negress = []\n";
        assert_eq!(parse(Path::new("p"), closed).unwrap().egress, Some(Vec::new()));
        let wrong = refused(&listed.replace("API.", "https://"));
        assert!(
            wrong.starts_with("workflow.toml:4:1: the destination \"https://hrflow.ai\" is not a host name"),
            "{wrong}"
        );
        insta::assert_snapshot!(refused(&signed.replace("secret_settings", "secret_setting")), @r"
        workflow.toml:6:1: unknown key secret_setting
          6 | secret_setting = ['NEW', 'OLD']
            | ^
          = did you mean secret_settings?
        ");
    }

    #[test]
    fn a_schedule_has_a_policy() {
        let policy =
            "jitter = '30s'\nstart_deadline = '5m'\noverlap = 'queue-one'\nmissed = 'all'\nmissed_max = 5";
        let project =
            parse(Path::new("p"), &GOOD.replace("every = \"90m\"", &format!("every = '90m'\n{policy}")));
        let schedule = project.unwrap().schedules.swap_remove(0);
        assert_eq!((schedule.overlap, schedule.missed), (Some(Overlap::QueueOne), Some(MissedWord::All)));
        assert_eq!((schedule.missed_max, schedule.jitter.as_deref()), (Some(5), Some("30s")));
        insta::assert_snapshot!(refused(&GOOD.replace("every = \"90m\"", "every = '90m'\noverlap = 'never'")), @r"
        workflow.toml:10:11: unknown variant `never`, expected one of `forbid`, `queue-one`, `allow`
          10 | overlap = 'never'
             |           ^
        ");
    }

    #[test]
    fn an_unknown_key_shows_its_place_and_names_the_nearest() {
        insta::assert_snapshot!(refused(&GOOD.replace("timezone", "time_zone")), @r#"
        workflow.toml:14:1: unknown key time_zone
          14 | time_zone = "Europe/Paris"
             | ^
          = did you mean timezone?
        "#);
        insta::assert_snapshot!(refused(&GOOD.replace("deadline_ms", "deadline")), @r"
        workflow.toml:17:1: unknown key deadline
          17 | deadline = 60000
             | ^
          = did you mean deadline_ms?
        ");
        insta::assert_snapshot!(refused(&GOOD.replace("[limits]", "[limit]")), @r"
        workflow.toml:16:2: unknown key limit
          16 | [limit]
             |  ^
          = did you mean limits?
        ");
        insta::assert_snapshot!(refused(&GOOD.replace("runtime", "zzz")), @r#"
        workflow.toml:6:1: unknown key zzz
          6 | zzz = "hrflow-4"
            | ^
          = known keys here: name, kind, lang, description, runtime, schedule, limits, retry, endpoint, signature, egress
        "#);
    }

    #[test]
    fn wrong_values_show_their_place() {
        insta::assert_snapshot!(refused(&GOOD.replace("\"pull\"", "\"pul\"")), @r#"
        workflow.toml:3:8: unknown variant `pul`, expected `catch` or `pull`
          3 | kind = "pul"
            |        ^
        "#);
        insta::assert_snapshot!(refused(&GOOD.replace("\"sync\"", "\"Sync it\"")), @r#"
        workflow.toml:2:8: the workflow name "Sync it" has 'S' at position 1: use lower-case letters, digits and inner hyphens
          2 | name = "Sync it"
            |        ^
        "#);
        insta::assert_snapshot!(refused(&GOOD.replace("60000", "\"60 s\"")), @r#"
        workflow.toml:17:15: invalid type: string "60 s", expected u64
          17 | deadline_ms = "60 s"
             |               ^
        "#);
        insta::assert_snapshot!(refused(&GOOD.replace("name = \"sync\"", "")), @"workflow.toml: missing field `name`");
        insta::assert_snapshot!(refused(&GOOD.replace("every = \"90m\"", "")), @r"
        workflow.toml:8:1: a schedule needs `every` or `cron`
          8 | [[schedule]]
            | ^
        ");
        insta::assert_snapshot!(refused(&GOOD.replace("every = \"90m\"", "name = \"nightly\"\nevery = \"1h\"")), @r"
        workflow.toml:12:1: there are two schedules named nightly
          12 | [[schedule]]
             | ^
        ");
        insta::assert_snapshot!(refused(&GOOD.replace("pull", "catch")), @r"
        workflow.toml:8:1: a catch has no schedule: it is started by requests
          8 | [[schedule]]
            | ^
        ");
        insta::assert_snapshot!(refused("name = \n"), @r"
        workflow.toml:1:8: string values must be quoted, expected literal string
          1 | name =
            |        ^
        ");
    }

    #[test]
    fn a_folder_without_a_project_says_how_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Project::read(folder.path()).unwrap_err();
        assert!(failure.line().starts_with("there is no workflow.toml in "), "{failure}");
        assert!(failure.hints[0].contains("tidegate new"));
        std::fs::write(folder.path().join(FILE), "nam = 1").unwrap();
        let failure = Project::read(folder.path()).unwrap_err();
        assert_eq!(failure.exit, Exit::Configuration);
        assert!(failure.diagnostics[0].file.ends_with("/workflow.toml"));
    }

    #[test]
    fn the_python_file_is_the_usual_one_or_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project { folder: folder.path().to_owned(), ..parse(Path::new("p"), GOOD).unwrap() };
        let write = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        assert!(project.python_file().unwrap_err().line().starts_with("there is no Python file"));
        write("sync.py");
        write("test_sync.py");
        assert_eq!(project.python_file().unwrap().file_name().unwrap(), "sync.py");
        write("more.py");
        assert!(project.python_file().unwrap_err().line().ends_with("several Python files"));
        write("workflow.py");
        assert_eq!(project.python_file().unwrap().file_name().unwrap(), "workflow.py");
        assert_eq!(project.requirements(), None);
        write("requirements.txt");
        assert!(project.requirements().is_some());
    }
}
