//! Tests of the whole: the sandbox with real guests, the host over real HTTP, the binary.

mod engine;
mod python;
mod support;
mod tidy;
