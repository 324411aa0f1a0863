//! Schedules as they are asked for, against those that are there and the host's defaults.

use jiff::Timestamp;

use super::RegistryError;
use crate::api::{MissedWord, ScheduleSpec};
use crate::config;
use crate::schedule::{Cadence, Missed, Policy, Schedule, interval};

/// What a schedule is called that is given no name.
pub(super) const DEFAULT_NAME: &str = "default";

/// What a schedule that is asked for is made with.
pub(super) struct Making<'a> {
    pub(super) config: &'a config::Schedule,
    pub(super) now: Timestamp,
    /// The rule, too, may be left out, and its zone: those of the schedule that is there
    /// stay.
    pub(super) keeps_rule: bool,
}

impl Making<'_> {
    /// The schedule, checked. `present` is the one of its name that is there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn schedule(
        &self,
        spec: ScheduleSpec,
        present: Option<&Schedule>,
    ) -> Result<Schedule, RegistryError> {
        let name = spec.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        let cadence = self.cadence(&spec, present)?;
        let mut schedule = Schedule::new(name.clone(), cadence, self.now).replacing(present);
        schedule.policy = match present {
            Some(present) => present.policy,
            None => self.default_policy(),
        };
        change(&mut schedule.policy, &spec, self.config)?;
        // A jitter that nobody asked for gives way to a short distance.
        if spec.jitter.is_none() && present.is_none() {
            let distance_ms = schedule.rule().map_or(u64::MAX, |rule| rule.distance_ms_min());
            schedule.policy.jitter_ms = schedule.policy.jitter_ms.min(distance_ms.saturating_sub(1));
        }
        schedule
            .validate(self.config.interval_ms_min)
            .map_err(|source| RegistryError::Schedule { name, source })?;
        Ok(schedule)
    }

    fn default_policy(&self) -> Policy {
        let config = self.config;
        Policy {
            overlap: config.overlap,
            missed: missed(config.missed, config.missed_max),
            start_deadline_ms: Some(config.start_deadline_ms).filter(|ms| *ms > 0),
            jitter_ms: config.jitter_ms,
        }
    }

    fn cadence(&self, spec: &ScheduleSpec, present: Option<&Schedule>) -> Result<Cadence, RegistryError> {
        let present = present.map(|present| &present.cadence).filter(|_| self.keeps_rule);
        let zone = || match present {
            Some(Cadence::Cron { timezone, .. }) => timezone.clone(),
            _ => "UTC".to_owned(),
        };
        match (&spec.every, &spec.cron, &spec.timezone) {
            (Some(every), None, None) => {
                let interval_ms = duration(every)?;
                Ok(Cadence::Every { interval_ms })
            }
            (None, Some(expression), timezone) => Ok(Cadence::Cron {
                expression: expression.clone(),
                timezone: timezone.clone().unwrap_or_else(zone),
            }),
            (Some(_), Some(_), _) => Err(invalid("give `every` or `cron`, not both")),
            (Some(_), None, Some(_)) => {
                Err(invalid("an interval has no time zone; give `timezone` with `cron` only"))
            }
            (None, None, timezone) => match (present, timezone) {
                (None, _) => Err(invalid("a schedule needs `every` or `cron`")),
                (Some(cadence), None) => Ok(cadence.clone()),
                (Some(Cadence::Cron { expression, .. }), Some(timezone)) => {
                    Ok(Cadence::Cron { expression: expression.clone(), timezone: timezone.clone() })
                }
                (Some(Cadence::Every { .. }), Some(_)) => {
                    Err(invalid("an interval has no time zone; give `timezone` with `cron` only"))
                }
            },
        }
    }
}

/// Changes what is given of a policy.
fn change(policy: &mut Policy, spec: &ScheduleSpec, config: &config::Schedule) -> Result<(), RegistryError> {
    policy.overlap = spec.overlap.unwrap_or(policy.overlap);
    policy.missed = match (spec.missed, spec.missed_max, policy.missed) {
        (Some(MissedWord::All), None, Missed::All { max }) => Missed::All { max },
        (Some(MissedWord::All), max, _) => Missed::All { max: max.unwrap_or(config.missed_max) },
        (None, Some(max), Missed::All { .. }) => Missed::All { max },
        (_, Some(_), _) => return Err(invalid("`missed_max` is for `missed` `all`")),
        (Some(word), None, _) => missed(word, config.missed_max),
        (None, None, present) => present,
    };
    if let Some(text) = &spec.start_deadline {
        policy.start_deadline_ms = duration_or_none(text)?;
    }
    if let Some(text) = &spec.jitter {
        policy.jitter_ms = duration_or_none(text)?.unwrap_or(0);
    }
    Ok(())
}

fn missed(word: MissedWord, max: u32) -> Missed {
    match word {
        MissedWord::Once => Missed::Once,
        MissedWord::Skip => Missed::Skip,
        MissedWord::All => Missed::All { max },
    }
}

fn duration_or_none(text: &str) -> Result<Option<u64>, RegistryError> {
    match text.trim() {
        "none" | "0" | "0s" => Ok(None),
        text => duration(text).map(Some),
    }
}

fn duration(text: &str) -> Result<u64, RegistryError> {
    interval::parse(text).map_err(|source| RegistryError::Interval { text: text.to_owned(), source })
}

fn invalid(reason: &str) -> RegistryError {
    RegistryError::Invalid { field: "schedules", reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::schedule::Overlap;

    fn config() -> config::Schedule {
        Config::load(None, Vec::new(), Vec::new()).unwrap().schedule
    }

    fn made(
        spec: ScheduleSpec,
        present: Option<&Schedule>,
        config: &config::Schedule,
    ) -> Result<Schedule, String> {
        let making = Making { config, now: Timestamp::UNIX_EPOCH, keeps_rule: true };
        making.schedule(spec, present).map_err(|error| error.to_string())
    }

    fn hourly() -> ScheduleSpec {
        ScheduleSpec { every: Some("1h".to_owned()), ..ScheduleSpec::default() }
    }

    #[test]
    fn new_schedule_has_the_hosts_policy_and_what_is_given() {
        let mut config = config();
        assert_eq!(made(hourly(), None, &config).unwrap().policy, Policy::default());
        config.overlap = Overlap::Allow;
        config.missed = MissedWord::All;
        config.start_deadline_ms = 60_000;
        config.jitter_ms = 7_200_000;
        let policy = made(hourly(), None, &config).unwrap().policy;
        assert_eq!((policy.overlap, policy.missed), (Overlap::Allow, Missed::All { max: config.missed_max }));
        assert_eq!(policy.start_deadline_ms, Some(60_000));
        // The default jitter gives way to the interval.
        assert_eq!(policy.jitter_ms, 3_599_999);
        let spec = ScheduleSpec {
            overlap: Some(Overlap::QueueOne),
            missed: Some(MissedWord::Skip),
            start_deadline: Some("none".to_owned()),
            jitter: Some("30s".to_owned()),
            ..hourly()
        };
        let policy = made(spec, None, &config).unwrap().policy;
        let expected = Policy {
            overlap: Overlap::QueueOne,
            missed: Missed::Skip,
            start_deadline_ms: None,
            jitter_ms: 30_000,
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn what_is_left_out_stays() {
        let config = config();
        let cron = ScheduleSpec {
            cron: Some("30 2 * * *".to_owned()),
            timezone: Some("Europe/Paris".to_owned()),
            missed: Some(MissedWord::All),
            missed_max: Some(3),
            jitter: Some("10s".to_owned()),
            ..ScheduleSpec::default()
        };
        let present = made(cron, None, &config).unwrap();
        let change = |change: ScheduleSpec| made(change, Some(&present), &config).unwrap();
        assert_eq!(change(ScheduleSpec::default()), present);
        let moved = change(ScheduleSpec { timezone: Some("UTC".to_owned()), ..ScheduleSpec::default() });
        assert_eq!(moved.describe(), "at 02:30 every day, UTC");
        assert_eq!(moved.policy, present.policy);
        let later = change(ScheduleSpec { cron: Some("0 4 * * *".to_owned()), ..ScheduleSpec::default() });
        assert_eq!(later.describe(), "at 04:00 every day, Europe/Paris");
        let fewer = change(ScheduleSpec { missed_max: Some(2), ..ScheduleSpec::default() });
        assert_eq!(fewer.policy.missed, Missed::All { max: 2 });
        let on_time = change(ScheduleSpec { jitter: Some("none".to_owned()), ..ScheduleSpec::default() });
        assert_eq!(on_time.policy.jitter_ms, 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = |text: &str| Some(text.to_owned());
        for (spec, part) in [
            (ScheduleSpec::default(), "needs `every` or `cron`"),
            (ScheduleSpec { cron: text("* * * * *"), ..hourly() }, "not both"),
            (ScheduleSpec { timezone: text("UTC"), ..hourly() }, "no time zone"),
            (ScheduleSpec { missed_max: Some(3), ..hourly() }, "for `missed` `all`"),
            (
                ScheduleSpec { missed: Some(MissedWord::All), missed_max: Some(101), ..hourly() },
                "1 to 100 times",
            ),
            (ScheduleSpec { jitter: text("1h"), ..hourly() }, "the jitter is at most"),
            (ScheduleSpec { jitter: text("soon"), ..hourly() }, "\"soon\""),
            (ScheduleSpec { start_deadline: text("10ms"), ..hourly() }, "at least 1000 ms"),
        ] {
            let message = made(spec, None, &config()).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
