//! A host that is killed in the middle of a run.

use serde_json::{Value, json};

use super::Served;
use crate::support::python;
use crate::support::python_host::Server;
use crate::support::wait;

pub(super) const LINE: &str =
    "The sync is written so that a crash between the ATS call and the tag loses and repeats nothing.";

/// Kills the host once the ATS has taken a batch, and before the sync knows of it.
pub(super) fn between_the_call_and_the_tag(served: Served) {
    let services = Server::start("services.py", &[]);
    let at = format!("http://127.0.0.1:{}", services.port);
    let state = || -> Value {
        let mut got = ureq::get(format!("{at}/state")).call().unwrap();
        serde_json::from_str(&got.body_mut().read_to_string().unwrap()).unwrap()
    };
    let project = python::repository().join("examples/sync-to-ats");
    let settings = [
        "API_KEY=hr-key".to_owned(),
        "USER_EMAIL=ann@corp.example".to_owned(),
        format!("API_URL={at}/v1/"),
        "SOURCE_KEY=s-1".to_owned(),
        "ATS_API_KEY=ats-key".to_owned(),
        format!("ATS_URL={at}/profiles"),
    ];
    let mut arguments = vec!["deploy", project.to_str().unwrap(), "--name", "crashing", "--every", "300d"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    python::succeed(&mut served.host.command(&arguments));
    let workflow = crate::support::host::Workflow { name: "crashing".to_owned(), path: String::new() };

    ureq::post(format!("{at}/faults")).send(json!({ "ats": ["held"] }).to_string()).unwrap();
    let mut running = served.host.command(&["invoke", "crashing"]);
    let mut running =
        running.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait::until("the ATS to have the first batch", || state()["people"].as_array().unwrap().len() == 30);
    let Served { mut host, server } = served;
    host.kill_and_restart();
    let served = Served { host, server };
    assert!(!running.wait().unwrap().success(), "the run that was cut has no result");

    for synced in [30, 5, 0] {
        let run = served.test_run(&workflow);
        assert_eq!(run["value"], json!({ "synced": synced }), "{run:#}");
    }
    let state = state();
    let mut arrived: Vec<_> =
        state["people"].as_array().unwrap().iter().map(|one| one["reference"].as_str().unwrap()).collect();
    assert_eq!((arrived.len(), state["batches"].as_array().unwrap().len()), (35, 2), "each once");
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived.len(), 35);
    for (key, profile) in state["profiles"].as_object().unwrap() {
        let tags = profile["tags"].as_array().unwrap();
        assert_eq!(tags.iter().filter(|tag| tag["name"] == "sync").count(), 1, "{key}: {tags:?}");
    }
}
