//! Workflows, schedules and settings as the API shows them.

use jiff::Timestamp;

use super::access;
use crate::account::{Action, Actor, BUILT_IN_ADMIN};
use crate::api::{
    OverrunView, PolicyView, ScheduleRule, ScheduleView, SettingList, SettingView, WorkflowView,
};
use crate::app::{App, Urls};
use crate::registry::Entry;
use crate::schedule::{Cadence, Schedule, interval};
use crate::scheduler::Overrun;
use crate::server::catch;
use crate::workflow::{Settings, State, Visibility, Workflow};

/// A workflow.
pub(in crate::server) fn workflow(entry: &Entry, app: &App, actor: &Actor) -> WorkflowView {
    let workflow = &*entry.workflow;
    let now = Timestamp::now();
    WorkflowView {
        name: workflow.name.clone(),
        id: workflow.id,
        kind: workflow.kind,
        description: workflow.description.clone(),
        owner: Some(workflow.owner.clone().unwrap_or_else(|| BUILT_IN_ADMIN.to_owned())),
        managers: workflow.managers.clone(),
        viewers: workflow.viewers.clone(),
        private: workflow.private,
        state: workflow.state,
        url: url(workflow, &app.urls).filter(|_| access::may(actor, Action::ReadUrl, entry)),
        schedules: workflow.schedules.iter().map(|one| schedule(one, workflow, now, app)).collect(),
        endpoint: workflow.endpoint.clone(),
        signature: workflow.signature.clone(),
        egress: workflow.egress.as_deref().map(<[_]>::to_vec),
        limits: workflow.limits,
        retry: workflow.retry.clone(),
        active_version: workflow.active_version,
        created_at: workflow.created_at,
        updated_at: workflow.updated_at,
        revision: workflow.revision,
        fusion: None,
    }
}

/// Where to call a workflow; `None` for a pull.
pub(in crate::server) fn url(workflow: &Workflow, urls: &Urls) -> Option<String> {
    let key = workflow.catch_key.as_ref()?;
    Some(format!("{}{}{}", urls.catch_url, catch::PREFIX, key.expose()))
}

/// When a workflow is due next; `None` for a catch, a paused one, or one without a
/// schedule.
pub(in crate::server) fn next_due(workflow: &Workflow) -> Option<Timestamp> {
    let now = Timestamp::now();
    let due = workflow.schedules.iter().filter_map(|one| next_due_of(one, workflow.state, now));
    due.min()
}

fn next_due_of(schedule: &Schedule, state: State, now: Timestamp) -> Option<Timestamp> {
    match state {
        State::Active => schedule.next_after(now),
        State::Paused => None,
    }
}

/// A schedule of a workflow.
pub(in crate::server) fn schedule(
    schedule: &Schedule,
    workflow: &Workflow,
    now: Timestamp,
    app: &App,
) -> ScheduleView {
    let rule = match &schedule.cadence {
        Cadence::Every { interval_ms } => {
            ScheduleRule { every: Some(interval::format(*interval_ms)), ..ScheduleRule::default() }
        }
        Cadence::Cron { expression, timezone } => ScheduleRule {
            cron: Some(expression.clone()),
            timezone: Some(timezone.clone()),
            ..ScheduleRule::default()
        },
    };
    ScheduleView {
        name: schedule.name.clone(),
        rule,
        description: schedule.describe(),
        policy: PolicyView::from(&schedule.policy),
        next_due: next_due_of(schedule, workflow.state, now),
        overrun: app.scheduler.overrun(workflow.id, &schedule.name).map(overrun),
    }
}

fn overrun(overrun: Overrun) -> OverrunView {
    OverrunView {
        due: overrun.due,
        took_ms: overrun.took.map(|took| took.as_secs_f64() * 1e3),
        distance_ms: overrun.distance.as_secs_f64() * 1e3,
    }
}

/// The settings of a workflow: values only of those that are plain.
pub(in crate::server) fn settings(settings: &Settings) -> SettingList {
    let views = settings.entries.iter().map(|(name, setting)| SettingView {
        name: name.clone(),
        visibility: setting.visibility,
        value: match setting.visibility {
            Visibility::Plain => serde_json::from_str(setting.value.expose()).ok(),
            Visibility::Secret | Visibility::Sealed => None,
        },
        seal: setting.seal.clone(),
        fingerprint: setting.fingerprint.clone(),
        updated_at: setting.updated_at,
        updated_by: setting.updated_by.clone(),
    });
    SettingList { settings: views.collect(), revision: settings.revision }
}
