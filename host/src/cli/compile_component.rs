//! The hidden command by which the host's own binary becomes the compiler's child.

use clap::Args;

use super::error::{Exit, Failure, Result};
use super::output::Output;
use crate::engine::{Priority, Steps, child_main};

/// Compile a component from standard input to standard output
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// Merge its core modules first
    #[arg(long)]
    fuse: bool,
    /// Take the contents of its memory out, where that can be done
    #[arg(long)]
    in_place: bool,
    /// Take no processor time that anybody else wants
    #[arg(long)]
    rest: bool,
    /// Limit of this process
    #[arg(long)]
    address_space_bytes_max: u64,
    /// Limit of this process
    #[arg(long)]
    cpu_seconds_max: u64,
}

/// Compiles. What stands on standard error becomes a part of the parent's own message.
pub(crate) fn run(args: &CompileArgs, out: &mut Output) -> Result<()> {
    let CompileArgs { fuse, in_place, rest, address_space_bytes_max, cpu_seconds_max } = *args;
    let priority = if rest { Priority::Rest } else { Priority::Low };
    child_main(Steps { fuse, in_place }, priority, address_space_bytes_max, cpu_seconds_max).map_err(
        |message| {
            out.note(&message);
            Failure::new(message).exit(Exit::Told)
        },
    )
}
