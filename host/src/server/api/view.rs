//! Workflows, schedules and settings as the API shows them.

use jiff::Timestamp;

use crate::api::{ScheduleRule, ScheduleView, SettingList, SettingView, WorkflowView};
use crate::app::Urls;
use crate::registry::Entry;
use crate::schedule::{Cadence, Schedule, interval};
use crate::server::catch;
use crate::workflow::{Settings, State, Visibility, Workflow};

/// A workflow.
pub(super) fn workflow(entry: &Entry, urls: &Urls) -> WorkflowView {
    let workflow = &*entry.workflow;
    let now = Timestamp::now();
    WorkflowView {
        name: workflow.name.clone(),
        id: workflow.id,
        kind: workflow.kind,
        description: workflow.description.clone(),
        owner: workflow.owner.clone(),
        managers: workflow.managers.clone(),
        private: workflow.private,
        state: workflow.state,
        url: url(workflow, urls),
        schedules: workflow.schedules.iter().map(|one| schedule(one, workflow.state, now)).collect(),
        endpoint: workflow.endpoint.clone(),
        limits: workflow.limits,
        retry: workflow.retry.clone(),
        active_version: workflow.active_version,
        created_at: workflow.created_at,
        updated_at: workflow.updated_at,
        revision: workflow.revision,
    }
}

/// Where to call a workflow; `None` for a pull.
pub(super) fn url(workflow: &Workflow, urls: &Urls) -> Option<String> {
    let key = workflow.catch_key.as_ref()?;
    Some(format!("{}{}{}", urls.catch_url, catch::PREFIX, key.expose()))
}

/// When a workflow is due next; `None` for a catch, a paused one, or one without a
/// schedule.
pub(super) fn next_due(workflow: &Workflow) -> Option<Timestamp> {
    let now = Timestamp::now();
    let due = workflow.schedules.iter().filter_map(|one| schedule(one, workflow.state, now).next_due);
    due.min()
}

fn schedule(schedule: &Schedule, state: State, now: Timestamp) -> ScheduleView {
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
    let next_due = match state {
        State::Active => schedule.next_after(now),
        State::Paused => None,
    };
    ScheduleView { name: schedule.name.clone(), rule, description: schedule.describe(), next_due }
}

/// The settings of a workflow: values only of those that are plain.
pub(super) fn settings(settings: &Settings) -> SettingList {
    let views = settings.entries.iter().map(|(name, setting)| SettingView {
        name: name.clone(),
        visibility: setting.visibility,
        value: match setting.visibility {
            Visibility::Plain => serde_json::from_str(setting.value.get()).ok(),
            Visibility::Secret => None,
        },
        updated_at: setting.updated_at,
        updated_by: setting.updated_by.clone(),
    });
    SettingList { settings: views.collect(), revision: settings.revision }
}
