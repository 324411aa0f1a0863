//! The forms of the configuration.

use maud::{Markup, html};

use super::Draft;
use super::read::SCHEMES;
use crate::account::BUILT_IN_ADMIN;
use crate::api::WorkflowView;
use crate::config::Config;
use crate::run::FaultKind;
use crate::schedule::interval;
use crate::server::console::parts::{self, Field};
use crate::server::console::text;
use crate::workflow::{RetryPolicy, Signature};

/// The parts of the page, in their order: the form, and its title.
pub(super) const PARTS: [(&str, &str); 7] = [
    ("details", "Details"),
    ("access", "Access"),
    ("endpoint", "Endpoint"),
    ("signature", "Signed requests"),
    ("egress", "Outbound requests"),
    ("limits", "Limits"),
    ("retry", "Trying again"),
];

/// Methods that are offered; others are set by the API.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// A line of text in one of the forms.
fn line(
    draft: &Draft<'_>,
    part: &str,
    (name, label, hint): (&str, &str, &str),
    value: String,
    placeholder: &str,
) -> Markup {
    let hint = Some(hint).filter(|hint| !hint.is_empty());
    let field = Field { name, label, hint, error: draft.error(name) };
    field.text(&draft.value(part, name, value), placeholder)
}

fn check(name: &str, label: &str, about: &str, checked: bool) -> Markup {
    html! {
        div.check {
            input type="checkbox" id=(name) name=(name) checked[checked];
            label for=(name) { (label) }
            @if !about.is_empty() { span.soft { (about) } }
        }
    }
}

/// Boxes for some of a few words.
fn boxes(name: &str, legend: &str, error: Option<&str>, words: &[(&str, bool)], about: &str) -> Markup {
    html! {
        fieldset.boxes {
            legend { (legend) }
            @for (word, checked) in words {
                @let id = format!("{name}-{word}");
                span { input type="checkbox" id=(id) name=(name) value=(word) checked[*checked]; label for=(id) { (word) } }
            }
            @if let Some(error) = error { p.wrong role="alert" { (super::shell::sentence(error)) } }
            @if !about.is_empty() { p.soft { (about) } }
        }
    }
}

pub(super) fn details(workflow: &WorkflowView, draft: &Draft<'_>) -> Markup {
    let name = ("description", "Description", "What it is for, in a sentence.");
    line(draft, "details", name, workflow.description.clone(), "")
}

pub(super) fn access(workflow: &WorkflowView, draft: &Draft<'_>) -> Markup {
    let owner = workflow.owner.as_deref().unwrap_or(BUILT_IN_ADMIN);
    let part = "access";
    html! {
        (line(draft, part, ("owner", "Owner", "Another account here becomes the owner: afterwards only it, and admins, can give it back."), owner.to_owned(), ""))
        (line(draft, part, ("managers", "Managers", "Accounts that may change and run it, separated by commas."), workflow.managers.join(", "), "ada, joan"))
        (line(draft, part, ("viewers", "Viewers", "Accounts that may look at its code and its runs."), workflow.viewers.join(", "), ""))
        (check("private", "Private", "Others do not see that it exists.", draft.is_on(part, "private", workflow.private)))
    }
}

pub(super) fn endpoint(workflow: &WorkflowView, draft: &Draft<'_>) -> Markup {
    let (part, endpoint) = ("endpoint", &workflow.endpoint);
    let chosen = |method: &str| match draft.is_of(part) {
        true => draft.typed.all("endpoint.methods").any(|own| own == method),
        false => endpoint.methods.iter().any(|own| own == method),
    };
    // One that was set by the API stays.
    let others = endpoint.methods.iter().map(String::as_str).filter(|own| !METHODS.contains(own));
    let methods: Vec<_> = METHODS.into_iter().chain(others).map(|method| (method, chosen(method))).collect();
    html! {
        (boxes("endpoint.methods", "Methods", draft.error("endpoint.methods"), &methods, "Others are answered 405. OPTIONS is answered by the host."))
        (check("endpoint.raw_bodies", "Any content type", "The body is handed over unparsed. Otherwise JSON and the two form types are taken, and others answered 415.", draft.is_on(part, "endpoint.raw_bodies", endpoint.raw_bodies)))
        (line(draft, part, ("endpoint.cors_origins", "Origins of browsers", "Pages of these origins may call it, for example https://www.company.com; * for any, nothing for none."), endpoint.cors_origins.join(", "), ""))
        (line(draft, part, ("endpoint.delivery_id_header", "Header that names a delivery", "Two requests with the same value in it are one: what a webhook sends twice runs once."), endpoint.delivery_id_header.clone().unwrap_or_default(), "x-github-delivery"))
        (line(draft, part, ("endpoint.callback_hosts", "Hosts of callbacks", "Callers of asynchronous runs may have the result sent to these; * for any that the workflow may reach."), endpoint.callback_hosts.join(", "), ""))
    }
}

pub(super) fn signature(workflow: &WorkflowView, draft: &Draft<'_>) -> Markup {
    let (part, present) = ("signature", workflow.signature.as_ref());
    let mut schemes = vec![("", "Not signed: whoever knows the URL")];
    schemes.extend(SCHEMES.iter().map(|(scheme, name)| (scheme.word(), *name)));
    let scheme = present.map_or("", |signature| signature.scheme.word());
    let scheme = draft.value(part, "signature.scheme", scheme.to_owned());
    let settings = present.map_or_else(|| "WEBHOOK_SECRET".to_owned(), |own| own.secret_settings.join(", "));
    let tolerance_ms = u64::from(present.map_or(300, |signature| signature.tolerance_s)) * 1000;
    let once = match present.and_then(|signature: &Signature| signature.once) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let once = draft.value(part, "signature.once", once.to_owned());
    let choices = [("", "As the scheme needs"), ("yes", "Run once"), ("no", "Run each time")];
    html! {
        p.soft { "Requests that are not signed with one of the secrets are answered 401 before any code runs." }
        (Field { name: "signature.scheme", label: "Who signs", hint: None, error: None }.around(|id, _| html! {
            select id=(id) name=(id) { (parts::options(&schemes, &scheme)) }
        }))
        (Field { name: "signature.secret", label: "Secret", hint: Some("Kept as the first of the settings below, and never shown again. Left empty, the setting stays as it is."), error: None }.around(|id, about| html! {
            input type="password" id=(id) name=(id) value="" autocomplete="off" spellcheck="false" aria-describedby=[about];
        }))
        (line(draft, part, ("signature.secret_settings", "Settings that hold secrets", "One that fits is enough: name the old and the new one while a secret is replaced."), settings, "WEBHOOK_SECRET"))
        (line(draft, part, ("signature.tolerance_s", "Clock difference", "How far the signed time may be off, for example 5m. Schemes that sign no time do without."), interval::format(tolerance_ms), "5m"))
        (Field { name: "signature.once", label: "A delivery that comes again", hint: None, error: None }.around(|id, _| html! {
            select id=(id) name=(id) { (parts::options(&choices, &once)) }
        }))
    }
}

pub(super) fn limits(workflow: &WorkflowView, config: &Config, draft: &Draft<'_>) -> Markup {
    let own = &workflow.limits;
    let (engine, run, store, egress) = (&config.engine, &config.run, &config.store, &config.egress);
    let rate = |value: u32| if value == 0 { "any".to_owned() } else { value.to_string() };
    let time = |value: Option<u64>| value.map(interval::format).unwrap_or_default();
    let size = |value: Option<u64>| value.map(text::exact_bytes).unwrap_or_default();
    let count = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
    let row = |name: &str, label: &str, value: String, most: String| {
        line(draft, "limits", (name, label, &format!("The host's: {most}.")), value, &most)
    };
    html! {
        p.soft { "A limit that is left empty is the host's, which none can exceed." }
        div.grid {
            (row("limits.deadline_ms", "Time of a run", time(own.deadline_ms), interval::format(engine.deadline_ms)))
            (row("limits.cpu_ms_max", "Processor time of a run", time(own.cpu_ms_max), interval::format(engine.cpu_ms_max)))
            (row("limits.memory_bytes_max", "Memory of a run", size(own.memory_bytes_max), text::exact_bytes(engine.memory_bytes_max as u64)))
            (row("limits.concurrency_max", "Runs at a time", count(own.concurrency_max.map(u64::from)), run.concurrency_max.to_string()))
            (row("limits.body_bytes_max", "Body of a request", size(own.body_bytes_max), text::exact_bytes(config.server.body_bytes_max as u64)))
            (row("limits.reply_bytes_max", "Reply", size(own.reply_bytes_max), text::exact_bytes(run.reply_bytes_max as u64)))
            (row("limits.log_bytes_max", "Log of a run", size(own.log_bytes_max), text::exact_bytes(run.log_bytes_max as u64)))
        }
        h4 { "How often it may be called" }
        div.grid {
            (row("limits.rate_per_s_max", "Requests a second", count(own.rate_per_s_max.map(u64::from)), rate(config.server.endpoint_rate_per_s_max)))
            (row("limits.burst_max", "At once, after a pause", count(own.burst_max.map(u64::from)), rate(config.server.endpoint_burst_max)))
        }
        h4 { "What a run may send" }
        div.grid {
            (row("limits.egress_requests_max", "Requests", count(own.egress_requests_max.map(u64::from)), egress.requests_max.to_string()))
            (row("limits.egress_concurrent_max", "Requests at a time", count(own.egress_concurrent_max.map(u64::from)), egress.concurrent_max.to_string()))
            (row("limits.egress_bytes_max", "Bytes, both ways", size(own.egress_bytes_max), text::exact_bytes(egress.run_bytes_max)))
        }
        h4 { "How long runs are kept" }
        div.grid {
            (row("limits.retention_days", "Days", count(own.retention_days.map(u64::from)), store.retention_days.to_string()))
            (row("limits.retention_runs_max", "Runs", count(own.retention_runs_max), store.retention_runs_max.to_string()))
            (row("limits.retention_bytes_max", "Space", size(own.retention_bytes_max), text::exact_bytes(store.retention_bytes_max)))
        }
    }
}

pub(super) fn retry(workflow: &WorkflowView, attempts_max: u32, draft: &Draft<'_>) -> Markup {
    let (part, own) = ("retry", &workflow.retry);
    let chosen = |fault: FaultKind| match draft.is_of(part) {
        true => draft.typed.all("retry.on").any(|word| word == fault.word()),
        false => own.on.contains(&fault),
    };
    let faults: Vec<_> = RetryPolicy::FAULTS.iter().map(|fault| (fault.word(), chosen(*fault))).collect();
    html! {
        p.soft { "For ticks of a pull, asynchronous requests and replays. Whoever waits for an answer tries again himself. What has failed each time is a " a href="/dead" { "dead letter" } "." }
        div.grid {
            (line(draft, part, ("retry.attempts", "Attempts", &format!("The first one included; at most {attempts_max}. With 1, nothing is tried again.")), own.attempts.to_string(), "1"))
            (line(draft, part, ("retry.backoff_ms", "Time before the second", "It doubles with each further one."), interval::format(own.backoff_ms), "1s"))
            (line(draft, part, ("retry.backoff_max_ms", "Longest such time", ""), interval::format(own.backoff_max_ms), "5m"))
            (line(draft, part, ("retry.jitter_percent", "Left to chance, in percent", "20 takes 80 to 100 % of the time."), own.jitter_percent.to_string(), "20"))
        }
        (boxes("retry.on", "After these faults", draft.error("retry.on"), &faults, ""))
    }
}
