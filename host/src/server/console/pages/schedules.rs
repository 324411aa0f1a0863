//! When a pull is due: the form's fields, what comes of them, and changing schedules.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use maud::{Markup, html};

use crate::api::{MissedWord, PolicyView, ScheduleSpec, ScheduleView, UpcomingList};
use crate::app::App;
use crate::registry::RegistryError;
use crate::schedule::{BACKFILL_MAX, Overlap};
use crate::server::api::ApiError;
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::parts::{self, Field};
use crate::server::console::session::Viewer;
use crate::server::console::{Html, Shared, shell, when};
use crate::server::reply::Problem;

/// Instants that a preview shows.
const COMING: usize = 4;
/// Zones that are offered; any other IANA name can be typed.
const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Paris",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Madrid",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Dubai",
    "Asia/Kolkata",
    "Asia/Singapore",
    "Asia/Tokyo",
    "Australia/Sydney",
];

/// What the fields of a schedule say.
pub(super) struct Rule {
    is_cron: bool,
    amount: String,
    unit: String,
    cron: String,
    zone: String,
    policy: Policy,
}

/// What happens to instants that cannot run on time, as it is typed.
#[derive(Default)]
struct Policy {
    overlap: String,
    missed: String,
    missed_max: String,
    start_deadline: String,
    jitter: String,
}

impl From<&PolicyView> for Policy {
    fn from(policy: &PolicyView) -> Self {
        let PolicyView { overlap, missed, missed_max, start_deadline, jitter } = policy;
        Self {
            overlap: overlap_word(*overlap).to_owned(),
            missed: missed_word(*missed).to_owned(),
            missed_max: missed_max.map(|max| max.to_string()).unwrap_or_default(),
            start_deadline: start_deadline.clone().unwrap_or_default(),
            jitter: jitter.clone().unwrap_or_default(),
        }
    }
}

/// The overlaps, as they are written and as people read them.
const OVERLAPS: [(Overlap, &str, &str); 3] = [
    (Overlap::Forbid, "forbid", "Skip the instant"),
    (Overlap::QueueOne, "queue-one", "Let one instant wait for its end"),
    (Overlap::Allow, "allow", "Run beside it"),
];
/// What becomes of missed instants.
const MISSED: [(MissedWord, &str, &str); 3] = [
    (MissedWord::Once, "once", "Run once for all of them"),
    (MissedWord::Skip, "skip", "Run for none of them"),
    (MissedWord::All, "all", "Run for the latest ones, one after the other"),
];

fn overlap_word(overlap: Overlap) -> &'static str {
    OVERLAPS.iter().find(|(own, ..)| *own == overlap).map_or("", |(_, word, _)| word)
}

fn missed_word(missed: MissedWord) -> &'static str {
    MISSED.iter().find(|(own, ..)| *own == missed).map_or("", |(_, word, _)| word)
}

impl Rule {
    /// An interval like `90m`.
    pub(super) fn interval(every: &str) -> Self {
        let digits = every.chars().take_while(char::is_ascii_digit).count();
        let (amount, unit) = every.split_at(digits);
        let of =
            |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        Self {
            is_cron: false,
            amount: of(amount, "90"),
            unit: of(unit, "m"),
            cron: "0 8 * * 1-5".to_owned(),
            zone: "Europe/Paris".to_owned(),
            policy: Policy::default(),
        }
    }

    /// A new schedule, with the policy that the host gives to new ones.
    pub(super) fn new(app: &App) -> Self {
        let shown = Self::interval("90m");
        let made = app.registry.draft_schedule(shown.spec(), Timestamp::now());
        let policy = made.map(|made| Policy::from(&PolicyView::from(&made.policy))).unwrap_or_default();
        Self { policy, ..shown }
    }

    /// With the policy that the host gives to new ones.
    pub(super) fn with_policy_of(self, app: &App) -> Self {
        Self { policy: Self::new(app).policy, ..self }
    }

    /// A schedule that is there.
    pub(super) fn of(schedule: &ScheduleView) -> Self {
        let rule = &schedule.rule;
        let interval = rule.every.as_deref().unwrap_or_default();
        let shown = Self { policy: Policy::from(&schedule.policy), ..Self::interval("90m") };
        match (&rule.cron, &rule.timezone) {
            (Some(cron), zone) => Self {
                is_cron: true,
                cron: cron.clone(),
                zone: zone.clone().unwrap_or_else(|| "UTC".to_owned()),
                ..shown
            },
            (None, _) => {
                let Self { amount, unit, .. } = Self::interval(&in_one_unit(interval));
                Self { amount, unit, ..shown }
            }
        }
    }

    /// What was typed.
    pub(super) fn read(fields: &Fields) -> Self {
        let text = |name: &str| fields.get(name).to_owned();
        Self {
            is_cron: fields.get("by") == "cron",
            amount: text("amount"),
            unit: text("unit"),
            cron: text("cron"),
            zone: text("timezone"),
            policy: Policy {
                overlap: text("overlap"),
                missed: text("missed"),
                missed_max: text("missed_max"),
                start_deadline: text("start_deadline"),
                jitter: text("jitter"),
            },
        }
    }

    /// As the registry takes it. What is not said of its policy is the host's default.
    pub(super) fn spec(&self) -> ScheduleSpec {
        let some = |text: &str| Some(text.to_owned());
        let said = |text: &str| Some(text).filter(|text| !text.is_empty()).map(str::to_owned);
        let policy = &self.policy;
        let overlap = OVERLAPS.iter().find(|(_, word, _)| *word == policy.overlap).map(|(own, ..)| *own);
        let missed = MISSED.iter().find(|(_, word, _)| *word == policy.missed).map(|(own, ..)| *own);
        // Of a policy that was typed, an empty field says that there is none.
        let or_none = |text: &str| overlap.map(|_| said(text).unwrap_or_else(|| "none".to_owned()));
        let spec = ScheduleSpec {
            overlap,
            missed,
            missed_max: (missed == Some(MissedWord::All)).then(|| policy.missed_max.parse().ok()).flatten(),
            start_deadline: or_none(&policy.start_deadline),
            jitter: or_none(&policy.jitter),
            ..Default::default()
        };
        match self.is_cron {
            true => ScheduleSpec { cron: some(&self.cron), timezone: some(&self.zone), ..spec },
            false => ScheduleSpec { every: Some(format!("{}{}", self.amount, self.unit)), ..spec },
        }
    }
}

/// An interval in the largest unit of the form that it is a whole number of.
fn in_one_unit(every: &str) -> String {
    let Ok(interval_ms) = crate::schedule::interval::parse(every) else { return every.to_owned() };
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let unit = units.into_iter().find(|(_, size)| interval_ms.is_multiple_of(*size));
    unit.map_or_else(|| every.to_owned(), |(name, size)| format!("{}{name}", interval_ms / size))
}

/// A policy in words, where it is not what most schedules have.
pub(super) fn policy(policy: &PolicyView) -> Markup {
    let PolicyView { overlap, missed, missed_max, start_deadline, jitter } = policy;
    let mut said = Vec::new();
    match overlap {
        Overlap::Forbid => said.push("skips an instant while it still runs".to_owned()),
        Overlap::QueueOne => said.push("lets one instant wait while it still runs".to_owned()),
        Overlap::Allow => said.push("runs beside a run that still goes".to_owned()),
    }
    match missed {
        MissedWord::Once => said.push("makes up for missed instants with one run".to_owned()),
        MissedWord::Skip => said.push("makes up for no missed instant".to_owned()),
        MissedWord::All => {
            said.push(format!("makes up for the last {} missed", missed_max.unwrap_or_default()))
        }
    }
    said.extend(start_deadline.iter().map(|within| format!("starts within {within} or not at all")));
    said.extend(jitter.iter().map(|jitter| format!("starts up to {jitter} after the instant")));
    html! { p.soft { (shell::sentence(&said.join("; "))) } }
}

/// The instants that come of a rule, or what is wrong with it.
pub(super) fn coming(app: &App, rule: &Rule) -> Markup {
    let now = Timestamp::now();
    match app.registry.draft_schedule(rule.spec(), now) {
        Ok(draft) => instants(&UpcomingList::of(&draft, COMING, now)),
        Err(error) => {
            let problem = Problem::from(&error);
            html! { p.wrong { (shell::sentence(&problem.message)) @if let Some(hint) = &problem.hint { " " (shell::sentence(hint)) } } }
        }
    }
}

/// The preview, as people type.
pub(in super::super) async fn preview(State(console): Shared, Asked(asked): Asked) -> Html {
    Html(coming(&console.api.app, &Rule::read(&asked)))
}

/// Due instants with the rule in words.
pub(super) fn instants(list: &UpcomingList) -> Markup {
    html! {
        p.soft { (shell::sentence(&list.description)) }
        @if list.upcoming.is_empty() { p.wrong { "It is never due." } }
        ol.instants {
            @for one in &list.upcoming {
                li {
                    (when::full(one.due))
                    span.soft { " " (when::relative(one.due)) }
                    @if let Some(change) = &one.change { span.note { (shell::sentence(&change.note)) } }
                }
            }
        }
    }
}

/// The fields of a schedule.
pub(super) fn fields(rule: &Rule, error: Option<&str>, preview: Markup) -> Markup {
    let units = [("s", "seconds"), ("m", "minutes"), ("h", "hours"), ("d", "days")];
    html! {
        fieldset.schedule hx-get="/schedule-preview" hx-include="this" hx-target="find .coming"
            hx-trigger="input delay:150ms, change" hx-sync="this:replace" {
            legend { "Schedule" }
            div.either {
                label { input type="radio" name="by" value="interval" checked[!rule.is_cron]; "Every" }
                span.inline {
                    input type="number" name="amount" min="1" value=(rule.amount) aria-label="Amount" data-picks="interval";
                    select name="unit" aria-label="Unit" data-picks="interval" { (parts::options(&units, &rule.unit)) }
                }
            }
            div.either {
                label { input type="radio" name="by" value="cron" checked[rule.is_cron]; "Cron" }
                span.inline {
                    input.mono type="text" name="cron" value=(rule.cron) aria-label="Cron expression" spellcheck="false"
                        autocomplete="off" data-picks="cron";
                    input type="text" name="timezone" value=(rule.zone) list="zones" aria-label="Time zone" spellcheck="false"
                        autocomplete="off" data-picks="cron";
                    datalist id="zones" { @for zone in ZONES { option value=(zone) {} } }
                }
            }
            (policy_fields(&rule.policy))
            @if let Some(error) = error { p.wrong role="alert" { (shell::sentence(error)) } }
            div.coming aria-live="polite" { (preview) }
        }
    }
}

/// The fields of a schedule's policy.
fn policy_fields(policy: &Policy) -> Markup {
    let overlaps: Vec<_> = OVERLAPS.iter().map(|(_, word, name)| (*word, *name)).collect();
    let missed: Vec<_> = MISSED.iter().map(|(_, word, name)| (*word, *name)).collect();
    let field = |name, label, hint| Field { name, label, hint: Some(hint), error: None };
    html! {
        details open[!policy.overlap.is_empty() && !is_usual(policy)] {
            summary { "When it cannot run on time" }
            div.grid {
                (Field { name: "overlap", label: "The run before still goes on", hint: None, error: None }.around(|id, _| html! { select id=(id) name=(id) { (parts::options(&overlaps, &policy.overlap)) } }))
                (Field { name: "missed", label: "The host was down", hint: None, error: None }.around(|id, _| html! { select id=(id) name=(id) { (parts::options(&missed, &policy.missed)) } }))
                (field("missed_max", "How many of the latest", "With the choice to run for the latest ones.").around(|id, about| html! {
                    input type="number" id=(id) name=(id) min="1" max=(BACKFILL_MAX) value=(policy.missed_max) placeholder="10" aria-describedby=[about];
                }))
                (field("start_deadline", "Latest start", "An instant that cannot start within this time is missed, for example 5m. Empty: it starts however late it is.").text(&policy.start_deadline, ""))
                (field("jitter", "Spread", "Starts up to this long after the instant, always with the same delay, for example 30s.").text(&policy.jitter, ""))
            }
        }
    }
}

/// Whether a policy is what a schedule has when nothing else is said.
fn is_usual(policy: &Policy) -> bool {
    policy.overlap == OVERLAPS[0].1
        && policy.missed == MISSED[0].1
        && policy.start_deadline.is_empty()
        && policy.jitter.is_empty()
}

/// Adds, replaces or removes a schedule of a workflow.
pub(in super::super) async fn change(
    State(console): Shared,
    Extension(viewer): Extension<Viewer>,
    Named(name): Named,
    fields: Fields,
) -> Result<Response, ApiError> {
    let registry = &console.api.app.registry;
    let schedule = fields.some("schedule").unwrap_or_else(|| "default".to_owned());
    let done = match fields.get("action") {
        "remove" => {
            registry.remove_schedule(&name, &schedule).await?;
            "schedule-removed"
        }
        _ => match registry.set_schedule(&name, &schedule, Rule::read(&fields).spec()).await {
            Ok(_) => "schedule-saved",
            Err(error) => {
                let problem = Problem::from(&error);
                if problem.status.is_server_error() || matches!(error, RegistryError::Missing { .. }) {
                    return Err(error.into());
                }
                // The form again, as it was typed, with what is wrong.
                let shown =
                    super::overview::page(&console.api, &viewer, &name, &fields, Some(&problem)).await?;
                return Ok((problem.status, shown).into_response());
            }
        },
    };
    Ok(Redirect::to(&format!("/workflows/{name}?done={done}")).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_an_interval_or_a_cron_expression() {
        let rule = Rule::interval("15m");
        assert_eq!(rule.spec().every.as_deref(), Some("15m"));
        assert_eq!(Rule::interval("").spec().every.as_deref(), Some("90m"));
        let cron = Rule { is_cron: true, ..rule };
        assert_eq!((cron.spec().cron.as_deref(), cron.spec().every), (Some("0 8 * * 1-5"), None));
        assert_eq!(["1h30m", "1d12h", "120s", "1500ms"].map(in_one_unit), ["90m", "36h", "2m", "1500ms"]);
    }

    #[test]
    fn a_policy_that_was_typed_is_said_whole() {
        let typed = Fields::parse(
            b"by=interval&amount=5&unit=m&overlap=allow&missed=all&missed_max=3&start_deadline=&jitter=10s",
        );
        let spec = Rule::read(&typed).spec();
        assert_eq!(
            (spec.overlap, spec.missed, spec.missed_max),
            (Some(Overlap::Allow), Some(MissedWord::All), Some(3))
        );
        assert_eq!((spec.start_deadline.as_deref(), spec.jitter.as_deref()), (Some("none"), Some("10s")));
        let spec = Rule::read(&Fields::parse(b"by=interval&amount=5&unit=m")).spec();
        assert_eq!((spec.overlap, spec.start_deadline, spec.jitter), (None, None, None));
    }
}
