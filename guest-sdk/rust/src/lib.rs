//! Write Tidegate workflows in Rust.
//!
//! A workflow is one function. The host calls it in a fresh sandbox for each run: for
//! each HTTP request ([`catch!`]) or each due instant of a schedule ([`pull!`]).
//! Nothing that it leaves in memory reaches the next run; what must last goes into
//! [`Settings`].
//!
//! ```
//! use tidegate_guest::{Reply, Request, Result, Settings};
//!
//! tidegate_guest::catch!(greet);
//!
//! fn greet(request: Request, settings: &mut Settings) -> Result<Reply> {
//!     let greeting: Option<String> = settings.get("GREETING")?;
//!     let name = request.query_value("name").unwrap_or_else(|| "world".to_owned());
//!     Ok(Reply::ok().text(format!("{}, {name}", greeting.as_deref().unwrap_or("Hello"))))
//! }
//! # fn main() {}
//! ```
//!
//! The crate of a workflow is a library with `crate-type = ["cdylib"]`, compiled for
//! `wasm32-wasip2`: what comes out is a component, ready for `tidegate deploy`.
//!
//! # When it fails
//!
//! An `Err` fails the run: the host saves no settings, shows the error's text and chain
//! of causes in the run's record, and answers a caller with 502 and none of it. A
//! handler may return any error that converts to `Box<dyn Error>`: its own type, a
//! `String`, or an `anyhow::Error`. A panic fails the run too, with its message and
//! place on the run's standard error.
//!
//! # Output
//!
//! [`log`] writes structured lines to the run's log. `println!` and `eprintln!` go there
//! as well.
//!
//! # Tests
//!
//! Handlers are plain functions: call them in `cargo test` with [`Request::new`], a
//! [`Tick`], and [`Settings`] collected from names and values. Outside a sandbox [`log`]
//! prints to standard error and [`Settings::save`] always succeeds; only [`http`] needs a
//! host.

#[doc(hidden)]
pub mod bindings;
mod export;
mod headers;
pub mod http;
pub mod log;
mod reply;
mod request;
mod settings;
mod tick;

pub use headers::Headers;
pub use reply::{IntoReply, Reply};
pub use request::{BodyError, Request};
pub use serde_json;
pub use settings::{SaveError, SettingError, Settings};
pub use tick::Tick;

/// Any error: what a handler returns when it fails, unless it names a type of its own.
pub type Error = Box<dyn std::error::Error>;

/// The result of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Exports a handler of HTTP requests as this component's workflow.
///
/// The handler is a `fn(Request, &mut Settings) -> Result<impl IntoReply, E>`, where `E`
/// is any error: see [`IntoReply`] and [`Error`](crate::Error).
///
/// ```
/// # use tidegate_guest::{Reply, Request, Result, Settings};
/// tidegate_guest::catch!(handler);
///
/// fn handler(request: Request, _settings: &mut Settings) -> Result<Reply> {
///     Ok(Reply::new(201).text(format!("{} bytes kept", request.body().len())))
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! catch {
    ($handler:path) => {
        $crate::__export!(catch, $handler);
    };
}

/// Exports a handler of schedule ticks as this component's workflow.
///
/// The handler is a `fn(Tick, &mut Settings) -> Result<impl Serialize, E>`, where `E` is
/// any error. What it returns is kept in the run's record; `()` and `None` keep nothing.
///
/// ```
/// # use tidegate_guest::{Result, Settings, Tick};
/// tidegate_guest::pull!(handler);
///
/// fn handler(tick: Tick, settings: &mut Settings) -> Result<u64> {
///     let runs = settings.get::<u64>("RUNS")?.unwrap_or(0) + 1;
///     settings.set("RUNS", runs)?;
///     tidegate_guest::log::info("counted", &[("schedule", &tick.schedule), ("runs", &runs)]);
///     Ok(runs)
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! pull {
    ($handler:path) => {
        $crate::__export!(pull, $handler);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($kind:ident, $handler:path) => {
        const _: () = {
            struct Workflow;

            impl $crate::__private::Guest for Workflow {
                fn workflow(
                    trigger: $crate::__private::Trigger,
                    settings: ::std::vec::Vec<$crate::__private::Setting>,
                ) -> ::std::result::Result<$crate::__private::Outcome, $crate::__private::Failure> {
                    $crate::__private::$kind(trigger, settings, $handler)
                }
            }

    $crate::__private::export!(Workflow with_types_in $crate::bindings);
        };
    };
}

/// For the macros of this crate alone.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::tidegate::workflow::types::{Failure, Outcome, Setting, Trigger};
    pub use crate::bindings::{Guest, export};
    pub use crate::export::{catch, pull};
}
