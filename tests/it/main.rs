//! Tests of the whole: the sandbox with real guests, the host over real HTTP, the binary.
//!
//! Everything that a test needs is its own: ports, data folder, process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod accounts;
mod api;
mod artefacts;
mod bombs;
mod catch;
mod cli;
mod connections;
mod console;
mod crashes;
mod drain;
mod egress_rules;
mod engine;
#[path = "engine.rs"]
#[allow(clippy::duplicate_mod, reason = "the same tests, without resetting in place")]
mod engine_pool;
mod events;
mod fuzz;
mod handover;
mod hostile;
mod http2;
mod limits;
mod malformed;
mod oidc;
mod otlp;
mod overload;
mod probes;
mod python;
mod python_builds;
mod python_examples;
mod python_fused;
mod python_packages;
mod python_projects;
mod python_served;
mod queue;
mod rates;
mod runs;
mod samples;
mod schedules;
mod schema;
mod secrets;
mod settings;
mod shares;
mod signatures;
mod slow_callers;
mod smuggling;
mod specification;
mod support;
mod tidy;
mod uploads;
