//! One run as a page: what `show-run`, `invoke` and `run` print.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::error::Result;
use super::human::{bytes, count, duration, duration_us, time};
use super::output::{Output, clean, clean_lines};
use super::runs::{fault_line, tone};
use crate::api::{CallbackState, CallbackView, RunDetail, RunLog};
use crate::run::{Body, Exchange, Level, LogLine};

/// Names and values, one under the other.
#[derive(Default)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// Adds a field.
    pub(crate) fn add(&mut self, name: &'static str, value: impl ToString) {
        self.0.push((name, value.to_string()));
    }

    /// Adds a field, if there is one.
    pub(crate) fn maybe(&mut self, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Prints the fields to standard output.
    pub(crate) fn print(self, out: &mut Output) -> Result<()> {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in self.0 {
            let name = out.paint.dim(format!("{name:width$}"));
            out.line(format!("  {name}  {value}"))?;
        }
        Ok(())
    }
}

/// Prints a run of a host to standard output.
pub(crate) fn run(out: &mut Output, detail: &RunDetail, log: &RunLog) -> Result<()> {
    head(out, detail)?;
    timeline(out, detail)?;
    request(out, detail)?;
    ending(out, detail, log)?;
    for (title, names) in
        [("Settings handed over", &detail.settings_read), ("Settings changed", &detail.settings_changed)]
    {
        if !names.is_empty() {
            section(out, title, "")?;
            for name in names {
                out.line(format!("  {}", clean(name)))?;
            }
        }
    }
    out.flush()
}

/// Prints a run of this machine, whose settings are nobody's secret.
pub(crate) fn local_run(
    out: &mut Output,
    detail: &RunDetail,
    log: &RunLog,
    settings: &BTreeMap<String, Option<Value>>,
) -> Result<()> {
    head(out, detail)?;
    ending(out, detail, log)?;
    if !settings.is_empty() {
        section(out, "Settings changed", "")?;
        for (name, value) in settings {
            match value {
                Some(value) => out.line(clean(&format!("  {name} = {value}")))?,
                None => out.line(format!("  {} {}", clean(name), out.paint.dim("deleted")))?,
            }
        }
    }
    out.flush()
}

/// What came out: reply, log, outbound calls, trace.
fn ending(out: &mut Output, detail: &RunDetail, log: &RunLog) -> Result<()> {
    reply(out, detail)?;
    log_section(out, log)?;
    exchanges(out, &detail.exchanges)?;
    if let Some(trace) = &detail.trace {
        section(out, "Trace", "")?;
        indented(out, trace)?;
    }
    Ok(())
}

fn head(out: &mut Output, detail: &RunDetail) -> Result<()> {
    let run = &detail.run;
    let status = out.paint.toned(run.status, tone(run.status));
    out.line(format!("{} {}  {status}", out.paint.bold("run"), run.id))?;
    if let Some(line) = fault_line(run) {
        out.line(format!("  {}", out.paint.bad(clean(&line))))?;
    }
    let mut fields = Fields::default();
    let version = run.version.map_or("no version".to_owned(), |version| format!("version {version}"));
    fields.add("workflow", format!("{}, {version}", run.workflow));
    let mut trigger = run.trigger.clone();
    if let Some(schedule) = &run.schedule {
        trigger.push_str(&format!(", schedule {schedule}"));
    }
    if let Some(of) = run.replay_of {
        trigger.push_str(&format!(" of {of}"));
    }
    if run.attempt > 1 {
        trigger.push_str(&format!(", attempt {}", run.attempt));
        if let Some(event) = run.event {
            trigger.push_str(&format!(" at {event}"));
        }
    }
    fields.add("trigger", clean(&trigger));
    fields.maybe("due", run.due.map(|due| time(due, &out.zone)));
    fields.maybe("lateness", run.lateness_ms.map(duration));
    if let Some(callback) = &detail.callback {
        fields.add("callback", told(out, callback));
        fields.maybe("not told", callback.error.as_deref().map(clean));
    }
    fields.maybe("node", detail.node.as_deref().map(clean));
    let usage = &detail.usage;
    let used = run.started_at.map(|_| {
        let (time, memory) = (duration_us(usage.cpu_us), bytes(usage.memory_peak_bytes));
        format!("{time} of processor time, {memory} of memory at most")
    });
    fields.maybe("used", used);
    fields.print(out)
}

/// What became of telling the callback.
fn told(out: &Output, callback: &CallbackView) -> String {
    let at = |at: Option<Timestamp>| at.map(|at| format!(" at {}", time(at, &out.zone))).unwrap_or_default();
    let tries = match callback.tries {
        1 => "1 try".to_owned(),
        tries => format!("{tries} tries"),
    };
    match callback.state {
        CallbackState::Waiting => "told when the last attempt has ended".to_owned(),
        CallbackState::Pending if callback.tries == 0 => "about to be told".to_owned(),
        CallbackState::Pending => format!("{tries} so far, the next one{}", at(callback.next_at)),
        CallbackState::Told => format!("told{}, {tries}", at(callback.tried_at)),
        CallbackState::Gone => format!("not wanted (410){}", at(callback.tried_at)),
        CallbackState::GivenUp => format!("given up after {tries}, the last one{}", at(callback.tried_at)),
    }
}

fn timeline(out: &mut Output, detail: &RunDetail) -> Result<()> {
    let run = &detail.run;
    section(out, "Timeline", "")?;
    out.line(format!("  {}  accepted", time(run.accepted_at, &out.zone)))?;
    let Some(started) = run.started_at else { return Ok(()) };
    // From when it was accepted: an attempt that was tried again waited longer than for a permit.
    let waited_ms = (started.duration_since(run.accepted_at).as_secs_f64() * 1e3).max(0.0);
    let permit_ms = detail.usage.queue_us as f64 / 1e3;
    let started_how = match run.event {
        _ if waited_ms < 1.0 => "started",
        Some(_) if permit_ms < waited_ms / 2.0 => "started, after waiting in the queue",
        _ if permit_ms >= 1.0 => "started, after waiting for a permit",
        _ => "started",
    };
    let mut steps = vec![(waited_ms, started_how.to_owned())];
    let since_accepted = |us: u64| waited_ms + us as f64 / 1e3;
    if detail.usage.instantiate_us > 0 {
        steps.push((since_accepted(detail.usage.instantiate_us), "instance ready".to_owned()));
    }
    for exchange in &detail.exchanges {
        steps.push((since_accepted(exchange.at_us), clean(&format!("{} {}", exchange.method, exchange.url))));
    }
    if let Some(finished) = run.finished_at {
        let ms = finished.duration_since(started).as_secs_f64() * 1e3;
        steps.push((waited_ms + ms.max(0.0), format!("{}, after {}", run.status, duration(ms))));
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (ms, what) in steps {
        out.line(format!("  {:>26}  {what}", format!("+{}", duration(ms))))?;
    }
    Ok(())
}

fn request(out: &mut Output, detail: &RunDetail) -> Result<()> {
    let Some(request) = &detail.request else { return Ok(()) };
    section(out, "Request", "")?;
    out.line(format!("  {} {}", clean(&request.method), clean(&request.path_with_query)))?;
    headers(out, &request.headers)?;
    body(out, &request.body)
}

fn reply(out: &mut Output, detail: &RunDetail) -> Result<()> {
    if let Some(reply) = &detail.reply {
        section(out, "Reply", "")?;
        let status =
            if reply.status < 400 { out.paint.good(reply.status) } else { out.paint.bad(reply.status) };
        out.line(format!("  {status}"))?;
        headers(out, &reply.headers)?;
        body(out, &reply.body)?;
    }
    if let Some(value) = &detail.value {
        section(out, "Returned", "")?;
        indented(out, &serde_json::to_string_pretty(value)?)?;
    }
    Ok(())
}

fn headers(out: &mut Output, headers: &[(String, String)]) -> Result<()> {
    for (name, value) in headers {
        let name = out.paint.dim(format!("{}:", clean(name)));
        out.line(format!("  {name} {}", clean(value)))?;
    }
    Ok(())
}

fn body(out: &mut Output, body: &Body) -> Result<()> {
    if body.bytes.is_empty() {
        return Ok(());
    }
    out.line("")?;
    match std::str::from_utf8(&body.bytes) {
        Ok(text) => indented(out, text)?,
        Err(_) => {
            let note = format!("({}, not text)", bytes(body.bytes.len() as u64));
            out.line(format!("  {}", out.paint.dim(note)))?;
        }
    }
    if body.is_cut() {
        let kept = bytes(body.bytes.len() as u64);
        let note = format!("(the record keeps the first {kept} of {})", bytes(body.full_bytes));
        out.line(format!("  {}", out.paint.dim(note)))?;
    }
    Ok(())
}

fn log_section(out: &mut Output, log: &RunLog) -> Result<()> {
    if log.lines.is_empty() && log.dropped_bytes == 0 {
        return Ok(());
    }
    section(out, "Log", &count(log.lines.len() as u64, "line"))?;
    for line in in_time(log) {
        let at = out.paint.dim(format!("{:>8}", format!("+{}", duration_us(line.at_us))));
        out.line(format!("  {at}  {}", log_text(out, line)))?;
    }
    if log.dropped_bytes > 0 {
        let note = format!("({} were over the log's limit and are lost)", bytes(log.dropped_bytes));
        out.line(format!("  {}", out.paint.warn(note)))?;
    }
    Ok(())
}

/// The lines by their time: the host's own remarks are written last.
pub(crate) fn in_time(log: &RunLog) -> Vec<&LogLine> {
    let mut lines: Vec<&LogLine> = log.lines.iter().collect();
    lines.sort_by_key(|line| line.at_us);
    lines
}

/// Level, text and fields of a log line.
pub(crate) fn log_text(out: &Output, line: &LogLine) -> String {
    let level = match line.level {
        Level::Debug => out.paint.dim("debug  "),
        Level::Info => "info   ".to_owned(),
        Level::Warning => out.paint.warn("warning"),
        Level::Error => out.paint.bad("error  "),
    };
    let mut text = format!("{level}  {}", clean(&line.text));
    for (name, value) in &line.fields {
        let name = out.paint.dim(format!("{}=", clean(name)));
        text.push_str(&format!(" {name}{}", clean(value)));
    }
    text
}

fn exchanges(out: &mut Output, exchanges: &[Exchange]) -> Result<()> {
    if exchanges.is_empty() {
        return Ok(());
    }
    section(out, "Outbound calls", &exchanges.len().to_string())?;
    for exchange in exchanges {
        let end = match (exchange.status, &exchange.error) {
            (Some(status), None) if status < 400 => out.paint.good(status),
            (Some(status), None) => out.paint.warn(status),
            (Some(status), Some(error)) => out.paint.bad(format!("{status}, then {}", clean(error))),
            (None, Some(error)) => out.paint.bad(clean(error)),
            (None, None) => out.paint.dim("no end"),
        };
        let call = clean(&format!("{} {}", exchange.method, exchange.url));
        out.line(format!("  {call}"))?;
        out.line(format!(
            "    {end} in {}, {} sent, {} received",
            duration_us(exchange.duration_us),
            bytes(exchange.request_bytes),
            bytes(exchange.response_bytes)
        ))?;
        if let Some(reason) = &exchange.reason {
            out.line(format!("    {}", clean(reason)))?;
        }
    }
    Ok(())
}

/// A blank line and a heading.
pub(crate) fn section(out: &mut Output, title: &str, aside: &str) -> Result<()> {
    let aside = if aside.is_empty() { String::new() } else { out.paint.dim(format!("  {aside}")) };
    out.line("")?;
    out.line(format!("{}{aside}", out.paint.bold(title)))
}

/// Text of a guest, two columns in.
pub(crate) fn indented(out: &mut Output, text: &str) -> Result<()> {
    for line in clean_lines(text).lines() {
        out.line(format!("  {line}"))?;
    }
    Ok(())
}
