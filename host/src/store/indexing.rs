//! Builds the index file of a segment, see [`sidecar`](super::sidecar).

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::TickState;
use super::blocks;
use super::records::put_instant;
use super::rows::{Classes, RunRow, TickKey, TickRow};
use super::sidecar::{FIXED_BYTES, FORMAT, MAGIC, RUN_ROW_BYTES, Share, TICK_ROW_BYTES};
use crate::run::RunId;
use crate::workflow::WorkflowId;

/// Builds the index of a segment of `segment_bytes` bytes from its rows, in the order
/// in which they were written: of two with the same id or key the later one counts.
pub(super) fn build(number: u64, segment_bytes: u64, runs: &[RunRow], ticks: &[TickRow]) -> Vec<u8> {
    let runs: BTreeMap<RunId, &RunRow> = runs.iter().map(|row| (row.id, row)).collect();
    let ticks: BTreeMap<TickKey, &TickRow> = ticks.iter().map(|row| (TickKey::of(&row.tick), row)).collect();
    let shares = shares(&runs, &ticks);
    let mut body = Vec::with_capacity(runs.len() * (RUN_ROW_BYTES + 8) + ticks.len() * TICK_ROW_BYTES);
    let mut lists: BTreeMap<(usize, u8), Vec<u32>> = BTreeMap::new();
    let mut by_class: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    for (number, row) in runs.values().enumerate() {
        let share = share_of(&shares, row.workflow);
        lists.entry((share, row.class.code())).or_default().push(number as u32);
        by_class.entry(row.class.code()).or_default().push(number as u32);
        put_run(&mut body, row, share as u32);
    }
    for number in lists.values().chain(by_class.values()).flatten() {
        body.extend_from_slice(&number.to_le_bytes());
    }
    for row in ticks.values() {
        put_instant(&mut body, row.tick.due);
        body.extend_from_slice(&row.place.offset.to_le_bytes());
        body.extend_from_slice(&row.place.body_bytes.to_le_bytes());
    }
    let mut head = head_bytes(&runs, &ticks, &shares, &lists);
    blocks::sums(&body).into_iter().for_each(|sum| head.extend_from_slice(&sum.to_le_bytes()));

    let mut file = Vec::with_capacity(FIXED_BYTES + head.len() + body.len());
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&FORMAT.to_le_bytes());
    file.extend_from_slice(&number.to_le_bytes());
    file.extend_from_slice(&segment_bytes.to_le_bytes());
    file.extend_from_slice(&(head.len() as u32).to_le_bytes());
    file.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let head_sum = crc32c::crc32c_append(crc32c::crc32c(&file), &head);
    file.extend_from_slice(&head_sum.to_le_bytes());
    file.extend_from_slice(&head);
    file.extend_from_slice(&body);
    file
}

fn shares(runs: &BTreeMap<RunId, &RunRow>, ticks: &BTreeMap<TickKey, &TickRow>) -> Vec<Share> {
    let mut shares: BTreeMap<WorkflowId, Share> = BTreeMap::new();
    let empty = |workflow| Share { workflow, runs: 0, ticks: 0, bytes: 0, classes: Classes::default() };
    for row in runs.values() {
        let share = shares.entry(row.workflow).or_insert_with(|| empty(row.workflow));
        share.runs += 1;
        share.bytes += row.place.bytes();
        share.classes.insert(row.class);
    }
    for key in ticks.keys() {
        shares.entry(key.workflow).or_insert_with(|| empty(key.workflow)).ticks += 1;
    }
    shares.into_values().collect()
}

fn share_of(shares: &[Share], workflow: WorkflowId) -> usize {
    shares.binary_search_by_key(&workflow, |share| share.workflow).expect("shares were made from these rows")
}

fn put_run(body: &mut Vec<u8>, row: &RunRow, share: u32) {
    body.extend_from_slice(row.id.as_bytes());
    body.extend_from_slice(&share.to_le_bytes());
    put_instant(body, row.accepted_at);
    for number in [row.place.offset, row.place.body_bytes, row.place.tail_bytes] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(&[row.class.code(), 0, 0, 0]);
}

fn head_bytes(
    runs: &BTreeMap<RunId, &RunRow>,
    ticks: &BTreeMap<TickKey, &TickRow>,
    shares: &[Share],
    lists: &BTreeMap<(usize, u8), Vec<u32>>,
) -> Vec<u8> {
    let mut head = Vec::new();
    let put = |head: &mut Vec<u8>, number: usize| head.extend_from_slice(&(number as u32).to_le_bytes());
    put(&mut head, runs.len());
    put(&mut head, ticks.len());
    if let (Some((first, _)), Some((last, _))) = (runs.first_key_value(), runs.last_key_value()) {
        head.extend_from_slice(first.as_bytes());
        head.extend_from_slice(last.as_bytes());
    }
    let accepted = runs.values().map(|row| row.accepted_at);
    put_instant(&mut head, accepted.clone().min().unwrap_or(Timestamp::MIN));
    let claimed = ticks.values().map(|row| row.tick.claimed_at);
    let newest = accepted.chain(claimed).max().unwrap_or(Timestamp::MIN);
    put_instant(&mut head, newest);
    put_instant(&mut head, ticks.keys().map(|key| key.due).max().unwrap_or(Timestamp::MIN));

    put(&mut head, shares.len());
    for (number, share) in shares.iter().enumerate() {
        head.extend_from_slice(share.workflow.as_bytes());
        head.extend_from_slice(&share.runs.to_le_bytes());
        head.extend_from_slice(&share.ticks.to_le_bytes());
        head.extend_from_slice(&share.bytes.to_le_bytes());
        head.extend_from_slice(&share.classes.0.to_le_bytes());
        let own = lists.range((number, 0)..(number + 1, 0));
        own.for_each(|(_, list)| put(&mut head, list.len()));
    }

    let mut schedules: BTreeMap<(WorkflowId, &str), (Timestamp, u32)> = BTreeMap::new();
    for key in ticks.keys() {
        let entry = schedules.entry((key.workflow, &key.schedule)).or_insert((key.due, 0));
        *entry = (entry.0.max(key.due), entry.1 + 1);
    }
    put(&mut head, schedules.len());
    for ((workflow, name), (due_newest, count)) in schedules {
        head.extend_from_slice(workflow.as_bytes());
        put_instant(&mut head, due_newest);
        put(&mut head, count as usize);
        put(&mut head, name.len());
        head.extend_from_slice(name.as_bytes());
    }

    let open = || ticks.values().filter(|row| row.tick.state == TickState::Claimed);
    put(&mut head, open().count());
    for row in open() {
        head.extend_from_slice(&row.place.offset.to_le_bytes());
        head.extend_from_slice(&row.place.body_bytes.to_le_bytes());
    }
    head
}
