//! Structured lines in the run's log.
//!
//! ```no_run
//! # use tidegate_guest::log;
//! let (page, left) = (3, 120);
//! log::info("page imported", &[("page", &page), ("left", &left)]);
//! log::warning("nothing to do", &[]);
//! ```
//!
//! Keep messages constant and put what varies into fields: lines of the same kind can
//! then be found by their message. A line never fails; past the run's cap the host
//! counts it as dropped.

use std::fmt::Display;

use crate::bindings::tidegate::workflow::log::{self, Level};

/// Adds a line that matters only while something is being looked into.
pub fn debug(message: &str, fields: &[(&str, &dyn Display)]) {
    emit(Level::Debug, message, fields);
}

/// Adds a line about something that went as it should.
pub fn info(message: &str, fields: &[(&str, &dyn Display)]) {
    emit(Level::Info, message, fields);
}

/// Adds a line about something that went wrong without failing the run.
pub fn warning(message: &str, fields: &[(&str, &dyn Display)]) {
    emit(Level::Warning, message, fields);
}

/// Adds a line about something that failed.
pub fn error(message: &str, fields: &[(&str, &dyn Display)]) {
    emit(Level::Error, message, fields);
}

fn emit(level: Level, message: &str, fields: &[(&str, &dyn Display)]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    if cfg!(target_family = "wasm") {
        log::emit(level, message, &fields);
    } else {
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        #[expect(clippy::print_stderr, reason = "for whoever runs the tests of a handler")]
        {
            eprintln!("{level:?} {message}{fields}");
        }
    }
}
