//! Tidegate: a self-hosted, sandboxed WebAssembly function host.

pub mod account;
pub mod accounts;
pub mod answer;
pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod data;
pub mod deploy;
pub mod engine;
pub mod invoker;
pub mod keys;
pub mod otlp;
pub mod programs;
pub mod pulls;
pub mod queue;
pub mod registry;
pub mod run;
pub mod schedule;
pub mod scheduler;
pub mod server;
pub mod statistics;
pub mod store;
pub mod telemetry;
pub mod workflow;
