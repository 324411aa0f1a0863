//! The hidden command by which the host's own binary becomes the compiler's child.

use clap::Args;

use super::error::{Exit, Failure, Result};
use super::output::Output;
use crate::engine::child_main;

/// Compile a component from standard input to standard output
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// Cap of one linear memory
    #[arg(long)]
    memory_bytes_max: usize,
    /// Limit of this process
    #[arg(long)]
    address_space_bytes_max: u64,
    /// Limit of this process
    #[arg(long)]
    cpu_seconds_max: u64,
    /// Merge its core modules first
    #[arg(long)]
    fuse: bool,
}

/// Compiles. What stands on standard error becomes a part of the parent's own message.
pub(crate) fn run(args: &CompileArgs, out: &mut Output) -> Result<()> {
    let CompileArgs { memory_bytes_max, address_space_bytes_max, cpu_seconds_max, fuse } = *args;
    child_main(memory_bytes_max, address_space_bytes_max, cpu_seconds_max, fuse).map_err(|message| {
        out.note(&message);
        Failure::new(message).exit(Exit::Told)
    })
}
