//! A run's end: its answer, what is masked in its record, the record, and who is told.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use super::{Finished, Invocation, Invoker, masking};
use crate::answer::{self, Answer};
use crate::config::Record;
use crate::engine::Input;
use crate::registry::Entry;
use crate::run::{Fault, FaultKind, LogLine, Run, RunId, Status, Trigger};
use crate::store::{Durability, StoreError};

/// The reply header of a catch whose run is not on record, because the disk is full or
/// broken: `no`.
const RECORDED: HeaderName = HeaderName::from_static("tidegate-recorded");

impl Invoker {
    /// Ends a run that did not succeed.
    pub(super) async fn unsuccessful(
        &self,
        entry: &Entry,
        mut run: Run,
        fault: Fault,
        log: Vec<LogLine>,
    ) -> Finished {
        let answer = answer::of_fault(&fault, run.id);
        run.status = match fault.kind {
            FaultKind::Interrupted => Status::Interrupted,
            FaultKind::Cancelled => Status::Cancelled,
            FaultKind::Overload | FaultKind::Quota | FaultKind::Refused if run.started_at.is_none() => {
                Status::Cancelled
            }
            _ => Status::Failed,
        };
        run.fault = Some(fault);
        self.close(entry, run, answer, log).await
    }

    /// Ends a run with what its caller gets.
    pub(super) async fn close(
        &self,
        entry: &Entry,
        mut run: Run,
        mut answer: Answer,
        log: Vec<LogLine>,
    ) -> Finished {
        run.finished_at = Some(Timestamp::now());
        if run.request.is_some() {
            let keep_bytes_max = match run.event {
                None => self.config.run.record_body_bytes_max,
                // Its caller fetches the reply from the record.
                Some(_) => usize::MAX,
            };
            run.reply = Some(answer.record(keep_bytes_max));
        }
        let (run, log, is_recorded) = self.finish(entry, run, log).await;
        if !is_recorded {
            answer.headers.push((RECORDED, HeaderValue::from_static("no")));
        }
        Finished { run, log, answer, is_recorded }
    }

    /// Writes the record and tells everybody. The last value is whether the record is kept.
    pub(super) async fn finish(
        &self,
        entry: &Entry,
        mut run: Run,
        mut log: Vec<LogLine>,
    ) -> (Arc<Run>, Arc<[LogLine]>, bool) {
        self.mask(entry, &mut run, &mut log).await;
        let (run, log): (Arc<Run>, Arc<[LogLine]>) = (Arc::new(run), log.into());
        // The caller of a catch waits, so its record need not be on the disk yet; it
        // survives the end of the process. Everything else can wait a flush longer.
        let durability = match run.trigger {
            Trigger::Catch if run.event.is_none() => Durability::Written,
            Trigger::Catch | Trigger::Pull { .. } | Trigger::Test | Trigger::Replay { .. } => {
                Durability::Durable
            }
        };
        let is_kept = self.config.run.record == Record::All
            || run.trigger != Trigger::Catch
            || run.event.is_some()
            || run.status != Status::Succeeded;
        let mut is_recorded = true;
        if !is_kept {
            // Statistics know of it all the same.
            self.store.count_run(&run);
        }
        if is_kept && let Err(error) = self.store.append_run(run.clone(), log.clone(), durability).await {
            self.telemetry.run_unrecorded();
            is_recorded = false;
            // The store says itself when the disk is full, or when it has stopped, once.
            if !matches!(error, StoreError::Full { .. } | StoreError::Stopped(_)) {
                tracing::error!(run = %run.id, error = &error as &dyn std::error::Error, "a run could not be recorded");
            }
        }
        let gone = self.lock_running().remove(&run.id);
        // Behind the lock.
        drop(gone);
        self.telemetry.run_finished(&run);
        self.telemetry.export(&run, &log);
        self.announce(&run);
        // The record says all of this and more: a line for each run is for those who ask.
        tracing::debug!(
            run = %run.id,
            workflow = %run.workflow_name,
            trigger = run.trigger.word(),
            status = run.status.word(),
            fault = run.fault.as_ref().map(|fault| fault.kind.word()),
            wall_us = run.usage.wall_us,
            "run ended"
        );
        (run, log, is_recorded)
    }

    /// Takes secrets out of what is about to be written and told.
    async fn mask(&self, entry: &Entry, run: &mut Run, log: &mut [LogLine]) {
        match self.registry.settings_of(entry).await {
            Ok(settings) => settings.masks().for_each(|mask| masking::mask(mask, run, log)),
            // An archived workflow has none any more, and its runs are kept by nobody.
            Err(StoreError::Missing { .. }) => {}
            Err(error) => {
                // What may hold a secret and cannot be looked through is not kept.
                run.request = None;
                run.reply = None;
                tracing::error!(run = %run.id, error = &error as &dyn std::error::Error, "a record could not be masked");
            }
        }
    }

    /// A run as it is shown before its end.
    pub(super) fn shown(&self, mut run: Run) -> Run {
        let entry = self.registry.by_id(run.workflow);
        let settings = entry.and_then(|entry| self.registry.settings_in_memory(&entry));
        settings
            .iter()
            .flat_map(|settings| settings.masks())
            .for_each(|mask| masking::mask(mask, &mut run, &mut []));
        run
    }

    /// Ends a run that a panic cut.
    pub(super) async fn record_panic(&self, entry: &Entry, id: RunId) -> Finished {
        // It is taken off the list only when its record is written, which does not panic.
        let run = self.lock_running().get(&id).map(|going| going.run.clone());
        let run = run.unwrap_or_else(|| {
            let input = Input::Tick { schedule: String::new(), due: Timestamp::UNIX_EPOCH };
            let invocation = Invocation { id, ..Invocation::new(Trigger::Test, input) };
            self.record(entry, &invocation, Status::Failed)
        });
        let fault = Fault::new(FaultKind::Host, "the host failed while it ran this; its log says why");
        self.unsuccessful(entry, run, fault, Vec::new()).await
    }
}
