//! Figures over time that are not of one workflow.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Setup, append, create};
use crate::statistics::HostFigures;
use crate::store::samples::{log, run};
use crate::store::{Durability, Retention, WorkflowRetention};

pub(crate) async fn history_of_the_host_comes_back_after_reopening(setup: &impl Setup) {
    let store = setup.open().await;
    let own = create(&*store, "own").await;
    let start: Timestamp = "2026-03-01T23:58:00Z".parse().unwrap();
    let at = |second: i64| start + SignedDuration::from_secs(second);
    for (second, instances, free_bytes) in [(0, 1, 50), (20, 4, 40), (61, 2, 45), (125, 7, 60)] {
        let figures = HostFigures { instances, free_bytes, refused: 1, ..HostFigures::default() };
        store.note_host(at(second), &figures);
    }
    append(&*store, &run(own.id)).await;
    let expected = [(0, 4, 40, 2), (60, 2, 45, 1), (120, 7, 60, 1)];
    let shown = |points: Vec<(Timestamp, HostFigures)>| -> Vec<_> {
        let of = |(at, own): &(Timestamp, HostFigures)| {
            (at.duration_since(start).as_secs(), own.instances, own.free_bytes, own.refused)
        };
        points.iter().map(of).collect()
    };
    assert_eq!(shown(store.host_history(start, at(180), 1).await.unwrap()), expected);
    store.close().await.unwrap();
    let store = setup.open().await;
    assert_eq!(shown(store.host_history(start, at(180), 1).await.unwrap()), expected);
    assert_eq!(shown(store.host_history(start, at(180), 2).await.unwrap()), [(0, 4, 40, 3), (120, 7, 60, 1)]);
    assert_eq!(shown(store.host_history(at(60), at(120), 1).await.unwrap()), expected[1..2]);
    // They are no runs.
    let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::now() + SignedDuration::from_mins(2));
    let runs = store.statistics(None, from, to, u32::MAX).await.unwrap();
    assert_eq!(runs.iter().map(|(_, rollup)| rollup.runs()).sum::<u64>(), 1);
    assert_eq!(store.verify().await.unwrap().problems, [] as [String; 0]);
}

pub(crate) async fn statistics_and_last_runs_are_told_by_workflow(setup: &impl Setup) {
    let mut store = setup.open().await;
    let [often, seldom, never] = [
        create(&*store, "often").await.id,
        create(&*store, "seldom").await.id,
        create(&*store, "never").await.id,
    ];
    let mut last = Vec::new();
    for number in 0..9 {
        let own = Arc::new(run(if number % 3 == 0 { seldom } else { often }));
        store.append_run(own.clone(), log(1), Durability::Durable).await.unwrap();
        last.push(own.id);
    }
    let (from, to) =
        (Timestamp::now() - SignedDuration::from_mins(9), Timestamp::now() + SignedDuration::from_mins(2));
    for _ in 0..2 {
        let all = store.statistics_by_workflow(None, from, to, 60).await.unwrap();
        let runs = |id| all.get(&id).map(|points| points.iter().map(|(_, own)| own.runs()).sum::<u64>());
        assert_eq!((runs(often), runs(seldom), runs(never)), (Some(6), Some(3), None));
        let some =
            store.statistics_by_workflow(Some(HashSet::from([seldom, never])), from, to, 60).await.unwrap();
        assert_eq!(some.keys().collect::<Vec<_>>(), [&seldom]);
        let found = store.last_runs().await.unwrap();
        assert_eq!(
            (found.get(&often), found.get(&seldom), found.get(&never)),
            (Some(&last[8]), Some(&last[6]), None)
        );
        store.close().await.unwrap();
        store = setup.open().await;
    }
    let only =
        WorkflowRetention { workflow: often, accepted_before: None, bytes_max: None, runs_max: Some(1) };
    let retention = Retention {
        accepted_before: None,
        bytes_max: None,
        runs_max: None,
        statistics_before: None,
        statistics_bytes_max: None,
        workflows: vec![only],
    };
    store.prune(retention).await.unwrap();
    assert_eq!(store.last_runs().await.unwrap().get(&often), Some(&last[8]));
    store.archive_workflow(often).await.unwrap();
    assert_eq!(store.last_runs().await.unwrap().get(&often), None);
}
