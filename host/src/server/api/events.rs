//! Runs as they start and end, as server-sent events (HTML standard, section 9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::access::{self, Who};
use super::extract::Params;
use super::{ApiError, Shared};
use crate::account::{Action, Actor};
use crate::api::{ErrorBody, EventsLost, RunEvent};
use crate::app::App;
use crate::telemetry::Telemetry;
use crate::workflow::WorkflowName;

/// Streams that may be open at the same time.
pub(super) const STREAMS_MAX: usize = 64;
/// A comment is sent after so much silence, so that proxies keep the stream open and a
/// client that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events are sent.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::server) struct EventParams {
    /// Runs of this workflow only.
    pub(in crate::server) workflow: Option<String>,
}

type MaySee = Box<dyn Fn(&WorkflowName) -> Option<bool> + Send>;

struct Subscription {
    events: Receiver<RunEvent>,
    workflow: Option<String>,
    /// Whether the run of an event may be shown; `None` when nothing may any more.
    may_see: MaySee,
    draining: CancellationToken,
    telemetry: Arc<Telemetry>,
    /// The stream's place among [`STREAMS_MAX`].
    _place: OwnedSemaphorePermit,
}

/// A stream of events. `run`: a run as it is now, when it starts and when it ends.
/// `lost`: the client was too slow, and so many events were dropped. The stream begins
/// with a comment and ends when the host stops.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "streamEvents", tag = "runs",
    params(EventParams),
    responses(
        (status = 200, description = "Events named `run` (data: RunEvent) and `lost` (data: EventsLost)", content_type = "text/event-stream", body = String),
        (status = 404, description = "There is no such workflow", body = ErrorBody),
        (status = 503, description = "All streams are in use", body = ErrorBody),
    ),
)]
pub(in crate::server) async fn events(
    State(api): Shared,
    Who(actor): Who,
    Params(params): Params<EventParams>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    if let Some(name) = &params.workflow {
        access::find(&api, &actor, Action::InspectWorkflow, name)?;
    }
    let place = Arc::clone(&api.streams).try_acquire_owned();
    let place = place.map_err(|_| ApiError::StreamsTaken { limit: STREAMS_MAX })?;
    let stream = Subscription {
        events: api.app.invoker.subscribe(),
        workflow: params.workflow,
        may_see: may_see(api.app.clone(), actor),
        draining: api.draining.clone(),
        telemetry: api.app.telemetry.clone(),
        _place: place,
    };
    // The first bytes tell the client that nothing is missed from now on.
    let opened = futures::stream::once(async { Ok(Event::default().comment("open")) });
    let events = futures::stream::unfold(stream, async |mut stream| {
        let event = stream.next().await?;
        Some((Ok(event), stream))
    });
    let all = futures::StreamExt::chain(opened, events);
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Rights are those of the moment of each event: they may be taken away while the stream is
/// open, which ends it.
fn may_see(app: Arc<App>, actor: Actor) -> MaySee {
    Box::new(move |name| {
        let actor = app.accounts.renew(&actor)?;
        let entry = app.registry.by_name(name.as_str());
        Some(match entry {
            Some(entry) => access::may(&actor, Action::InspectWorkflow, &entry),
            None => actor.is_admin(),
        })
    })
}

impl Subscription {
    /// The next event; `None` when the host stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let received = tokio::select! {
                received = self.events.recv() => received,
                () = self.draining.cancelled() => return None,
            };
            match received {
                Ok(event) if self.wants(&event) => match (self.may_see)(&event.run.workflow) {
                    None => return None,
                    Some(true) => return Some(named("run", &event)),
                    Some(false) => {}
                },
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    self.telemetry.stream_events_lost(lost);
                    return Some(named("lost", &EventsLost { lost }));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, event: &RunEvent) -> bool {
        self.workflow.as_deref().is_none_or(|name| event.run.workflow.as_str() == name)
    }
}

fn named(name: &str, data: &impl serde::Serialize) -> Event {
    Event::default().event(name).json_data(data).expect("events are texts, numbers and times")
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Semaphore, broadcast};

    use super::*;
    use crate::api::RunView;
    use crate::run::{RunId, Status};

    fn event(workflow: &str) -> RunEvent {
        let now = jiff::Timestamp::now();
        RunEvent {
            run: RunView {
                id: RunId::new(),
                workflow: workflow.parse().unwrap(),
                version: None,
                trigger: "catch".to_owned(),
                schedule: None,
                due: None,
                replay_of: None,
                attempt: 1,
                event: None,
                status: Status::Running,
                fault: None,
                message: None,
                accepted_at: now,
                started_at: None,
                finished_at: None,
                duration_ms: None,
                lateness_ms: None,
                reply_status: None,
                memory_peak_bytes: 0,
            },
        }
    }

    fn stream(events: Receiver<RunEvent>, workflow: Option<&str>) -> Subscription {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let draining = CancellationToken::new();
        let (workflow, may_see) = (workflow.map(str::to_owned), Box::new(|_: &WorkflowName| Some(true)));
        Subscription {
            events,
            workflow,
            may_see,
            draining,
            telemetry: Arc::new(Telemetry::new()),
            _place: place,
        }
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_much_it_lost() {
        let (sender, receiver) = broadcast::channel(2);
        let mut stream = stream(receiver, None);
        for _ in 0..5 {
            sender.send(event("a")).unwrap();
        }
        let told = format!("{:?}", stream.next().await.unwrap());
        assert!(told.contains("lost") && told.contains("{\\\"lost\\\":3}"), "{told}");
        assert!(format!("{:?}", stream.next().await.unwrap()).contains("event: run"));
        assert_eq!(stream.telemetry.stream_events_lost_total(), 3);
    }

    #[tokio::test]
    async fn only_the_workflow_that_was_asked_for_is_told_and_draining_ends_it() {
        let (sender, receiver) = broadcast::channel(8);
        let mut stream = stream(receiver, Some("b"));
        let wanted = event("b");
        sender.send(event("a")).unwrap();
        sender.send(wanted.clone()).unwrap();
        assert!(format!("{:?}", stream.next().await.unwrap()).contains(&wanted.run.id.to_string()));
        stream.draining.cancel();
        assert!(stream.next().await.is_none());
    }
}
