//! The hidden command by which the host's own binary becomes the compiler's child.

use clap::Args;

use super::error::{Failure, Result};
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
}

/// Compiles. The parent reads what stands on standard error.
pub(crate) fn run(args: &CompileArgs) -> Result<()> {
    child_main(args.memory_bytes_max, args.address_space_bytes_max, args.cpu_seconds_max)
        .map_err(Failure::new)
}
