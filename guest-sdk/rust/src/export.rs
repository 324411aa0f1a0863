//! One run: from the host's trigger to the handler, and from what it returns to an
//! outcome or a failure.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::bindings::tidegate::workflow::types::{Failure, Outcome, Setting, Trigger};
use crate::{Error, IntoReply, Request, Settings, Tick};

/// Runs a handler of requests.
pub fn catch<R: IntoReply, E: Into<Error>>(
    trigger: Trigger,
    settings: Vec<Setting>,
    handler: impl FnOnce(Request, &mut Settings) -> Result<R, E>,
) -> Result<Outcome, Failure> {
    let Trigger::Catch(request) = trigger else {
        return Err(wrong_kind("catch", "pull"));
    };
    run(settings, |settings| {
        let reply = handler(Request::from_host(request), settings).map_err(Into::into)?;
        let reply = reply.into_reply().map(|reply| reply.into_host()).transpose()?;
        Ok(Outcome { reply, value: None, changes: Vec::new() })
    })
}

/// Runs a handler of ticks.
pub fn pull<T: Serialize, E: Into<Error>>(
    trigger: Trigger,
    settings: Vec<Setting>,
    handler: impl FnOnce(Tick, &mut Settings) -> Result<T, E>,
) -> Result<Outcome, Failure> {
    let Trigger::Pull(tick) = trigger else {
        return Err(wrong_kind("pull", "catch"));
    };
    run(settings, |settings| {
        let value = handler(Tick::from_host(tick), settings).map_err(Into::into)?;
        let value = serde_json::to_string(&value)?;
        Ok(Outcome { reply: None, value: (value != "null").then_some(value), changes: Vec::new() })
    })
}

fn run(
    settings: Vec<Setting>,
    handler: impl FnOnce(&mut Settings) -> crate::Result<Outcome>,
) -> Result<Outcome, Failure> {
    report_panics();
    let mut settings = Settings::from_host(settings);
    let outcome = handler(&mut settings);
    // Nobody else does: a component's instance is thrown away, it does not exit.
    let _ = std::io::stdout().flush();
    match outcome {
        Ok(outcome) => Ok(Outcome { changes: settings.into_changes(), ..outcome }),
        Err(error) => Err(failure(&*error)),
    }
}

fn wrong_kind(this: &str, other: &str) -> Failure {
    let message = format!("this is a {this} workflow: deploy it with the kind {this}, not {other}");
    Failure { message, trace: None }
}

/// The first line of the error's text; the rest of it and its causes as the trace.
fn failure(error: &dyn std::error::Error) -> Failure {
    let text = error.to_string();
    let message = text.lines().next().unwrap_or_default();
    let message = if message.is_empty() { "the workflow failed without a message" } else { message };
    let mut trace = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(trace, "\ncaused by: {error}");
        cause = error.source();
    }
    Failure { message: message.to_owned(), trace: (trace != message).then_some(trace) }
}

/// Makes a panic print its place and message, and nothing about threads or an
/// environment variable that nobody can set in a sandbox.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "panicked{place}: {message}");
        // What was printed before is worth more now than ever.
        let _ = std::io::stdout().flush();
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::tidegate::workflow::types as host;
    use crate::{Reply, SettingError};

    fn request() -> Trigger {
        Trigger::Catch(host::Request {
            method: "POST".to_owned(),
            path_with_query: "/?a=1".to_owned(),
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            body: b"body".to_vec(),
        })
    }

    fn tick() -> Trigger {
        Trigger::Pull(host::Tick { schedule: "nightly".to_owned(), due_ms: 1_500, attempt: 2 })
    }

    fn setting(name: &str, value: &str) -> Setting {
        Setting { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn catch_hands_over_the_request_and_takes_reply_and_changes() {
        let outcome = catch(request(), vec![setting("A", "1"), setting("B", "2")], |request, settings| {
            assert_eq!((request.method(), request.body()), ("POST", b"body".as_slice()));
            settings.set("A", 5)?;
            settings.delete("B");
            Ok::<_, SettingError>(Reply::new(201).text("made"))
        });
        let outcome = outcome.expect("the handler succeeds");
        let reply = outcome.reply.expect("there is a reply");
        assert_eq!((reply.status, reply.body.as_deref()), (201, Some(b"made".as_slice())));
        let changes: Vec<_> = outcome.changes.iter().map(|c| (c.name.as_str(), c.value.as_deref())).collect();
        assert_eq!(changes, [("A", Some("5")), ("B", None)]);
    }

    #[test]
    fn pull_keeps_the_value_that_the_handler_returns() {
        let outcome = pull(tick(), vec![], |tick, _| Ok::<_, Error>((tick.attempt, tick.schedule)));
        assert_eq!(outcome.expect("the handler succeeds").value.as_deref(), Some(r#"[2,"nightly"]"#));
        let outcome = pull(tick(), vec![], |_, _| Ok::<_, Error>(()));
        assert_eq!(outcome.expect("the handler succeeds").value, None);
    }

    #[test]
    fn error_becomes_one_line_and_a_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot import the page\nit is the third")]
        struct Outer(#[source] std::fmt::Error);
        let failure = catch(request(), vec![], |_, _| Err::<(), _>(Outer(std::fmt::Error)));
        let failure = failure.expect_err("the handler fails");
        assert_eq!(failure.message, "cannot import the page");
        let trace = failure.trace.expect("there is more to say");
        assert!(trace.starts_with("cannot import the page\nit is the third\ncaused by: "), "{trace}");
    }

    #[test]
    fn text_alone_is_an_error_without_trace() {
        let failure = catch(request(), vec![], |_, _| Err::<(), _>("no such order"));
        let failure = failure.expect_err("the handler fails");
        assert_eq!((failure.message.as_str(), failure.trace), ("no such order", None));
    }

    #[test]
    fn other_kind_of_trigger_fails_without_a_call() {
        let failure = catch(tick(), vec![], |_, _| -> Result<(), Error> { unreachable!() });
        let message = failure.expect_err("a catch cannot serve a tick").message;
        assert_eq!(message, "this is a catch workflow: deploy it with the kind catch, not pull");
    }
}
