//! What the forms of the configuration say, as changes of a workflow.

use super::egress;
use crate::api::{PatchWorkflow, WorkflowView};
use crate::registry::RegistryError;
use crate::run::FaultKind;
use crate::schedule::interval;
use crate::server::console::form::Fields;
use crate::server::console::text;
use crate::workflow::{Endpoint, LimitOverrides, RetryPolicy, Signature, SignatureScheme};

type Result<T> = std::result::Result<T, RegistryError>;

/// The schemes of signatures, and what people call them.
pub(super) const SCHEMES: [(SignatureScheme, &str); 5] = [
    (SignatureScheme::Hrflow, "HrFlow.ai"),
    (SignatureScheme::StandardWebhooks, "Standard Webhooks"),
    (SignatureScheme::Github, "GitHub"),
    (SignatureScheme::Stripe, "Stripe"),
    (SignatureScheme::Slack, "Slack"),
];

/// What a form changes.
pub(super) fn patch(part: &str, workflow: &WorkflowView, fields: &Fields) -> Result<PatchWorkflow> {
    let patch = PatchWorkflow::default();
    Ok(match part {
        "details" => PatchWorkflow { description: Some(fields.get("description").to_owned()), ..patch },
        "endpoint" => PatchWorkflow { endpoint: Some(endpoint(fields)), ..patch },
        "signature" => PatchWorkflow { signature: Some(signature(fields)?), ..patch },
        "egress" => PatchWorkflow { egress: Some(egress::read(fields)?), ..patch },
        "limits" => PatchWorkflow { limits: Some(limits(fields)?), ..patch },
        "retry" => PatchWorkflow { retry: Some(retry(&workflow.retry, fields)?), ..patch },
        other => {
            let reason = format!("{other:.40?} is nothing that can be saved");
            return Err(RegistryError::Invalid { field: "part", reason });
        }
    })
}

/// Who may do what; the owner only when it is another one.
pub(super) fn access(owner: Option<&str>, fields: &Fields) -> PatchWorkflow {
    PatchWorkflow {
        owner: fields.some("owner").filter(|login| owner != Some(login.as_str())),
        managers: Some(fields.list("managers")),
        viewers: Some(fields.list("viewers")),
        private: Some(fields.is_on("private")),
        ..Default::default()
    }
}

fn endpoint(fields: &Fields) -> Endpoint {
    Endpoint {
        methods: fields.all("endpoint.methods").map(str::to_owned).collect(),
        raw_bodies: fields.is_on("endpoint.raw_bodies"),
        cors_origins: fields.list("endpoint.cors_origins"),
        delivery_id_header: fields.some("endpoint.delivery_id_header"),
        callback_hosts: fields.list("endpoint.callback_hosts"),
    }
}

fn signature(fields: &Fields) -> Result<Option<Signature>> {
    let Some((scheme, _)) = SCHEMES.into_iter().find(|(own, _)| own.word() == fields.get("signature.scheme"))
    else {
        return Ok(None);
    };
    let tolerance_ms = duration(fields, "signature.tolerance_s")?.unwrap_or(300_000);
    Ok(Some(Signature {
        scheme,
        secret_settings: fields.list("signature.secret_settings"),
        tolerance_s: u32::try_from(tolerance_ms.div_ceil(1000)).unwrap_or(u32::MAX),
        once: match fields.get("signature.once") {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        },
    }))
}

/// Limits that the form does not have stay as they are.
fn limits(fields: &Fields) -> Result<LimitOverrides> {
    Ok(LimitOverrides {
        deadline_ms: duration(fields, "limits.deadline_ms")?,
        cpu_ms_max: duration(fields, "limits.cpu_ms_max")?,
        memory_bytes_max: bytes(fields, "limits.memory_bytes_max")?,
        concurrency_max: number(fields, "limits.concurrency_max")?,
        body_bytes_max: bytes(fields, "limits.body_bytes_max")?,
        reply_bytes_max: bytes(fields, "limits.reply_bytes_max")?,
        log_bytes_max: bytes(fields, "limits.log_bytes_max")?,
        rate_per_s_max: number(fields, "limits.rate_per_s_max")?,
        burst_max: number(fields, "limits.burst_max")?,
        egress_requests_max: number(fields, "limits.egress_requests_max")?,
        egress_concurrent_max: number(fields, "limits.egress_concurrent_max")?,
        egress_bytes_max: bytes(fields, "limits.egress_bytes_max")?,
        retention_days: number(fields, "limits.retention_days")?,
        retention_runs_max: number(fields, "limits.retention_runs_max")?,
        retention_bytes_max: bytes(fields, "limits.retention_bytes_max")?,
    })
}

fn retry(present: &RetryPolicy, fields: &Fields) -> Result<RetryPolicy> {
    let on = RetryPolicy::FAULTS.into_iter();
    Ok(RetryPolicy {
        attempts: number(fields, "retry.attempts")?.unwrap_or(1),
        backoff_ms: duration(fields, "retry.backoff_ms")?.unwrap_or(present.backoff_ms),
        backoff_max_ms: duration(fields, "retry.backoff_max_ms")?.unwrap_or(present.backoff_max_ms),
        jitter_percent: number(fields, "retry.jitter_percent")?.unwrap_or(present.jitter_percent),
        on: on.filter(|fault: &FaultKind| fields.all("retry.on").any(|word| word == fault.word())).collect(),
    })
}

/// A time like `30s`, in milliseconds; `None` when the field is empty.
fn duration(fields: &Fields, field: &'static str) -> Result<Option<u64>> {
    let typed = fields.get(field);
    if typed.is_empty() {
        return Ok(None);
    }
    interval::parse(typed)
        .map(Some)
        .map_err(|error| RegistryError::Invalid { field, reason: format!("{error}: {}", error.hint()) })
}

/// A size like `64 MiB`, in bytes; `None` when the field is empty.
fn bytes(fields: &Fields, field: &'static str) -> Result<Option<u64>> {
    let typed = fields.get(field);
    if typed.is_empty() {
        return Ok(None);
    }
    let reason = format!("{typed:.40?} is no size: write it like 500 KiB, 64 MiB or 2 GiB");
    text::parse_bytes(typed).map(Some).ok_or(RegistryError::Invalid { field, reason })
}

/// A whole number; `None` when the field is empty.
fn number<T: std::str::FromStr>(fields: &Fields, field: &'static str) -> Result<Option<T>> {
    let typed = fields.get(field);
    if typed.is_empty() {
        return Ok(None);
    }
    let reason = format!("{typed:.40?} is no whole number that fits here");
    typed.parse().map(Some).map_err(|_| RegistryError::Invalid { field, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(query: &str) -> Fields {
        Fields::parse(query.as_bytes())
    }

    #[test]
    fn limits_are_written_with_units_and_empty_ones_are_the_hosts() {
        let typed = fields(
            "limits.deadline_ms=1m30s&limits.memory_bytes_max=64+MiB&limits.concurrency_max=3\
             &limits.rate_per_s_max=10&limits.egress_bytes_max=1+MiB",
        );
        let read = limits(&typed).unwrap();
        assert_eq!((read.rate_per_s_max, read.egress_bytes_max), (Some(10), Some(1 << 20)));
        assert_eq!((read.deadline_ms, read.memory_bytes_max), (Some(90_000), Some(64 << 20)));
        assert_eq!((read.concurrency_max, read.log_bytes_max), (Some(3), None));
        for (typed, said) in [
            ("limits.deadline_ms=30", "no unit"),
            ("limits.memory_bytes_max=many", "is no size"),
            ("limits.retention_days=1.5", "no whole number"),
        ] {
            let error = limits(&fields(typed)).unwrap_err().to_string();
            assert!(error.contains(said) && error.starts_with(&typed[..10]), "{error}");
        }
    }

    #[test]
    fn a_signature_is_read_with_its_defaults_and_none_is_none() {
        assert_eq!(signature(&fields("signature.scheme=")).unwrap(), None);
        let typed = fields("signature.scheme=github&signature.secret_settings=A%2C+B&signature.once=no");
        let read = signature(&typed).unwrap().unwrap();
        assert_eq!((read.scheme, read.tolerance_s, read.once), (SignatureScheme::Github, 300, Some(false)));
        assert_eq!(read.secret_settings, ["A", "B"]);
    }

    #[test]
    fn the_owner_is_changed_only_when_another_is_typed() {
        assert_eq!(access(Some("ada"), &fields("owner=ada")).owner, None);
        assert_eq!(access(Some("ada"), &fields("owner=")).owner, None);
        assert_eq!(access(None, &fields("owner=joan&private=on")).owner.as_deref(), Some("joan"));
    }

    #[test]
    fn what_is_tried_again_is_what_is_ticked() {
        let typed = fields("retry.attempts=4&retry.backoff_ms=2s&retry.on=trap&retry.on=host");
        let read = retry(&RetryPolicy::default(), &typed).unwrap();
        assert_eq!((read.attempts, read.backoff_ms, read.jitter_percent), (4, 2000, 20));
        assert_eq!(read.on, [FaultKind::Trap, FaultKind::Host]);
    }
}
