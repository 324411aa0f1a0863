//! File descriptors: enough for all connections, and always some for everything else.
//!
//! A process that runs out of them can neither open a segment of the store nor reach a
//! server for a workflow, so clients must not be able to take the last ones.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for what is no client: the store, the way out of workflows, compilers.
const RESERVED: u64 = 1024;

/// How many connections may be open: as configured, or as many as the system's limit
/// leaves room for. That limit is raised first, as far as it may be.
pub(super) fn connections(configured: usize) -> usize {
    let wanted = configured as u64 + RESERVED;
    let limit = getrlimit(Resource::Nofile);
    let raised = raised(limit, wanted);
    let current = if raised == limit || setrlimit(Resource::Nofile, raised).is_ok() { raised } else { limit };
    let fitting = fitting(configured, current.current);
    if fitting < configured {
        tracing::warn!(
            configured,
            fitting,
            descriptors = current.current,
            "server.connections_max does not fit into the limit of open files (ulimit -n); fewer are accepted"
        );
    }
    fitting
}

/// The limit with room for `wanted` descriptors, or with as much as is allowed.
fn raised(limit: Rlimit, wanted: u64) -> Rlimit {
    let enough = limit.current.is_none_or(|current| current >= wanted);
    let current =
        if enough { limit.current } else { Some(limit.maximum.map_or(wanted, |max| max.min(wanted))) };
    Rlimit { current, ..limit }
}

/// At most half of the descriptors are kept back where there are few.
fn fitting(configured: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return configured };
    let room = limit - RESERVED.min(limit / 2);
    configured.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_is_needed_and_allowed() {
        let limit = |current, maximum| Rlimit { current, maximum };
        for (before, wanted, after) in [
            (limit(Some(1024), Some(1_048_576)), 5120, limit(Some(5120), Some(1_048_576))),
            (limit(Some(1024), None), 5120, limit(Some(5120), None)),
            (limit(Some(1024), Some(4096)), 5120, limit(Some(4096), Some(4096))),
            (limit(Some(8192), Some(8192)), 5120, limit(Some(8192), Some(8192))),
            (limit(None, None), 5120, limit(None, None)),
        ] {
            assert_eq!(raised(before, wanted), after);
        }
    }

    #[test]
    fn some_descriptors_are_always_left() {
        for (configured, limit, connections) in [
            (4096, None, 4096),
            (4096, Some(5120), 4096),
            (4096, Some(5119), 4095),
            (4096, Some(2048), 1024),
            (4096, Some(256), 128),
            (10, Some(256), 10),
            (1, Some(0), 1),
        ] {
            assert_eq!(fitting(configured, limit), connections, "{limit:?}");
        }
    }
}
