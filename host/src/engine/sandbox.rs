//! One engine of wasmtime, and everything that guests can import on it.

use wasmtime::component::Linker;

use super::state::{self, State};

/// Where programs run that get their memory from the same place.
pub(super) struct Sandbox {
    pub(super) engine: wasmtime::Engine,
    pub(super) linker: Linker<State>,
}

impl Sandbox {
    /// A sandbox with these settings.
    pub(super) fn new(config: &wasmtime::Config) -> wasmtime::Result<Self> {
        let engine = wasmtime::Engine::new(config)?;
        let linker = state::linker(&engine)?;
        Ok(Self { engine, linker })
    }
}
