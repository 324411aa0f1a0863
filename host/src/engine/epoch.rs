//! The ticker that makes running guests give way.

use std::time::Duration;

/// Starts the thread that advances the engines' epoch. It ends with the first of them.
///
/// A thread of its own, not a task: a guest that holds every worker must still be
/// interrupted.
pub(super) fn start<'e>(
    engines: impl IntoIterator<Item = &'e wasmtime::Engine>,
    tick: Duration,
) -> std::io::Result<()> {
    let engines: Vec<_> = engines.into_iter().map(wasmtime::Engine::weak).collect();
    std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        let advance = |engine: &wasmtime::EngineWeak| {
            let Some(engine) = engine.upgrade() else { return false };
            engine.increment_epoch();
            true
        };
        while engines.iter().all(advance) {
            std::thread::sleep(tick);
        }
    })?;
    Ok(())
}
