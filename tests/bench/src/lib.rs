//! `tidegate-bench`: Tidegate measured beside its peers, in one run, on one machine.
//!
//! Everything a figure depends on is in this crate: the load generator, the peers' flags,
//! the order of the rounds. Nothing is measured unless every response was right.

pub mod bomb;
pub mod cases;
pub mod chart;
pub mod check;
pub mod component;
pub mod connection;
pub mod function;
pub mod hello_server;
pub mod installed;
pub mod load;
pub mod machine;
pub mod own_server;
pub mod parallel;
pub mod peer;
pub mod process;
pub mod publish;
pub mod python;
pub mod report;
pub mod rounds;
pub mod server;
pub mod services;
pub mod suite;
#[cfg(test)]
mod test_server;
pub mod throughput;
pub mod tidegate;
pub mod tool;

/// What every peer answers.
pub const HELLO: &[u8] = b"hello\n";
