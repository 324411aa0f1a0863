//! What became of a workflow's due instants, one by one, newest first.
//!
//! The ledger keeps one entry for a stretch of instants that did not run; here each of
//! them is an item of its own. An instant of a stretch that has its own entry (the clock
//! was set back, and it came again) is shown by that entry alone, and one that is still to
//! come is not shown.

use jiff::{SignedDuration, Timestamp};

use super::Ledger;
use crate::schedule::{Cadence, Rule, Schedule};
use crate::store::{Result, Tick, TickPlace, TickState};
use crate::workflow::WorkflowId;

/// Entries that one page reads at most: a filter that little passes gets short pages.
const ENTRIES_MAX: usize = 5_000;
/// Entries that are read at a time.
const CHUNK: usize = 200;

/// Which instants are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this schedule; of all when `None`.
    pub schedule: Option<String>,
    /// Those with one of these states; with any when empty.
    pub states: Vec<TickState>,
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The last instant that was looked at.
    pub seen: TickPlace,
    /// The entry at which reading begins again: that of a stretch that is not at its end.
    pub read_from: TickPlace,
}

/// A part of the ledger, newest instant first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// An entry for each instant; those of a stretch have the same run.
    pub items: Vec<Tick>,
    /// Where the next page begins; `None` at the ledger's end.
    pub next: Option<Cursor>,
}

/// A page of at most `limit` instants behind `cursor`. `now` bounds what stretches show.
///
/// # Errors
/// Those of [`Ledger::ticks`].
pub async fn page(
    ledger: &dyn Ledger,
    workflow: WorkflowId,
    filter: &Filter,
    cursor: Option<Cursor>,
    limit: usize,
    now: Timestamp,
) -> Result<Page> {
    let mut read_from = cursor.as_ref().map(|cursor| cursor.read_from.clone());
    let mut listing = Listing {
        filter,
        limit: limit.max(1),
        now,
        seen: cursor.map(|cursor| cursor.seen),
        open: Vec::new(),
        items: Vec::new(),
    };
    let mut last_read: Option<TickPlace> = None;
    let mut read = 0;
    loop {
        let chunk = ledger.ticks(workflow, filter.schedule.as_deref(), read_from.as_ref(), CHUNK).await?;
        let is_last = chunk.len() < CHUNK;
        read += chunk.len();
        for entry in chunk {
            let place = TickPlace { due: entry.due, schedule: entry.schedule.clone() };
            // Chunks begin with the last entry of the one before.
            if last_read.as_ref() == Some(&place) {
                continue;
            }
            if listing.take_members_behind(Some(&place)) || listing.take(entry) {
                return Ok(listing.page(place));
            }
            last_read = Some(place);
        }
        match &last_read {
            Some(place) if !is_last && read < ENTRIES_MAX => read_from = Some(place.clone()),
            Some(place) if !is_last => return Ok(listing.page(place.clone())),
            Some(place) if listing.take_members_behind(None) => return Ok(listing.page(place.clone())),
            _ => return Ok(Page { items: listing.items, next: None }),
        }
    }
}

struct Listing<'a> {
    filter: &'a Filter,
    limit: usize,
    now: Timestamp,
    /// The last instant that was looked at.
    seen: Option<TickPlace>,
    /// Stretches that have instants left.
    open: Vec<Open>,
    items: Vec<Tick>,
}

/// A stretch whose instants are listed.
struct Open {
    entry: Tick,
    rule: Rule,
    /// Just before its first instant.
    before: Timestamp,
    next: TickPlace,
}

impl Listing<'_> {
    /// Lists the instants of stretches that are newer than `bound`; `true` when the page is
    /// full.
    fn take_members_behind(&mut self, bound: Option<&TickPlace>) -> bool {
        loop {
            let newest = self.open.iter().enumerate().max_by(|a, b| a.1.next.cmp(&b.1.next));
            let Some((at, open)) = newest.filter(|(_, open)| bound.is_none_or(|bound| open.next > *bound))
            else {
                return false;
            };
            let place = open.next.clone();
            let member = member(&open.entry, place.due);
            match last_member(&open.rule, open.before, place.due) {
                Some(due) => self.open[at].next.due = due,
                None => drop(self.open.swap_remove(at)),
            }
            if self.push(place, member) {
                return true;
            }
        }
    }

    /// Lists an entry; `true` when the page is full.
    fn take(&mut self, entry: Tick) -> bool {
        let place = TickPlace { due: entry.due, schedule: entry.schedule.clone() };
        if self.filter.states.is_empty() || self.filter.states.contains(&entry.state) {
            self.open.extend(self.open_stretch(&entry));
        }
        self.push(place, entry)
    }

    /// The instants of an entry's stretch that were not listed yet.
    fn open_stretch(&self, entry: &Tick) -> Option<Open> {
        let stretch = entry.stretch.as_ref()?;
        let rule = rule_of(stretch.first, &stretch.cadence)?;
        let before = stretch.first.checked_sub(SignedDuration::from_nanos(1)).ok()?;
        let mut bound = entry.due;
        if let Some(seen) = &self.seen {
            bound = bound.min(seen.due.checked_add(SignedDuration::from_nanos(1)).unwrap_or(seen.due));
        }
        // Those to come will have entries of their own.
        let bound = bound.min(self.now);
        let due = last_member(&rule, before, bound)?;
        let next = TickPlace { due, schedule: entry.schedule.clone() };
        Some(Open { entry: entry.clone(), rule, before, next })
    }

    /// Adds an item unless it was listed; `true` when the page is full.
    fn push(&mut self, place: TickPlace, item: Tick) -> bool {
        if self.seen.as_ref().is_some_and(|seen| place >= *seen) {
            return false;
        }
        self.seen = Some(place);
        if self.filter.states.is_empty() || self.filter.states.contains(&item.state) {
            self.items.push(item);
        }
        self.items.len() >= self.limit
    }

    /// The page, which ends at the entry at `read`.
    fn page(self, read: TickPlace) -> Page {
        let open = self.open.iter().map(|open| place_of(&open.entry));
        let read_from = open.chain([read]).max();
        let next = self.seen.zip(read_from).map(|(seen, read_from)| Cursor { seen, read_from });
        Page { items: self.items, next }
    }
}

fn place_of(entry: &Tick) -> TickPlace {
    TickPlace { due: entry.due, schedule: entry.schedule.clone() }
}

/// The entry as it stands for one of its instants.
fn member(entry: &Tick, due: Timestamp) -> Tick {
    let earlier_us = entry.due.duration_since(due).as_micros();
    let lateness_us = entry.lateness_us.saturating_add(u64::try_from(earlier_us).unwrap_or(0));
    Tick { due, lateness_us, ..entry.clone() }
}

/// The last instant of a stretch before `bound`.
fn last_member(rule: &Rule, before: Timestamp, bound: Timestamp) -> Option<Timestamp> {
    rule.last_within(before, bound.checked_sub(SignedDuration::from_nanos(1)).ok()?)
}

/// A rule whose grid has this instant.
fn rule_of(first: Timestamp, cadence: &Cadence) -> Option<Rule> {
    let anchor = match cadence {
        Cadence::Every { interval_ms } => {
            first.checked_sub(SignedDuration::from_millis(i64::try_from(*interval_ms).ok()?)).ok()?
        }
        Cadence::Cron { .. } => first.checked_sub(SignedDuration::from_secs(1)).ok()?,
    };
    Schedule { anchor, ..Schedule::new("", cadence.clone(), anchor) }.rule().ok()
}
