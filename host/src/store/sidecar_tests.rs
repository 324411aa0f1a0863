//! Tests of [`sidecar`](super::sidecar): its lists say the same as looking at every row.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::hidden::Hidden;
use super::records;
use super::rows::{Place, RunRow, Selection};
use super::sidecar::{self, Sidecar};
use super::{RunFilter, frame, indexing, samples};
use crate::run::{Run, RunId, Status, Trigger};
use crate::workflow::WorkflowId;

/// More rows than fit into a block.
const ROWS: usize = 3000;

fn rows(workflows: &[WorkflowId]) -> Vec<RunRow> {
    let statuses = [Status::Succeeded, Status::Failed, Status::Interrupted, Status::Cancelled];
    let from = Timestamp::from_second(1_800_000_000).unwrap();
    let rows = (0..ROWS).map(|number| {
        let mut run: Run = samples::run(workflows[(number * 7 + number / 11) % workflows.len()]);
        // Mostly succeeded; the last status is rare.
        let status = if number % 997 == 5 { 3 } else { usize::from(number % 13 == 0) + number % 90 / 89 };
        run.status = statuses[status];
        run.trigger = match number % 4 {
            0 => Trigger::Replay { of: RunId::new() },
            1 => Trigger::Test,
            _ => Trigger::Catch,
        };
        run.accepted_at = from + SignedDuration::from_secs((number / 2) as i64);
        let (_, mut row) = records::encode_run(&run, &[], frame::Salt::new(1)).unwrap();
        row.place = Place { offset: number as u32, ..row.place };
        row
    });
    rows.collect()
}

fn select(sidecar: &Sidecar, selection: &Selection, limit: usize) -> Vec<RunRow> {
    let mut found = Vec::new();
    sidecar
        .select(selection, |row| {
            found.push(row);
            found.len() < limit
        })
        .unwrap();
    found
}

#[test]
fn every_filter_finds_what_is_there_newest_first() {
    let workflows: Vec<_> = (0..5).map(|_| WorkflowId::new()).collect();
    let rows = rows(&workflows);
    let temp = tempfile::tempdir().unwrap();
    sidecar::write(temp.path(), 1, &indexing::build(1, 100, &rows, &[])).unwrap();
    let sidecar = Sidecar::open(temp.path(), 1, 100).unwrap();
    let mut newest_first = rows.clone();
    newest_first.sort_by_key(|row| std::cmp::Reverse(row.id));
    let mut hidden = Hidden::default();
    hidden.archive(workflows[4]);
    let some: Arc<HashSet<WorkflowId>> = Arc::new([workflows[0], workflows[3], WorkflowId::new()].into());
    let mut checked = 0;
    for workflow in [None, Some(workflows[1]), Some(workflows[4]), Some(WorkflowId::new())] {
        for among in [None, Some(some.clone())] {
            for statuses in [vec![], vec![Status::Cancelled], vec![Status::Failed, Status::Interrupted]] {
                for trigger in [None, Some("replay".to_owned()), Some("pull".to_owned())] {
                    for (since, until) in
                        [(None, None), (Some(700), None), (None, Some(900)), (Some(500), Some(501))]
                    {
                        let at = |second: Option<usize>| second.map(|second| rows[2 * second].accepted_at);
                        let filter = RunFilter {
                            workflow,
                            among: among.clone(),
                            statuses: statuses.clone(),
                            trigger: trigger.clone(),
                            since: at(since),
                            until: at(until),
                            text: None,
                        };
                        for before in [None, Some(rows[ROWS / 3].id), Some(rows[0].id)] {
                            for hidden in [Hidden::default(), hidden.clone()] {
                                let selection = Selection::new(&filter, before, Arc::new(hidden));
                                let expected: Vec<_> =
                                    newest_first.iter().filter(|row| selection.takes(row)).copied().collect();
                                assert_eq!(select(&sidecar, &selection, usize::MAX), expected, "{filter:?}");
                                let few = select(&sidecar, &selection, 3);
                                assert_eq!(few, expected[..expected.len().min(3)], "{filter:?}");
                                checked += expected.len();
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(checked > 10 * ROWS, "{checked}");
    for row in rows.iter().step_by(97) {
        assert_eq!(sidecar.run(row.id).unwrap(), Some(*row));
    }
    let mut own: Vec<_> = rows.iter().filter(|row| row.workflow == workflows[2]).copied().collect();
    own.sort_by_key(|row| row.id);
    assert_eq!(sidecar.runs_of(workflows[2]).unwrap(), own);
}

#[test]
fn rare_runs_are_found_without_reading_the_whole_index() {
    let workflow = WorkflowId::new();
    let mut rows = rows(&[workflow]);
    rows.iter_mut().for_each(|row| row.class = super::rows::Class::of(Status::Succeeded, &Trigger::Catch));
    rows[17].class = super::rows::Class::of(Status::Cancelled, &Trigger::Test);
    let temp = tempfile::tempdir().unwrap();
    let file = indexing::build(1, 100, &rows, &[]);
    sidecar::write(temp.path(), 1, &file).unwrap();
    for workflow in [None, Some(workflow)] {
        let sidecar = Sidecar::open(temp.path(), 1, 100).unwrap();
        let filter = RunFilter { workflow, statuses: vec![Status::Cancelled], ..RunFilter::default() };
        let found = select(&sidecar, &Selection::new(&filter, None, Arc::default()), 50);
        assert_eq!(found, [rows[17]]);
        assert!(sidecar.bytes() < file.len() * 3 / 4, "{} of {}", sidecar.bytes(), file.len());
    }
}
