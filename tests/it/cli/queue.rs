//! Dead letters, replays and cancelling, command by command, against a host.

use super::*;

#[test]
fn failed_work_is_listed_driven_again_replayed_and_cancelled() {
    let host = Host::start();
    let url =
        host.run(&["deploy", &guest("settings"), "--name", "flaky", "--kind", "catch", "--json"]).json();
    let url = url["url"].as_str().unwrap().to_owned();

    let event = post_later(&url, r#"{"fail": "no"}"#);
    let letter = crate::support::wait::for_some("what the host does by itself", || {
        host.run(&["dead", "list", "--json"]).json()["dead"].as_array().unwrap().first().cloned()
    });
    assert_eq!((&letter["event"], &letter["attempts"]), (&event.clone().into(), &1.into()));
    assert!(host.run(&["dead", "list", "--workflow", "flaky"]).ok().contains(&event));
    host.run(&["dead", "list", "--workflow", "none"]).failed(1, "none");
    let again = host.run(&["dead", "redrive", &event]);
    assert_eq!((again.exit, again.stderr.as_str()), (Some(0), "1 event waits for another attempt\n"));
    let unknown = host.run(&["dead", "redrive", "06g1p3s8000000000000000008"]);
    unknown.failed(1, "06g1p3s8000000000000000008 is no dead letter");
    let letter = crate::support::wait::for_some("what the host does by itself", || {
        let dead = host.run(&["dead", "list", "--json"]).json();
        dead["dead"].as_array().unwrap().iter().find(|letter| letter["attempts"] == 2).cloned()
    });
    let page = host.run(&["show-run", letter["run"].as_str().unwrap()]);
    assert!(page.ok().contains(&format!("catch, attempt 2 at {event}")), "{page:#?}");

    host.run(&["deploy", &guest("hello"), "--name", "flaky"]).ok();
    let replayed = host.run(&["replay", "--workflow", "flaky", "--json"]).json();
    assert_eq!(replayed["queued"].as_array().unwrap().len(), 2);
    let run = replayed["queued"][0]["run"].as_str().unwrap();
    crate::support::wait::for_some("what the host does by itself", || {
        Some(()).filter(|()| host.run(&["show-run", run, "--json"]).json()["status"] == "succeeded")
    });
    let failed = host.run(&["replay", &event, "--version", "1"]);
    assert_eq!((failed.exit, failed.stderr.as_str()), (Some(1), "error: the run failed: no\n"));
    host.run(&["replay", &event, "--version", "2"]).ok();
    host.run(&["replay", &event, "--version", "9"])
        .failed(1, "version 9 of the workflow flaky does not exist");

    let slow = host.run(&["deploy", &guest("slow-host-call"), "--kind", "catch", "--json"]).json();
    let running = post_later(slow["url"].as_str().unwrap(), r#"{"seconds": 100}"#);
    let cancelled = host.run(&["cancel", &running]);
    assert_eq!((cancelled.exit, cancelled.stderr), (Some(0), format!("{running} is cancelled\n")));
    host.run(&["cancel", &running]).failed(1, "has ended already");
}
