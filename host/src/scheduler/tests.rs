//! The scheduler against a ledger in memory and a workflow that records, in simulated
//! time: tokio's paused clock jumps from timer to timer, and only once nothing else can
//! go on, so that waiting until an instant is exact.

mod clocks;
mod flow;
mod history;
mod ledger;
mod policy;
mod world;
