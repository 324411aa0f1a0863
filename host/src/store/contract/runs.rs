//! Runs: appended, read, listed and deleted.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Setup, all_runs, append, create, json};
use crate::run::{Fault, FaultKind, Run, RunId, Status, Trigger};
use crate::statistics::{Rollup, Sample};
use crate::store::samples::{log, run};
use crate::store::{Durability, Pruned, Retention, RunFilter, StoreError, WorkflowRetention};
use crate::workflow::WorkflowId;

pub(crate) async fn appended_run_is_read_at_once(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "called").await;
    for durability in [Durability::Written, Durability::Durable] {
        for lines in [0, 1, 500] {
            let run = Arc::new(run(workflow.id));
            store.append_run(run.clone(), log(lines), durability).await.unwrap();
            let stored = store.run(run.id).await.unwrap().unwrap();
            assert_eq!(json(&stored), json(&*run));
            assert_eq!(store.run_log(run.id).await.unwrap().unwrap(), log(lines).to_vec());
            let newest = store.runs(RunFilter::default(), None, 1).await.unwrap();
            assert_eq!(newest.runs[0].id, run.id);
        }
    }
    assert!(store.run(RunId::new()).await.unwrap().is_none());
    assert!(store.run_log(RunId::new()).await.unwrap().is_none());
}

pub(crate) async fn run_needs_its_workflow(setup: &impl Setup) {
    let store = setup.open().await;
    let orphan = Arc::new(run(WorkflowId::new()));
    let result = store.append_run(orphan.clone(), log(0), Durability::Durable).await;
    assert!(matches!(result, Err(StoreError::Missing { .. })));
    assert!(store.run(orphan.id).await.unwrap().is_none());
}

pub(crate) async fn runs_are_listed_newest_first_through_every_filter(setup: &impl Setup) {
    let store = setup.open().await;
    let workflows = [create(&*store, "a").await.id, create(&*store, "b").await.id];
    let start = Timestamp::now();
    let at = |second: i64| start + SignedDuration::from_secs(second);
    let mut runs = Vec::new();
    for number in 0..60 {
        let mut run = run(workflows[number % 3 / 2]);
        run.accepted_at = at(number as i64);
        run.status = [Status::Succeeded, Status::Failed, Status::Interrupted][number % 5 % 3];
        run.trigger = match number % 4 {
            0 => Trigger::Catch,
            1 => Trigger::Test,
            2 => Trigger::Pull { schedule: "s".to_owned(), due: run.accepted_at },
            _ => Trigger::Replay { of: RunId::new() },
        };
        runs.push(run);
    }
    // Runs end in another order than they began.
    for index in 0..runs.len() {
        append(&*store, &runs[index * 7 % runs.len()]).await;
    }
    let filters = [
        RunFilter::default(),
        RunFilter { workflow: Some(workflows[1]), ..RunFilter::default() },
        RunFilter { workflow: Some(WorkflowId::new()), ..RunFilter::default() },
        RunFilter { among: Some(Arc::default()), ..RunFilter::default() },
        RunFilter { among: Some(Arc::new(workflows[1..].iter().copied().collect())), ..RunFilter::default() },
        RunFilter { statuses: vec![Status::Failed], ..RunFilter::default() },
        RunFilter { statuses: vec![Status::Interrupted, Status::Failed], ..RunFilter::default() },
        RunFilter { statuses: vec![Status::Cancelled], ..RunFilter::default() },
        RunFilter { trigger: Some("pull".to_owned()), ..RunFilter::default() },
        RunFilter { trigger: Some("unknown".to_owned()), ..RunFilter::default() },
        RunFilter { since: Some(at(20)), until: Some(at(40)), ..RunFilter::default() },
        RunFilter {
            workflow: Some(workflows[0]),
            among: None,
            statuses: vec![Status::Succeeded],
            trigger: Some("catch".to_owned()),
            since: Some(at(5)),
            until: Some(at(55)),
            text: None,
        },
    ];
    for filter in filters {
        let passes = |run: &&Run| {
            filter.workflow.is_none_or(|workflow| run.workflow == workflow)
                && filter.among.as_ref().is_none_or(|among| among.contains(&run.workflow))
                && (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
                && filter.trigger.as_ref().is_none_or(|trigger| run.trigger.word() == trigger)
                && filter.since.is_none_or(|since| run.accepted_at >= since)
                && filter.until.is_none_or(|until| run.accepted_at < until)
        };
        let expected: Vec<RunId> = runs.iter().rev().filter(passes).map(|run| run.id).collect();
        for page in [1, 7, 60, 100] {
            assert_eq!(all_runs(&*store, filter.clone(), page).await, expected, "{filter:?} by {page}");
        }
    }
}

pub(crate) async fn text_is_found_in_logs_and_errors(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "searched").await;
    let mut wanted = Vec::new();
    for number in 0..40 {
        let mut run = run(workflow.id);
        let mut lines = log(2).to_vec();
        match number % 5 {
            0 => lines[1].text = format!("Number \"{number}\" timed OUT"),
            1 => run.fault = Some(Fault::new(FaultKind::Exception, "it \"9\" Timed out")),
            2 => {
                let trace = Some("line 1\n  x: timed out".to_owned());
                run.fault = Some(Fault { trace, ..Fault::new(FaultKind::Trap, "no") });
            }
            3 => lines[0].fields = vec![("why".to_owned(), "TIMED OUT".to_owned())],
            // Neither request nor reply count.
            _ => run.workflow_name = "timed-out".parse().unwrap(),
        }
        store.append_run(Arc::new(run.clone()), lines.into(), Durability::Written).await.unwrap();
        if number % 5 < 4 {
            wanted.push((run.id, number % 5));
        }
    }
    wanted.reverse();
    let ids = |of: &[i32]| -> Vec<RunId> {
        wanted.iter().filter(|(_, kind)| of.contains(kind)).map(|(id, _)| *id).collect()
    };
    for (text, expected) in [
        ("timed out", ids(&[0, 1, 2, 3])),
        ("\" timed", ids(&[0, 1])),
        ("1\n  X:", ids(&[2])),
        ("timed-out", Vec::new()),
        ("is nowhere", Vec::new()),
    ] {
        let filter = RunFilter { text: Some(text.to_owned()), ..RunFilter::default() };
        for page in [1, 3, 100] {
            let (mut found, mut cursor, mut read) = (Vec::new(), None, 0);
            loop {
                let page = store.runs(filter.clone(), cursor, page).await.unwrap();
                found.extend(page.runs.iter().map(|run| run.id));
                read += page.searched.unwrap().runs;
                let Some(next) = page.next else { break };
                cursor = Some(next);
            }
            assert_eq!((found, read), (expected.clone(), 40), "{text:?}");
        }
    }
    let failed =
        RunFilter { statuses: vec![Status::Failed], text: Some("timed".to_owned()), ..RunFilter::default() };
    assert_eq!(store.runs(failed, None, 10).await.unwrap().searched.unwrap().runs, 0);
}

pub(crate) async fn pages_have_every_run_once_while_others_are_appended(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "busy").await;
    let mut before = Vec::new();
    for _ in 0..100 {
        let run = run(workflow.id);
        append(&*store, &run).await;
        before.push(run.id);
    }
    let appending = async {
        for _ in 0..100 {
            append(&*store, &run(workflow.id)).await;
        }
    };
    let listing = async {
        let mut lists = Vec::new();
        for page in [3, 10, 40] {
            lists.push(all_runs(&*store, RunFilter::default(), page).await);
        }
        lists
    };
    let (lists, ()) = futures::future::join(listing, appending).await;
    for ids in lists {
        assert!(ids.windows(2).all(|pair| pair[0] > pair[1]));
        let seen: HashSet<RunId> = ids.into_iter().collect();
        assert!(before.iter().all(|id| seen.contains(id)));
    }
    assert_eq!(all_runs(&*store, RunFilter::default(), 33).await.len(), 200);
}

pub(crate) async fn prune_deletes_what_it_counts_and_nothing_younger(setup: &impl Setup) {
    let store = setup.open().await;
    let workflow = create(&*store, "pruned").await;
    let start = Timestamp::now();
    let mut runs = Vec::new();
    for number in 0..100 {
        let mut run = run(workflow.id);
        run.accepted_at = start + SignedDuration::from_secs(number);
        append(&*store, &run).await;
        runs.push(run);
    }
    let none = Retention { accepted_before: Some(start), bytes_max: Some(u64::MAX), ..Retention::default() };
    assert_eq!(store.prune(none).await.unwrap().runs, 0);
    let cut = start + SignedDuration::from_secs(60);
    let by_age = Retention { accepted_before: Some(cut), ..Retention::default() };
    let bytes_max = store.health().run_bytes;
    let by_size = Retention { bytes_max: Some(bytes_max), ..Retention::default() };
    let deleted = store.prune(by_age).await.unwrap().runs + store.prune(by_size).await.unwrap().runs;
    store.close().await.unwrap();
    for _ in 0..2 {
        let store = setup.open().await;
        let left = all_runs(&*store, RunFilter::default(), 50).await;
        assert_eq!(left.len() as u64, 100 - deleted);
        assert_eq!(store.health().runs, left.len() as u64);
        // The oldest went, and nothing that the policy spares.
        let expected: Vec<RunId> = runs[deleted as usize..].iter().rev().map(|run| run.id).collect();
        assert_eq!(left, expected);
        assert!(deleted <= 60);
        assert!(store.run(runs[60].id).await.unwrap().is_some());
        store.close().await.unwrap();
    }
}

pub(crate) async fn own_limits_of_a_workflow_take_its_runs_at_once(setup: &impl Setup) {
    let store = setup.open().await;
    let (limited, free) = (create(&*store, "limited").await.id, create(&*store, "free").await.id);
    let start = Timestamp::now();
    let mut runs = Vec::new();
    for number in 0..90 {
        let mut run = run(if number % 3 == 2 { free } else { limited });
        run.accepted_at = start + SignedDuration::from_secs(number);
        append(&*store, &run).await;
        runs.push(run);
    }
    let of = |workflow: WorkflowId| runs.iter().rev().filter(move |run| run.workflow == workflow);
    let none =
        WorkflowRetention { workflow: limited, accepted_before: None, bytes_max: None, runs_max: None };
    let prune = |own| {
        let retention = Retention { workflows: vec![own], ..Retention::default() };
        store.prune(retention)
    };
    assert_eq!(prune(none).await.unwrap(), Pruned::default());
    let usage = store.usage().await.unwrap();
    assert_eq!(
        usage.iter().map(|own| (own.workflow, own.runs)).collect::<Vec<_>>(),
        [(limited, 60), (free, 30)]
    );
    let bytes_each = usage[1].bytes / 30;
    // Each step keeps less than the one before: by time, by number, by size.
    let before = Some(start + SignedDuration::from_secs(30));
    let steps = [
        (WorkflowRetention { accepted_before: before, ..none }, 40),
        (WorkflowRetention { accepted_before: before, runs_max: Some(25), ..none }, 25),
        (WorkflowRetention { runs_max: Some(1000), ..none }, 25),
        (WorkflowRetention { bytes_max: Some(bytes_each * 7 + bytes_each / 2), ..none }, 7),
        (WorkflowRetention { runs_max: Some(0), ..none }, 0),
    ];
    let mut left = 60;
    for (own, kept) in steps {
        let pruned = prune(own).await.unwrap().runs;
        assert_eq!((pruned, prune(own).await.unwrap().runs), (left - kept, 0), "{own:?}");
        left = kept;
        let expected: Vec<RunId> = of(limited).take(kept as usize).map(|run| run.id).collect();
        let filter = RunFilter { workflow: Some(limited), ..RunFilter::default() };
        assert_eq!(all_runs(&*store, filter, 9).await, expected, "{own:?}");
        assert_eq!(all_runs(&*store, RunFilter::default(), 50).await.len() as u64, 30 + kept);
        assert_eq!(store.health().runs, 30 + kept);
        for (index, run) in of(limited).enumerate() {
            let is_there = store.run(run.id).await.unwrap().is_some();
            assert_eq!(is_there, index < kept as usize, "{index}");
            assert_eq!(store.run_log(run.id).await.unwrap().is_some(), is_there);
        }
        let own = store.usage().await.unwrap().into_iter().find(|own| own.workflow == limited);
        assert_eq!(own.map_or(0, |own| own.runs), kept);
    }
    store.close().await.unwrap();
    let store = setup.open().await;
    let expected: Vec<RunId> = of(free).map(|run| run.id).collect();
    assert_eq!(all_runs(&*store, RunFilter::default(), 50).await, expected);
    assert_eq!(store.health().runs, 30);
    // What comes later is there.
    let later = run(limited);
    append(&*store, &later).await;
    assert!(store.run(later.id).await.unwrap().is_some());
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
}

pub(crate) async fn statistics_outlive_their_runs(setup: &impl Setup) {
    let mut store = setup.open().await;
    let workflows = [create(&*store, "often").await.id, create(&*store, "seldom").await.id];
    let start: Timestamp = "2026-03-01T23:30:00Z".parse().unwrap();
    let at = |minute: i64| start + SignedDuration::from_mins(minute);
    let mut expected: BTreeMap<(WorkflowId, i64), Rollup> = BTreeMap::new();
    for number in 0..300_u64 {
        let mut run = run(workflows[usize::from(number % 3 == 2)]);
        let minute = number as i64 % 50;
        run.accepted_at = at(minute);
        run.finished_at = Some(at(minute) + SignedDuration::from_secs(7));
        run.usage.wall_us = 1000 + number * 13;
        run.usage.memory_peak_bytes = number << 16;
        if number % 7 == 0 {
            (run.status, run.fault) = (Status::Failed, Some(Fault::new(FaultKind::Trap, "no")));
        }
        run.lateness_us = (number % 2 == 0).then_some(number);
        expected.entry((run.workflow, minute)).or_default().add(&Sample::from(&run));
        // Statistics know of a run whether its record is kept or not.
        match number % 11 {
            0 => store.count_run(&run),
            _ => append(&*store, &run).await,
        }
        if number == 200 {
            store.close().await.unwrap();
            store = setup.open().await;
        }
    }
    let sum = |workflow: Option<WorkflowId>, minutes: std::ops::Range<i64>| {
        let mut sum = Rollup::default();
        let own = expected.iter().filter(|((of, minute), _)| {
            workflow.is_none_or(|workflow| *of == workflow) && minutes.contains(minute)
        });
        own.for_each(|(_, rollup)| sum.merge(rollup));
        sum
    };
    for round in 0..3 {
        for workflow in [None, Some(workflows[0]), Some(workflows[1])] {
            for step in [1, 7, 1000] {
                let points = store.statistics(workflow, at(5), at(47), step).await.unwrap();
                for (start, rollup) in &points {
                    let first = start.duration_since(at(0)).as_mins();
                    let minutes = first..(first + i64::from(step)).min(47);
                    assert_eq!(*rollup, sum(workflow, minutes), "{round} {workflow:?} {step} {first}");
                }
                assert_eq!(points.len() as i64, (42 + i64::from(step) - 1) / i64::from(step));
            }
        }
        assert_eq!(store.statistics(Some(WorkflowId::new()), at(0), at(50), 1).await.unwrap(), []);
        if round == 1 {
            let all = Timestamp::now() + SignedDuration::from_hours(1);
            store.prune(Retention { accepted_before: Some(all), ..Retention::default() }).await.unwrap();
            assert_eq!(all_runs(&*store, RunFilter::default(), 50).await, []);
        }
        store.close().await.unwrap();
        store = setup.open().await;
    }
    let later = Timestamp::now() + SignedDuration::from_hours(72);
    let retention =
        Retention { statistics_before: Some(later), statistics_bytes_max: Some(0), ..Retention::default() };
    store.prune(retention).await.unwrap();
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
}
