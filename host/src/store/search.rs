//! Runs whose log or error holds a text: they are read, newest first, until a page is
//! full or a budget is used up. There is no index of texts: a listing must not cost the
//! writer anything.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame;
use super::records;
use super::rows::{RunRow, Selection};
use super::segment::Segment;
use super::shared::Shared;
use super::{Result, RunPage, Searched};
use crate::run::{LogLine, Run};

/// Bytes of records that one page reads at most, and one extent more: about 10 ms when
/// they are in memory.
const SEARCH_BYTES_MAX: u64 = 8 << 20;
/// Bytes that one page reads however long it takes.
const SEARCH_BYTES_MIN: u64 = 1 << 20;
/// How long one page goes on beyond them: records that come from a slow disk take longer.
const SEARCH_TIME_MAX: Duration = Duration::from_millis(10);
/// Rows that are taken from the indexes at once.
const BATCH_ROWS: usize = 2048;
/// Bytes that are read at once.
const EXTENT_BYTES_MAX: u32 = 512 << 10;
/// Bytes of other records that are read along rather than skipped.
const GAP_BYTES_MAX: u32 = 16 << 10;

/// What is looked for, without regard to the case of ASCII letters.
pub(super) struct Needle {
    text: Vec<u8>,
    /// The longest part of it that JSON writes as it is.
    probe: Vec<u8>,
}

impl Needle {
    pub(super) fn new(text: &str) -> Self {
        let is_escaped = |c: char| c == '"' || c == '\\' || c.is_control();
        let probe = text.split(is_escaped).max_by_key(|part| part.len()).unwrap_or_default();
        Self { text: text.as_bytes().to_vec(), probe: probe.as_bytes().to_vec() }
    }

    /// Whether a record can match, by the bytes of its frame.
    fn may_be_in(&self, frame: &[u8]) -> bool {
        contains(frame, &self.probe)
    }

    fn matches(&self, run: &Run, log: &[LogLine]) -> bool {
        let has = |text: &str| contains(text.as_bytes(), &self.text);
        let fault = run.fault.as_ref();
        fault.is_some_and(|fault| has(&fault.message) || fault.trace.as_deref().is_some_and(has))
            || log.iter().any(|line| has(&line.text) || line.fields.iter().any(|(_, value)| has(value)))
    }
}

/// Whether `needle` is in `bytes`, without regard to the case of ASCII letters.
fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, _)) = needle.split_first() else { return true };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    let is_it =
        |at: usize| bytes.get(at..at + needle.len()).is_some_and(|part| part.eq_ignore_ascii_case(needle));
    memchr::memchr2_iter(lower, upper, bytes).any(is_it)
}

/// A page of the runs that the selection takes and that hold the text.
pub(super) fn search(
    shared: &Shared,
    mut selection: Selection,
    needle: &Needle,
    limit: usize,
) -> Result<RunPage> {
    let mut page = RunPage { searched: Some(Searched::default()), ..RunPage::default() };
    let mut budget = Budget::new(SEARCH_TIME_MAX);
    loop {
        let rows = shared.segments.select(&selection, BATCH_ROWS)?;
        let is_last = rows.len() < BATCH_ROWS;
        let mut from = 0;
        while from < rows.len() {
            let Extent { rows: count, bytes: range } = extent(&rows[from..]);
            let (segment, _) = &rows[from];
            let bytes = read(shared, segment, &range)?;
            budget.read += u64::from(range.end - range.start);
            for (index, (segment, row)) in rows[from..from + count].iter().enumerate() {
                note(&mut page, row);
                page.runs.extend(examine(shared, segment, row, &bytes, range.start, needle));
                let is_end = is_last && from + index + 1 == rows.len();
                if page.runs.len() == limit {
                    page.next = (!is_end).then_some(row.id);
                    return Ok(page);
                }
                selection.before = Some(row.id);
            }
            from += count;
            if budget.is_spent() && !(is_last && from == rows.len()) {
                page.next = selection.before;
                return Ok(page);
            }
        }
        if is_last {
            return Ok(page);
        }
    }
}

/// How much one page reads.
struct Budget {
    since: Instant,
    time: Duration,
    read: u64,
}

impl Budget {
    fn new(time: Duration) -> Self {
        Self { since: Instant::now(), time, read: 0 }
    }

    fn is_spent(&self) -> bool {
        self.read >= SEARCH_BYTES_MAX || self.read >= SEARCH_BYTES_MIN && self.since.elapsed() >= self.time
    }
}

fn note(page: &mut RunPage, row: &RunRow) {
    if let Some(searched) = &mut page.searched {
        searched.runs += 1;
        searched.back_to = searched.back_to.into_iter().chain([row.accepted_at]).min();
    }
}

/// Rows, from the first on, that are read in one go.
struct Extent {
    rows: usize,
    bytes: Range<u32>,
}

fn extent(rows: &[(Arc<Segment>, RunRow)]) -> Extent {
    let (segment, first) = &rows[0];
    let mut bytes = first.place.range();
    let mut count = 1;
    for (other, row) in &rows[1..] {
        let own = row.place.range();
        let both = bytes.start.min(own.start)..bytes.end.max(own.end);
        let is_near = own.end.saturating_add(GAP_BYTES_MAX) >= bytes.start
            && own.start <= bytes.end.saturating_add(GAP_BYTES_MAX);
        if !Arc::ptr_eq(segment, other) || !is_near || both.end - both.start > EXTENT_BYTES_MAX {
            break;
        }
        (bytes, count) = (both, count + 1);
    }
    Extent { rows: count, bytes }
}

/// The bytes; none when the segment was deleted meanwhile.
fn read(shared: &Shared, segment: &Segment, range: &Range<u32>) -> Result<Vec<u8>> {
    match shared.segments.read_range(segment, range.clone()) {
        Err(error) if error.is_gone() => Ok(Vec::new()),
        result => result,
    }
}

/// The run, if it holds the text. What is damaged is reported and passed over.
fn examine(
    shared: &Shared,
    segment: &Segment,
    row: &RunRow,
    bytes: &[u8],
    start: u32,
    needle: &Needle,
) -> Option<Run> {
    let own = row.place.range();
    let frame = bytes.get((own.start - start) as usize..(own.end - start) as usize)?;
    if !needle.may_be_in(frame) {
        return None;
    }
    let body = frame::body(frame, segment.salt).ok_or("its checksum differs".to_owned());
    let log = frame::tail(frame, segment.salt).ok_or("the checksum of its log differs".to_owned());
    let decoded = body.and_then(records::decode_run).and_then(|run| {
        let log = log.and_then(records::decode_log)?;
        Ok((run, log))
    });
    match decoded {
        Ok((run, log)) => needle.matches(&run, &log).then_some(run),
        Err(reason) => {
            shared.status.warn(shared.segments.damaged(segment, row.place, reason).to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_match_in_either_case_and_the_rest_as_it_is() {
        for (needle, found) in [
            ("timeout", true),
            ("TimeOut after", true),
            ("after 30 s", true),
            ("é", true),
            ("É", false),
            ("", true),
            ("out-of", false),
            ("s é!", true),
            ("s é!!", false),
        ] {
            assert_eq!(contains("a Timeout after 30 s é!".as_bytes(), needle.as_bytes()), found, "{needle}");
        }
    }

    #[test]
    fn page_reads_its_least_however_slow_the_disk_is_and_no_more_then() {
        let (slow, fast) = (Budget::new(Duration::ZERO), Budget::new(Duration::MAX));
        for (budget, read, is_spent) in [
            (&slow, SEARCH_BYTES_MIN - 1, false),
            (&slow, SEARCH_BYTES_MIN, true),
            (&fast, SEARCH_BYTES_MAX - 1, false),
            (&fast, SEARCH_BYTES_MAX, true),
        ] {
            assert_eq!(Budget { read, ..*budget }.is_spent(), is_spent, "{read}");
        }
    }

    #[test]
    fn probe_is_what_json_leaves_as_it_is() {
        for (text, probe) in [("plain", "plain"), ("a \"quoted\" b", "quoted"), ("\\\\\n", ""), ("é\tè", "é")]
        {
            let json = serde_json::to_string(text).unwrap();
            let needle = Needle::new(text);
            assert!(needle.may_be_in(json.as_bytes()), "{text:?}");
            assert!(probe.len() == needle.probe.len(), "{text:?}: {:?}", needle.probe);
        }
    }
}
