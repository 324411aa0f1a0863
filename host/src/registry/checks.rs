//! What a workflow, its schedules and its settings may be.

use std::sync::Arc;

use jiff::Timestamp;

use super::schedules::{DEFAULT_NAME, Making};
use super::{Registry, RegistryError};
use crate::account::Login;
use crate::api::ScheduleSpec;
use crate::run::FaultKind;
use crate::schedule::Schedule;
use crate::workflow::{
    DESTINATIONS_MAX, Destination, Kind, LimitOverrides, RetryPolicy, SIGNATURE_SECRETS_MAX,
    SIGNATURE_TOLERANCE_S_MAX, Setting, SettingChange, Signature, Visibility, Workflow,
};

/// Longest description, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 2000;
/// Most managers, and most viewers, of one workflow.
const MANAGERS_MAX: usize = 100;
/// Longest name of a setting, in bytes.
const SETTING_NAME_BYTES_MAX: usize = 256;
/// Bytes of a sealed value: it has to be long enough to be found again in a response, and short
/// enough to stand in a header.
const SEALED_BYTES: std::ops::RangeInclusive<usize> = 8..=4096;
/// Longest time between two attempts, in milliseconds.
const BACKOFF_MS_MAX: u64 = 24 * 3600 * 1000;

/// Most requests a second that a workflow may name where the host has no limit.
const RATE_PER_S_MAX: u64 = 1_000_000;

impl Registry {
    pub(super) fn schedules(
        &self,
        present: &[Schedule],
        wanted: Vec<ScheduleSpec>,
        now: Timestamp,
    ) -> Result<Vec<Schedule>, RegistryError> {
        let limit = self.config.schedule.schedules_max;
        if wanted.len() > limit {
            let what = format!("a workflow with {} schedules", wanted.len());
            return Err(RegistryError::Limit { what, limit: format!("{limit} schedules") });
        }
        let mut made: Vec<Schedule> = Vec::with_capacity(wanted.len());
        for spec in wanted {
            let name = spec.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
            let making = Making { config: &self.config.schedule, now, keeps_rule: false };
            let schedule = making.schedule(spec, present.iter().find(|old| old.name == name))?;
            if made.iter().any(|other| other.name == name) {
                let reason = format!("two schedules are named {name:?}; give each a name of its own");
                return Err(RegistryError::Invalid { field: "schedules", reason });
            }
            made.push(schedule);
        }
        Ok(made)
    }

    pub(super) fn need_kind(
        &self,
        workflow: &Workflow,
        asked: bool,
        what: &'static str,
        needed: Kind,
    ) -> Result<(), RegistryError> {
        if asked && workflow.kind != needed {
            return Err(RegistryError::WrongKind {
                name: workflow.name.clone(),
                kind: workflow.kind,
                what,
                needed,
            });
        }
        Ok(())
    }

    pub(super) fn check(&self, workflow: &Workflow) -> Result<(), RegistryError> {
        let invalid = |field, reason: String| Err(RegistryError::Invalid { field, reason });
        if workflow.description.len() > DESCRIPTION_BYTES_MAX {
            let length = workflow.description.len();
            return invalid(
                "description",
                format!("has {length} bytes, at most {DESCRIPTION_BYTES_MAX} are allowed"),
            );
        }
        for (field, logins) in [("managers", &workflow.managers), ("viewers", &workflow.viewers)] {
            if logins.len() > MANAGERS_MAX {
                return invalid(field, format!("at most {MANAGERS_MAX} are allowed"));
            }
            if let Some(error) = logins.iter().find_map(|login| login.parse::<Login>().err()) {
                return invalid(field, error.to_string());
            }
        }
        if workflow.endpoint.methods.is_empty() {
            return invalid("endpoint.methods", "name at least one method".to_owned());
        }
        for method in &workflow.endpoint.methods {
            if method.parse::<http::Method>().is_err()
                || *method != method.to_uppercase()
                || method == "OPTIONS"
            {
                return invalid(
                    "endpoint.methods",
                    format!("{method:?} is not a method in upper case (OPTIONS is the host's)"),
                );
            }
        }
        if let Some(name) = &workflow.endpoint.delivery_id_header
            && name.parse::<http::HeaderName>().is_err()
        {
            return invalid("endpoint.delivery_id_header", format!("{name:?} is not a header's name"));
        }
        for host in &workflow.endpoint.callback_hosts {
            if host != "*" && !host.parse::<http::uri::Authority>().is_ok_and(|whole| whole.host() == host) {
                let reason =
                    format!("{host:?} is not a host's name or address (any port of it may be called)");
                return invalid("endpoint.callback_hosts", reason);
            }
        }
        if let Some(signature) = &workflow.signature {
            self.check_signature(signature)?;
        }
        self.check_retry(&workflow.retry)?;
        self.check_limits(&workflow.limits)
    }

    fn check_signature(&self, signature: &Signature) -> Result<(), RegistryError> {
        let invalid = |field, reason: String| Err(RegistryError::Invalid { field, reason });
        let names = &signature.secret_settings;
        if names.is_empty() || names.len() > SIGNATURE_SECRETS_MAX {
            let reason = format!("name 1 to {SIGNATURE_SECRETS_MAX} settings, here are {}", names.len());
            return invalid("signature.secret_settings", reason);
        }
        for name in names {
            check_setting_name(name, "signature.secret_settings")?;
        }
        let tolerance_s = signature.tolerance_s;
        if tolerance_s == 0 || tolerance_s > SIGNATURE_TOLERANCE_S_MAX {
            let reason = format!("must be 1 to {SIGNATURE_TOLERANCE_S_MAX}, is {tolerance_s}");
            return invalid("signature.tolerance_s", reason);
        }
        // What is forgotten before its timestamp is too old could be sent again.
        let remember_hours = self.config.queue.remember_hours;
        if signature.runs_once() && u64::from(tolerance_s) > u64::from(remember_hours) * 3600 {
            let reason = format!(
                "is longer than the host remembers deliveries: queue.remember_hours is {remember_hours}"
            );
            return invalid("signature.tolerance_s", reason);
        }
        Ok(())
    }

    fn check_retry(&self, retry: &RetryPolicy) -> Result<(), RegistryError> {
        let invalid = |field, reason: String| Err(RegistryError::Invalid { field, reason });
        let attempts_max = self.config.queue.attempts_max;
        if retry.attempts == 0 || retry.attempts > attempts_max {
            let reason = format!("must be 1 to {attempts_max} (the host's limit), is {}", retry.attempts);
            return invalid("retry.attempts", reason);
        }
        if retry.backoff_max_ms > BACKOFF_MS_MAX || retry.backoff_ms > retry.backoff_max_ms {
            let reason =
                format!("must be backoff_ms to {BACKOFF_MS_MAX} (a day), is {}", retry.backoff_max_ms);
            return invalid("retry.backoff_max_ms", reason);
        }
        if retry.jitter_percent > 100 {
            return invalid("retry.jitter_percent", format!("must be 0 to 100, is {}", retry.jitter_percent));
        }
        match retry.on.iter().find(|fault| !RetryPolicy::FAULTS.contains(fault)) {
            None => Ok(()),
            Some(fault) => {
                let known = RetryPolicy::FAULTS.map(FaultKind::word).join(", ");
                invalid("retry.on", format!("{fault} is never tried again; known are {known}"))
            }
        }
    }

    fn check_limits(&self, limits: &LimitOverrides) -> Result<(), RegistryError> {
        let (engine, store, egress) = (&self.config.engine, &self.config.store, &self.config.egress);
        let server = &self.config.server;
        let (rate_max, burst_max) = match server.endpoint_rate_per_s_max {
            0 => (RATE_PER_S_MAX, RATE_PER_S_MAX),
            rate => (rate.into(), server.endpoint_burst_max.into()),
        };
        if limits.burst_max.is_some() && limits.rate_per_s_max.is_none() {
            let reason = "needs limits.rate_per_s_max".to_owned();
            return Err(RegistryError::Invalid { field: "limits.burst_max", reason });
        }
        for (field, value, maximum) in [
            ("limits.deadline_ms", limits.deadline_ms, engine.deadline_ms),
            ("limits.cpu_ms_max", limits.cpu_ms_max, engine.cpu_ms_max),
            ("limits.body_bytes_max", limits.body_bytes_max, self.config.server.body_bytes_max as u64),
            ("limits.log_bytes_max", limits.log_bytes_max, self.config.run.log_bytes_max as u64),
            ("limits.reply_bytes_max", limits.reply_bytes_max, self.config.run.reply_bytes_max as u64),
            ("limits.memory_bytes_max", limits.memory_bytes_max, engine.memory_bytes_max as u64),
            (
                "limits.concurrency_max",
                limits.concurrency_max.map(u64::from),
                self.config.run.concurrency_max.into(),
            ),
            ("limits.rate_per_s_max", limits.rate_per_s_max.map(u64::from), rate_max),
            ("limits.burst_max", limits.burst_max.map(u64::from), burst_max),
            (
                "limits.egress_requests_max",
                limits.egress_requests_max.map(u64::from),
                egress.requests_max.into(),
            ),
            (
                "limits.egress_concurrent_max",
                limits.egress_concurrent_max.map(u64::from),
                egress.concurrent_max.into(),
            ),
            ("limits.egress_bytes_max", limits.egress_bytes_max, egress.run_bytes_max),
            ("limits.retention_days", limits.retention_days.map(u64::from), store.retention_days.into()),
            ("limits.retention_runs_max", limits.retention_runs_max, store.retention_runs_max),
            ("limits.retention_bytes_max", limits.retention_bytes_max, store.retention_bytes_max),
        ] {
            let Some(value) = value else { continue };
            if value == 0 || value > maximum {
                let reason = format!("must be 1 to {maximum} (the host's limit), is {value}");
                return Err(RegistryError::Invalid { field, reason });
            }
        }
        Ok(())
    }
}

pub(super) fn check_setting(change: &SettingChange, value_bytes_max: usize) -> Result<(), RegistryError> {
    let name = &change.name;
    check_setting_name(name, "settings")?;
    let bytes = change.value.as_ref().map_or(0, |value| value.expose().len());
    if bytes > value_bytes_max {
        let what = format!("the value of the setting {name:?} with {bytes} bytes");
        return Err(RegistryError::Limit { what, limit: format!("{value_bytes_max} bytes") });
    }
    Ok(())
}

fn check_setting_name(name: &str, field: &'static str) -> Result<(), RegistryError> {
    if name.is_empty() || name.len() > SETTING_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(40).collect();
        let reason = format!(
            "{shown:?} is not a setting's name: 1 to {SETTING_NAME_BYTES_MAX} bytes, no control characters"
        );
        return Err(RegistryError::Invalid { field, reason });
    }
    Ok(())
}

/// A workflow's destinations in canonical form.
pub(super) fn destinations(list: Vec<Destination>) -> Result<Arc<[Destination]>, RegistryError> {
    if list.len() > DESTINATIONS_MAX {
        let what = format!("a workflow with {} destinations", list.len());
        return Err(RegistryError::Limit { what, limit: format!("{DESTINATIONS_MAX} destinations") });
    }
    let checked = list.into_iter().map(|one| {
        let host: String = one.host.chars().take(80).collect();
        one.checked()
            .map_err(|error| RegistryError::Invalid { field: "egress", reason: format!("{host:?} {error}") })
    });
    checked.collect()
}

/// A sealed value has to fit wherever the host may put it, whoever sets it.
pub(super) fn check_sealed_value(
    change: &SettingChange,
    present: Option<&Setting>,
) -> Result<(), RegistryError> {
    if let Some(reason) = change.seal.as_ref().and_then(|seal| seal.fault()) {
        return Err(RegistryError::Invalid { field: "seal", reason });
    }
    let visibility = change.visibility.or(present.map(|present| present.visibility));
    let (Some(Visibility::Sealed), Some(value)) = (visibility, &change.value) else { return Ok(()) };
    let text: Option<String> = serde_json::from_str(value.expose()).ok();
    let fits = |text: &String| SEALED_BYTES.contains(&text.len()) && !text.chars().any(char::is_control);
    if text.as_ref().is_some_and(fits) {
        return Ok(());
    }
    let reason = format!(
        "the value of the sealed setting {:?} must be a text of {} to {} bytes without control characters",
        change.name,
        SEALED_BYTES.start(),
        SEALED_BYTES.end()
    );
    Err(RegistryError::Invalid { field: "value", reason })
}
