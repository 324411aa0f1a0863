//! Texts that people type: whatever they are, they are read or refused.

use jiff::Timestamp;
use tidegate::run::{RunId, Trace};
use tidegate::schedule::{Cadence, Schedule, interval};
use tidegate::workflow::WorkflowName;

use super::{Dice, drive};

const PARTS: [&str; 40] = [
    "*",
    "*/5",
    "0",
    "59",
    "60",
    "1-5",
    "5-1",
    "1,2,3",
    "*/0",
    "1/2",
    "?",
    "L",
    "W",
    "#",
    "MON",
    "sun",
    "7",
    "8",
    "31",
    "32",
    "2",
    "30",
    "FEB",
    "@daily",
    "@every",
    "-1",
    "99999999999999999999",
    "1-",
    ",",
    "/",
    "1-5/2",
    "*/99",
    "é",
    "\0",
    "0-59/1",
    "12",
    "13",
    "jan-dec",
    "mon-fri",
    "",
];
/// What every field takes.
const GOOD: [&str; 8] = ["*", "*", "*/5", "1-5", "1,2,3", "1", "2", "1-5/2"];
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Paris",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Pacific/Apia",
    "",
    "Mars/Olympus",
    "../etc",
];

fn text(dice: &mut Dice) -> String {
    if dice.one_in(4) {
        return String::from_utf8_lossy(&dice.bytes(40)).into_owned();
    }
    let count = dice.below(8);
    let parts: Vec<&str> = (0..count).map(|_| *dice.pick(&PARTS)).collect();
    parts.join(*dice.pick(&[" ", " ", " ", "  ", "\t", ","]))
}

#[test]
fn every_expression_is_read_or_refused_and_goes_forward() {
    let mut read = 0;
    drive("cron", 20_000, |dice| {
        let expression = if dice.one_in(2) {
            // Five fields, mostly of those that are allowed.
            (0..5).map(|_| *dice.pick(&GOOD)).collect::<Vec<_>>().join(" ")
        } else {
            text(dice)
        };
        let timezone = (*dice.pick(&ZONES)).to_owned();
        let from = Timestamp::from_second(dice.below(4_000_000_000) as i64).unwrap();
        let schedule = Schedule::new("x", Cadence::Cron { expression, timezone }, from);
        let Ok(rule) = schedule.rule() else {
            assert!(schedule.validate(1000).is_err(), "{schedule:?} has no rule and is valid");
            return;
        };
        read += 1;
        let mut last = from;
        for _ in 0..5 {
            let Some(next) = rule.next_after(last) else { break };
            assert!(next > last, "{schedule:?}: {next} does not follow {last}");
            last = next;
        }
        assert!(!schedule.describe().is_empty());
    });
    assert!(read > 500, "only {read} expressions were read: the control");
}

#[test]
fn intervals_names_and_traces_are_read_or_refused() {
    drive("texts", 20_000, |dice| {
        let text = match dice.below(3) {
            0 => text(dice),
            1 => format!(
                "{}{}{}",
                dice.below(100_000),
                *dice.pick(&["s", "m", "h", "d", "w", "ms", ""]),
                dice.below(3)
            ),
            _ => {
                let mut trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec();
                dice.mutate(&mut trace);
                String::from_utf8_lossy(&trace).into_owned()
            }
        };
        if let Ok(interval_ms) = interval::parse(&text) {
            assert_eq!(interval::parse(&interval::format(interval_ms)).ok(), Some(interval_ms), "{text:?}");
        }
        if let Ok(name) = text.parse::<WorkflowName>() {
            assert_eq!(name.as_str(), text);
        }
        if let Some(trace) = Trace::called(RunId::new(), &text) {
            assert!(Trace::called(RunId::new(), &trace.header_of_call(0)).is_some(), "{text:?}");
        }
    });
}
