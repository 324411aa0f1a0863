//! Reads everything back: every frame, every index, every blob, every reference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::frame::{self, Kind};
use super::logfile::{self, Purpose};
use super::rows::{Place, RunRow};
use super::segment::{Rows, Segment};
use super::shared::Shared;
use super::sidecar::{Sidecar, SidecarError};
use super::status::read;
use super::{Result, StoreError, Verification, records, statistics};
use crate::run::RunId;

/// Problems that are listed; there may be more.
pub(super) const PROBLEMS_MAX: usize = 1000;

/// Reads everything but the checkpoint, which belongs to another thread.
pub(super) fn verify(shared: &Shared) -> Result<Verification> {
    let mut found = Verification::default();
    for segment in shared.segments.list().into_iter().rev() {
        match verify_segment(shared, &segment, &mut found) {
            // It was deleted in between.
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => found.problems.push(format!("segment {}: {error}", segment.number)),
            Ok(()) => {}
        }
    }
    match statistics::gaps(shared) {
        Ok(gaps) => found.problems.extend(gaps),
        Err(error) => found.problems.push(format!("statistics: {error}")),
    }
    verify_blobs(shared, &mut found);
    found.problems.extend(super::queue::log::verify(&shared.folder.queue(), shared.folder.salt())?);
    found.problems.truncate(PROBLEMS_MAX);
    Ok(found)
}

fn verify_segment(shared: &Shared, segment: &Arc<Segment>, found: &mut Verification) -> Result<()> {
    let number = segment.number;
    let _reading = shared.segments.reading();
    if !shared.segments.is_current(segment) {
        return Ok(()); // It was deleted or written anew in between.
    }
    // The rows first: what is written meanwhile is in the file, not among them.
    let indexed = indexed_rows(shared, segment)?;
    let read = logfile::open(&shared.folder.runs(), Purpose::Runs, number, segment.salt)?;
    if !read.has_header {
        found.problems.push(format!("segment {number}: its header is damaged"));
    }
    let mut stored: BTreeMap<RunId, RunRow> = BTreeMap::new();
    let mut problems = Vec::new();
    let end = segment.bytes().min(read.bytes);
    let scan = frame::scan(&read.file, logfile::HEADER_BYTES.min(end)..end, read.salt, |frame| {
        let at = frame.offset;
        let result = match frame.kind {
            Some(Kind::Run) => {
                found.runs_checked += 1;
                let offset = u32::try_from(at).unwrap_or(u32::MAX);
                let (body_bytes, tail_bytes) = (frame.body.len() as u32, frame.tail.len() as u32);
                stored.extend(
                    records::run_row(frame.body, Place { offset, body_bytes, tail_bytes })
                        .map(|row| (row.id, row)),
                );
                records::decode_run(frame.body).and(records::decode_log(frame.tail).map(drop))
            }
            Some(Kind::Tick) => records::decode_tick(frame.body).map(drop),
            Some(Kind::Change | Kind::Event | Kind::Gone | Kind::Rollups) | None => {
                Err("it is of a kind that has no place here".to_owned())
            }
        };
        if let Err(reason) = result {
            problems.push(format!("segment {number}: the record at {at}: {reason}"));
        }
    })
    .map_err(|source| StoreError::Io { action: format!("read segment {number}"), source })?;
    let damaged = scan.gaps.into_iter().chain((scan.end < end).then_some(scan.end..end));
    problems.extend(
        damaged.map(|gap| format!("bytes {} to {} of segment {number} are damaged", gap.start, gap.end)),
    );
    for row in indexed.values().filter(|row| stored.get(&row.id) != Some(row)) {
        problems.push(format!("segment {number}: run {} is indexed but not there", row.id));
    }
    if matches!(segment.rows, Rows::Complete(_)) {
        for id in stored.keys().filter(|id| !indexed.contains_key(id)) {
            problems.push(format!("segment {number}: run {id} is not indexed"));
        }
    }
    found.problems.append(&mut problems);
    Ok(())
}

fn indexed_rows(shared: &Shared, segment: &Segment) -> Result<BTreeMap<RunId, RunRow>> {
    match &segment.rows {
        Rows::Live(live) => Ok(live.rows().0.into_iter().map(|row| (row.id, row)).collect()),
        Rows::Complete(_) => {
            let read = || -> std::result::Result<_, SidecarError> {
                let sidecar = Sidecar::open(&shared.folder.runs(), segment.number, segment.bytes())?;
                sidecar.load()?;
                sidecar.runs().map(|row| row.map(|row| (row.id, row))).collect()
            };
            read().map_err(|error| StoreError::Damaged {
                what: "its index".to_owned(),
                reason: error.to_string(),
            })
        }
    }
}

fn verify_blobs(shared: &Shared, found: &mut Verification) {
    let mut wanted: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for kept in read(&shared.metadata).workflows() {
        for version in kept.versions.values() {
            for digest in version.code.blobs() {
                let name = format!("version {} of {}", version.number, kept.workflow.name);
                wanted.entry(digest).or_default().push(name);
            }
        }
    }
    let all: BTreeSet<_> = shared.blobs.digests().into_iter().chain(wanted.keys().copied()).collect();
    for digest in all {
        found.blobs_checked += 1;
        if let Err(error) = shared.blobs.get(digest) {
            let users = wanted.get(&digest).map(|users| format!(" (used by {})", users.join(", ")));
            found.problems.push(format!("{error}{}", users.unwrap_or_default()));
        }
    }
}
