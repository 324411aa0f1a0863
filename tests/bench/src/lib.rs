//! `tidegate-bench`: Tidegate measured beside its peers, in one run, on one machine.
//!
//! Everything a figure depends on is in this crate: the load generator, the peers' flags,
//! the order of the rounds. Nothing is measured unless every response was right.

pub mod connection;
pub mod hello_server;
pub mod load;
pub mod machine;
pub mod peer;
pub mod process;
pub mod report;
pub mod rounds;
pub mod server;
#[cfg(test)]
mod test_server;

/// What every peer answers.
pub const HELLO: &[u8] = b"hello\n";
