//! `tidegate show`.

use clap::Args;
use serde_json::Value;

use super::error::Result;
use super::human::{bytes, count, duration_ms, relative, time};
use super::output::{clean, clean_lines};
use super::page::Fields;
use super::schedule::{overrun_line, policy_line};
use super::table::{Column, Shown, Table, Tone};
use super::{Context, Format};
use crate::api::{Fusion, WorkflowView};
use crate::workflow::{Kind, State, WorkflowName};

/// Show a workflow: its URL or schedules, its version, its limits
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The workflow
    name: WorkflowName,
    #[command(flatten)]
    format: Format,
}

/// Shows a workflow.
pub(crate) fn run(args: &ShowArgs, context: &mut Context) -> Result<()> {
    let client = context.client()?;
    let path = format!("/api/v1/workflows/{}", args.name);
    let out = &mut context.out;
    if args.format.json {
        return out.json(&client.get::<Value>(&path)?);
    }
    let view: WorkflowView = client.get(&path)?;
    let now = jiff::Timestamp::now();
    let state = match view.state {
        State::Active => out.paint.good("active"),
        State::Paused => out.paint.warn("paused"),
    };
    out.line(format!("{}  {}, {state}", out.paint.bold(&view.name), view.kind))?;
    if !view.description.is_empty() {
        out.line(clean_lines(&view.description))?;
    }
    out.line("")?;
    fields(&view, out, now).print(out)?;
    if !view.schedules.is_empty() {
        out.line("")?;
        schedules(&view, out, now)?;
    }
    out.flush()?;
    for schedule in &view.schedules {
        if let Some(line) = overrun_line(schedule, &out.zone) {
            out.warning(format!("{}: {line}", schedule.name));
            out.hint(format!("`tidegate schedule ledger {}` shows what became of its instants", view.name));
        }
    }
    if view.active_version.is_none() {
        out.hint(format!("nothing is deployed yet: `tidegate deploy PATH --name {}`", view.name));
    }
    Ok(())
}

fn fields(view: &WorkflowView, out: &super::output::Output, now: jiff::Timestamp) -> Fields {
    let at = |instant| format!("{} ({})", time(instant, &out.zone), relative(instant, now));
    let mut fields = Fields::default();
    fields.maybe("url", view.url.as_deref().map(clean));
    fields.add("version", view.active_version.map_or("none yet".to_owned(), |version| version.to_string()));
    if let Some(fusion) = &view.fusion {
        fused(fusion, &mut fields);
    }
    if view.kind == Kind::Catch {
        let endpoint = &view.endpoint;
        let bodies = if endpoint.raw_bodies { "bodies of any type" } else { "JSON and forms" };
        fields.add("accepts", clean(&format!("{} with {bodies}", endpoint.methods.join(", "))));
        let origins = match endpoint.cors_origins.as_slice() {
            [] => "no browser".to_owned(),
            [any] if any == "*" => "browsers of any origin".to_owned(),
            origins => format!("browsers of {}", origins.join(", ")),
        };
        fields.add("callable by", clean(&origins));
        if let Some(signature) = &view.signature {
            let secrets = signature.secret_settings.join(", ");
            fields.add("signed by", clean(&format!("{}, with {secrets}", signature.scheme)));
        }
        fields.maybe("delivery id", endpoint.delivery_id_header.as_deref().map(clean));
        if !endpoint.callback_hosts.is_empty() {
            fields.add("calls back", clean(&endpoint.callback_hosts.join(", ")));
        }
    }
    if let Some(list) = &view.egress {
        let hosts: Vec<&str> = list.iter().map(|one| one.host.as_str()).collect();
        let hosts = if hosts.is_empty() { "nowhere".to_owned() } else { hosts.join(", ") };
        fields.add("may reach", clean(&hosts));
    }
    let limits = [
        view.limits.deadline_ms.map(|ms| format!("deadline {}", duration_ms(ms))),
        view.limits.cpu_ms_max.map(|ms| format!("{} of processor time", duration_ms(ms))),
        view.limits.memory_bytes_max.map(|size| format!("memory {}", bytes(size))),
        view.limits.concurrency_max.map(|runs| format!("{runs} runs at a time")),
        view.limits.body_bytes_max.map(|size| format!("bodies of {}", bytes(size))),
        view.limits.log_bytes_max.map(|size| format!("logs of {}", bytes(size))),
        view.limits.reply_bytes_max.map(|size| format!("replies of {}", bytes(size))),
        view.limits.rate_per_s_max.map(|rate| match view.limits.burst_max {
            Some(burst) if burst != rate => {
                format!("{} a second, {burst} at once", count(rate.into(), "request"))
            }
            _ => format!("{} a second", count(rate.into(), "request")),
        }),
        view.limits.egress_requests_max.map(|sent| format!("sends {}", count(sent.into(), "request"))),
        view.limits.egress_concurrent_max.map(|sent| format!("sends {sent} at a time")),
        view.limits.egress_bytes_max.map(|size| format!("moves {}", bytes(size))),
        view.limits.retention_days.map(|days| format!("runs of {}", count(days.into(), "day"))),
        view.limits.retention_runs_max.map(|runs| format!("the last {}", count(runs, "run"))),
        view.limits.retention_bytes_max.map(|size| format!("{} of runs", bytes(size))),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    fields.add("limits", if limits.is_empty() { "those of the host".to_owned() } else { limits.join(", ") });
    let retry = &view.retry;
    if retry.attempts > 1 {
        let faults = retry.on.iter().map(|fault| fault.word()).collect::<Vec<_>>().join(", ");
        fields.add("attempts", format!("{}, after {faults}", retry.attempts));
    }
    fields.maybe("owner", view.owner.as_deref().map(clean));
    if !view.managers.is_empty() {
        fields.add("managers", clean(&view.managers.join(", ")));
    }
    if view.private {
        fields.add("private", "only its owner, its managers and admins see it");
    }
    fields.add("created", at(view.created_at));
    fields.add("changed", at(view.updated_at));
    fields.add("id", view.id);
    fields
}

/// Says whether a component's core modules were merged.
pub(super) fn fused(fusion: &Fusion, fields: &mut Fields) {
    match &fusion.reason {
        None => fields.add("fused", fusion),
        Some(reason) => fields.add("not fused", clean(reason)),
    }
}

fn schedules(view: &WorkflowView, out: &mut super::output::Output, now: jiff::Timestamp) -> Result<()> {
    let mut table = Table::new([
        Column::text("SCHEDULE"),
        Column::text("RULE").cut(),
        Column::text("NEXT DUE"),
        Column::text("").spare(),
    ]);
    for schedule in &view.schedules {
        let policy = policy_line(&schedule.policy).map(|line| Shown::toned(line, Tone::Dim));
        let cells = [
            Shown::toned(&schedule.name, Tone::Bold),
            schedule.description.as_str().into(),
            Shown::maybe(schedule.next_due.map(|next| time(next, &out.zone))),
            Shown::toned(schedule.next_due.map(|next| relative(next, now)).unwrap_or_default(), Tone::Dim),
        ];
        table.row_with(cells, policy);
    }
    table.print(out)
}
