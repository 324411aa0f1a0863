use jiff::Timestamp;

use super::*;
use crate::run::{self, Fault, RunId};
use crate::workflow::WorkflowId;

fn run(status: Status, fault: Option<Fault>) -> Run {
    let now = Timestamp::now();
    Run {
        format: run::FORMAT,
        id: RunId::new(),
        workflow: WorkflowId::new(),
        workflow_name: "w".parse().unwrap(),
        version: Some(1),
        trigger: Trigger::Catch,
        attempt: 1,
        event: None,
        status,
        fault,
        accepted_at: now,
        started_at: Some(now),
        finished_at: Some(now),
        request: None,
        reply: None,
        value: None,
        log: run::LogSummary { lines: 0, bytes: 0, dropped_bytes: 7 },
        exchanges: vec![exchange(None), exchange(Some("destination-ip-prohibited"))],
        settings_read: vec![],
        settings_changed: vec![],
        lateness_us: None,
        node: None,
        usage: run::Usage { wall_us: 1500, memory_peak_bytes: 1 << 20, cpu_us: 40, ..Default::default() },
        inputs: run::Inputs::default(),
        trace: None,
    }
}

fn exchange(error: Option<&str>) -> run::Exchange {
    run::Exchange {
        at_us: 0,
        method: "GET".to_owned(),
        url: "http://example.org/".to_owned(),
        status: None,
        request_bytes: 0,
        response_bytes: 0,
        duration_us: 0,
        error: error.map(str::to_owned),
        reason: None,
        sealed: vec![],
    }
}

fn gauges() -> Gauges {
    Gauges {
        instances_in_use: 3,
        instances_max: 256,
        instances_memory_bytes: 9,
        slots: SlotFigures {
            slots: 4,
            idle: 1,
            idle_bytes: 10,
            resets: 11,
            restored_bytes: 12,
            discarded: 13,
        },
        runs_waiting: 1,
        workflows: 12,
        schedules_overrun: 2,
        store: StoreHealth {
            warnings: Vec::new(),
            stopped: Some("disk".to_owned()),
            run_bytes: 1,
            dead_bytes: 8,
            statistics_bytes: 9,
            queue_bytes: 10,
            index_bytes: 2,
            blob_bytes: 3,
            free_bytes: 4,
            space: crate::store::SpaceLevel::Low,
            runs: 5,
            queued: 6,
            flush_us: 7,
        },
        egress_refused: vec![("loopback", 3)],
        queue: QueueFigures { waiting: 8, dead: 2, ..QueueFigures::default() },
    }
}

#[test]
fn what_happened_is_in_the_text() {
    let telemetry = Telemetry::new();
    telemetry.run_finished(&run(Status::Succeeded, None));
    telemetry.run_finished(&run(Status::Failed, Some(Fault::new(FaultKind::Deadline, "too long"))));
    telemetry.request_answered(CATCH_ROUTE, 200);
    telemetry.request_answered(CATCH_ROUTE, 404);
    telemetry.request_answered("/healthz", 200);
    let open = telemetry.connection_opened();
    drop(telemetry.connection_opened());
    telemetry.connection_failed("accept");
    telemetry.panicked();
    telemetry.tick_started(Duration::from_millis(3));
    telemetry.ticks_settled(TickState::Missed, 1);
    telemetry.compiled("compiled", Duration::from_secs(2));
    let text = telemetry.render(&gauges());
    drop(open);
    for line in [
        "tidegate_runs_total{trigger=\"catch\",status=\"succeeded\",fault=\"\"} 1",
        "tidegate_runs_total{trigger=\"catch\",status=\"failed\",fault=\"deadline\"} 1",
        "tidegate_runs_total{trigger=\"pull\",status=\"cancelled\",fault=\"skipped\"} 0",
        "tidegate_run_duration_seconds_bucket{le=\"0.0025\",trigger=\"catch\"} 2",
        "tidegate_run_memory_peak_bytes_count 2",
        "tidegate_run_cpu_microseconds_total 80",
        "tidegate_log_dropped_bytes_total 14",
        "tidegate_egress_exchanges_total 4",
        "tidegate_egress_failures_total{reason=\"destination-ip-prohibited\"} 2",
        "tidegate_http_requests_total{route=\"/catch/{key}\",status=\"200\"} 1",
        "tidegate_http_requests_total{route=\"/catch/{key}\",status=\"404\"} 1",
        "tidegate_http_requests_total{route=\"/healthz\",status=\"200\"} 1",
        "tidegate_http_connections_open 1",
        "tidegate_http_connection_failures_total{reason=\"accept\"} 1",
        "tidegate_panics_total 1",
        "tidegate_tick_lateness_seconds_bucket{le=\"0.005\"} 1",
        "tidegate_ticks_total{state=\"missed\"} 1",
        "tidegate_ticks_total{state=\"ran\"} 0",
        "tidegate_compiles_total{result=\"compiled\"} 1",
        "tidegate_instances_in_use 3",
        "tidegate_schedules_overrun 2",
        "tidegate_instances_memory_bytes 9",
        "tidegate_slots 4",
        "tidegate_slots_idle 1",
        "tidegate_slots_idle_bytes 10",
        "tidegate_slot_resets_total 11",
        "tidegate_slot_restored_bytes_total 12",
        "tidegate_slots_discarded_total 13",
        "tidegate_store_stopped 1",
        "tidegate_store_flush_microseconds 7",
        "# TYPE tidegate_queue_dead_dropped counter",
        "# TYPE tidegate_otlp_dropped_runs counter",
        "tidegate_otlp_dropped_runs_total 0",
        "tidegate_stream_events_lost_total 0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}
