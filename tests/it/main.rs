//! Tests of the whole: the sandbox with real guests, the host over real HTTP, the binary.
//!
//! Everything that a test needs is its own: ports, data folder, process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod artefacts;
mod catch;
mod cli;
mod connections;
mod crashes;
mod drain;
mod engine;
mod events;
mod limits;
mod malformed;
mod otlp;
mod probes;
mod python;
mod python_builds;
mod python_examples;
mod python_packages;
mod python_projects;
mod python_served;
mod queue;
mod runs;
mod schedules;
mod secrets;
mod settings;
mod support;
mod tidy;
mod uploads;
