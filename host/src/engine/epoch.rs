//! The ticker that makes running guests give way.

use std::time::Duration;

/// Starts the thread that advances the engine's epoch. It ends with the engine.
///
/// A thread of its own, not a task: a guest that holds every worker must still be
/// interrupted.
pub(super) fn start(engine: &wasmtime::Engine, tick: Duration) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(tick);
        }
    })?;
    Ok(())
}
