//! Tests of the whole: the sandbox with real guests, the host over real HTTP, the binary.

mod cli;
mod engine;
mod support;
mod tidy;
