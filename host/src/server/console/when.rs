//! Instants, as pages show them: a `time` element in UTC, which the console's script turns
//! into the reader's zone.

use jiff::Timestamp;
use maud::{Markup, html};

/// An instant with its date and second.
pub(super) fn full(at: Timestamp) -> Markup {
    shown(at, "full")
}

/// How long ago an instant was, or how long it is off.
pub(super) fn relative(at: Timestamp) -> Markup {
    shown(at, "relative")
}

fn shown(at: Timestamp, how: &str) -> Markup {
    let utc = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()) title=(utc) data-show=(how) { (utc) } }
}
