//! The verbs of [`EventQueue`] for the embedded store.

use async_trait::async_trait;
use jiff::Timestamp;

use super::writer::QueueWriter;
use super::{
    CallbackRecord, CallbackResult, Enqueued, EventEnd, EventInput, EventQueue, EventState, Leased, Leases,
    Notified, QueueEntry, QueueFigures, Redrive, Room, Settlement, Wanted, log, sealing,
};
use crate::run::RunId;
use crate::store::status::{lock, read};
use crate::store::{EmbeddedStore, Result, StoreError};
use crate::workflow::WorkflowId;

/// Longest reason that is kept of a callback that was not told.
const REASON_BYTES_MAX: usize = 300;

fn not_leased(id: RunId) -> StoreError {
    StoreError::Missing { what: format!("a lease of the event {id}") }
}

impl QueueWriter {
    fn lease(&mut self, now: Timestamp, wanted: Wanted, room: &Room) -> Result<Leases> {
        let found = self.book(|book| book.due(now, wanted, &**room));
        let mut leased = Vec::with_capacity(found.len());
        for entry in found {
            let id = entry.event.id;
            match entry.state {
                EventState::Waiting { .. } => match self.lease_one(&entry, now) {
                    Ok(one) => leased.push(one),
                    // One damaged event must not hold up all others.
                    Err(error @ StoreError::Damaged { .. }) => {
                        self.shared.status().warn(error.to_string());
                        self.bury_unreadable(&entry, now)?;
                    }
                    // Its workflow was archived: it is about to be forgotten.
                    Err(StoreError::Missing { .. }) => {}
                    Err(error) => return Err(error),
                },
                _ => {
                    self.book(|book| book.tell(id));
                    let entry = sealing::open_callback(&self.shared.store, (*entry).clone());
                    match entry {
                        Ok(entry) => leased.push(Leased { entry, input: EventInput::Nothing }),
                        Err(error) => {
                            self.shared.status().warn(error.to_string());
                            self.settle_callback(id, Notified::GivenUp { reason: error.to_string() }, now)?;
                        }
                    }
                }
            }
        }
        Ok(Leases { leased, next: self.book(|book| book.next_due(now)) })
    }

    fn lease_one(&mut self, entry: &QueueEntry, now: Timestamp) -> Result<Leased> {
        let leased = QueueEntry { state: EventState::Leased { since: now }, ..entry.clone() };
        let with_input = self.with_input(leased.clone())?;
        self.put(leased, None)?;
        Ok(with_input)
    }

    fn bury_unreadable(&mut self, entry: &QueueEntry, now: Timestamp) -> Result<()> {
        let (status, fault) = (crate::run::Status::Failed, Some(crate::run::FaultKind::Host));
        let end = EventEnd { status, fault, at: now, is_dead: true };
        self.put(QueueEntry { state: EventState::Ended { end }, ..entry.clone() }, None)
    }

    fn settle(&mut self, id: RunId, run: RunId, settlement: Settlement) -> Result<QueueEntry> {
        let entry = self.book(|book| book.get(id).cloned()).ok_or_else(|| not_leased(id))?;
        if entry.run != run || !matches!(entry.state, EventState::Leased { .. }) {
            return Err(not_leased(id));
        }
        let mut entry = (*entry).clone();
        match settlement {
            Settlement::Forget => {
                self.remove(id);
                return Ok(entry);
            }
            Settlement::Retry { not_before, counts } => {
                entry.state = EventState::Waiting { not_before };
                entry.run = RunId::new();
                entry.attempt += 1;
                entry.pardoned += u32::from(!counts);
            }
            Settlement::End(end) => entry.state = ended(&entry, end),
        }
        self.put(entry.clone(), None)?;
        Ok(entry)
    }

    fn settle_callback(&mut self, id: RunId, notified: Notified, at: Timestamp) -> Result<()> {
        let entry = self.book(|book| book.get(id).cloned()).ok_or_else(|| not_leased(id))?;
        let EventState::Notifying { tries, end, .. } = entry.state else { return Err(not_leased(id)) };
        let over = EventState::Ended { end };
        let (state, result, reason) = match notified {
            Notified::Told => (over, CallbackResult::Told, None),
            Notified::Gone => (over, CallbackResult::Gone, None),
            Notified::GivenUp { reason } => (over, CallbackResult::GivenUp, Some(reason)),
            Notified::Again { not_before, reason } => {
                let again = EventState::Notifying { not_before, tries: tries + 1, end };
                (again, CallbackResult::Again, Some(reason))
            }
        };
        let reason = reason.map(|reason| reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned());
        let told = Some(CallbackRecord { result, at, tries: tries + 1, reason });
        self.put(QueueEntry { state, told, ..(*entry).clone() }, None)
    }

    fn redrive(&mut self, which: &Redrive, limit: usize) -> Result<Vec<RunId>> {
        let found = self.book(|book| book.to_redrive(which, limit));
        let now = Timestamp::now();
        let mut ids = Vec::with_capacity(found.len());
        for entry in found {
            let id = entry.event.id;
            self.put(
                QueueEntry {
                    run: RunId::new(),
                    attempt: entry.attempt + 1,
                    pardoned: entry.attempt,
                    state: EventState::Waiting { not_before: now },
                    event: entry.event.clone(),
                    // Its callback is told of its next end.
                    told: None,
                },
                None,
            )?;
            ids.push(id);
        }
        Ok(ids)
    }
}

fn ended(entry: &QueueEntry, end: EventEnd) -> EventState {
    match entry.event.callback {
        Some(_) => EventState::Notifying { not_before: end.at, tries: 0, end },
        None => EventState::Ended { end },
    }
}

#[async_trait]
impl EventQueue for EmbeddedStore {
    async fn enqueue(&self, mut entry: QueueEntry, input: EventInput) -> Result<Enqueued> {
        let mut bytes = log::encode_input(&input)?;
        if sealing::needs_key(&entry.event, &input) {
            self.have_event_key(entry.event.workflow).await?;
            sealing::seal(&self.shared, &mut entry, Some(&mut bytes))?;
        }
        let shared = self.shared.clone();
        self.queue
            .ask(move |writer| {
                read(&shared.metadata).get(entry.event.workflow)?;
                let limits = writer.shared.limits;
                let now = Timestamp::now();
                if let Some(known) = writer.book(|book| book.known(&entry, now, limits.remember)) {
                    return Ok(known);
                }
                writer.book(|book| book.check_room(bytes.len(), &limits))?;
                writer.check_space(&entry, &input)?;
                writer.put(entry, Some(&bytes))?;
                Ok(Enqueued::New)
            })
            .await
    }

    async fn lease(&self, now: Timestamp, wanted: Wanted, room: Room) -> Result<Leases> {
        // Nothing to do is the usual case: no need to wait for a flush of others.
        let first = Wanted { runs: wanted.runs.min(1), callbacks: wanted.callbacks.min(1) };
        let (due, next) = {
            let book = lock(&self.queue.shared.book);
            (book.due(now, first, &*room), book.next_due(now))
        };
        if due.is_empty() {
            return Ok(Leases { leased: Vec::new(), next });
        }
        self.queue.ask(move |writer| writer.lease(now, wanted, &room)).await
    }

    async fn take(&self, id: RunId) -> Result<Option<Leased>> {
        self.queue
            .ask(move |writer| {
                let entry = writer.book(|book| book.get(id).cloned());
                match entry {
                    Some(entry) if matches!(entry.state, EventState::Waiting { .. }) => {
                        writer.lease_one(&entry, Timestamp::now()).map(Some)
                    }
                    _ => Ok(None),
                }
            })
            .await
    }

    async fn settle_event(&self, id: RunId, run: RunId, settlement: Settlement) -> Result<QueueEntry> {
        self.queue.ask(move |writer| writer.settle(id, run, settlement)).await
    }

    async fn settle_callback(&self, id: RunId, notified: Notified) -> Result<()> {
        self.queue.ask(move |writer| writer.settle_callback(id, notified, Timestamp::now())).await
    }

    async fn orphans(&self) -> Result<Vec<Leased>> {
        self.queue
            .ask(|writer| {
                let orphans = writer.book(|book| book.orphans());
                orphans.into_iter().map(|entry| writer.with_input((*entry).clone())).collect()
            })
            .await
    }

    async fn redrive(&self, which: Redrive, limit: usize) -> Result<Vec<RunId>> {
        self.queue.ask(move |writer| writer.redrive(&which, limit)).await
    }

    async fn dead_letters(
        &self,
        workflow: Option<WorkflowId>,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<(Vec<QueueEntry>, Option<RunId>)> {
        let limit = limit.clamp(1, super::super::PAGE_MAX);
        let mut page = lock(&self.queue.shared.book).dead_letters(workflow, cursor, limit + 1);
        let next = (page.len() > limit).then(|| page[limit - 1].event.id);
        page.truncate(limit);
        Ok((page, next))
    }

    async fn event(&self, id: RunId) -> Result<Option<QueueEntry>> {
        Ok(lock(&self.queue.shared.book).get(id).map(|entry| (**entry).clone()))
    }

    async fn event_input(&self, id: RunId) -> Result<Option<EventInput>> {
        self.queue
            .ask(move |writer| {
                let entry = writer.book(|book| book.get(id).cloned());
                entry.map(|entry| writer.with_input((*entry).clone()).map(|one| one.input)).transpose()
            })
            .await
    }

    async fn unended(&self, workflow: Option<WorkflowId>, limit: usize) -> Result<Vec<QueueEntry>> {
        Ok(lock(&self.queue.shared.book).unended(workflow, limit))
    }

    async fn tidy_queue(&self, now: Timestamp) -> Result<()> {
        self.queue
            .ask(move |writer| {
                writer.tidy(now);
                Ok(())
            })
            .await
    }

    fn queue_figures(&self) -> QueueFigures {
        self.queue.shared.figures()
    }
}
