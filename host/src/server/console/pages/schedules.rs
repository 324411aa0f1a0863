//! When a pull is due: the form's fields, what comes of them, and changing schedules.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use maud::{Markup, html};

use crate::api::{ScheduleSpec, UpcomingList};
use crate::app::App;
use crate::server::api::ApiError;
use crate::server::console::form::{Asked, Fields, Named};
use crate::server::console::{Html, Shared, parts, shell, when};
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
        }
    }

    /// As the registry takes it.
    pub(super) fn spec(&self) -> ScheduleSpec {
        let some = |text: &str| Some(text.to_owned());
        match self.is_cron {
            true => ScheduleSpec { cron: some(&self.cron), timezone: some(&self.zone), ..Default::default() },
            false => {
                ScheduleSpec { every: Some(format!("{}{}", self.amount, self.unit)), ..Default::default() }
            }
        }
    }
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
            @if let Some(error) = error { p.wrong role="alert" { (shell::sentence(error)) } }
            div.coming aria-live="polite" { (preview) }
        }
    }
}

/// Adds, replaces or removes a schedule of a workflow.
pub(in super::super) async fn change(
    State(console): Shared,
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
        _ => {
            registry.set_schedule(&name, &schedule, Rule::read(&fields).spec()).await?;
            "schedule-saved"
        }
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
    }
}
