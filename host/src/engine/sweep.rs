//! Memory of ended runs that waits to be given back.
//!
//! wasmtime hands the pages of ended instances back to the system in batches
//! ([`DECOMMIT_BATCH`]): each time, all cores are told to forget them, which by itself
//! takes longer than a small run. What waits is in no budget any more, so a thread that
//! let go of much ends its batch early.

use std::cell::Cell;

use futures::FutureExt as _;
use wasmtime::{Engine, InstancePre, Linker, Module, Store};

use super::tuning::DECOMMIT_BATCH;

/// Linear memory of ended runs that may wait on one thread, in bytes.
const WAITING_BYTES_MAX: u64 = 256 << 20;

/// A module with one function, `f`, that does nothing.
const NOTHING: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x04\x01\x60\x00\x00\
    \x03\x02\x01\x00\
    \x07\x05\x01\x01f\x00\x00\
    \x0a\x04\x01\x02\x00\x0b";

thread_local! {
    static WAITING_BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Ends batches early.
pub(super) struct Sweeper {
    engine: Engine,
    nothing: InstancePre<()>,
}

impl Sweeper {
    pub(super) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let module = Module::new(engine, NOTHING)?;
        let nothing = Linker::new(engine).instantiate_pre(&module)?;
        Ok(Self { engine: engine.clone(), nothing })
    }

    /// Says that this thread dropped an instance that had so much linear memory, while
    /// its caller still holds the permit of the slot.
    pub(super) fn dropped(&self, memory_bytes: u64) {
        let waiting = WAITING_BYTES.get().saturating_add(memory_bytes);
        let is_much = waiting > WAITING_BYTES_MAX;
        WAITING_BYTES.set(if is_much { 0 } else { waiting });
        if is_much && let Err(error) = self.sweep() {
            tracing::warn!(error = %format!("{error:#}"), "memory of ended runs could not be given back early");
        }
    }

    /// Fills this thread's batch: each instance that ran leaves a stack in it.
    fn sweep(&self) -> wasmtime::Result<()> {
        for _ in 0..DECOMMIT_BATCH {
            let mut store = Store::new(&self.engine, ());
            store.set_epoch_deadline(u64::MAX / 2);
            let call = async {
                let instance = self.nothing.instantiate_async(&mut store).await?;
                let function = instance.get_typed_func::<(), ()>(&mut store, "f")?;
                function.call_async(&mut store, ()).await
            };
            call.now_or_never().unwrap_or_else(|| Err(wasmtime::Error::msg("nothing took a while")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Instance;

    use super::*;
    use crate::engine::tuning;

    const MEMORY_BYTES: usize = 8 << 20;

    /// A module that exports a memory of [`MEMORY_BYTES`] as `m`.
    const MEMORY: &[u8] = b"\0asm\x01\0\0\0\
        \x05\x04\x01\x00\x80\x01\
        \x07\x05\x01\x01m\x02\x00";

    /// Bytes of this address range that are in memory.
    fn resident(start: *mut u8) -> usize {
        let page = rustix::param::page_size();
        let mut pages = vec![0u8; MEMORY_BYTES / page];
        // SAFETY: the kernel writes one byte for each page of the range, and does not touch
        // the range; the pool's mapping is there as long as the engine.
        let code = unsafe { libc::mincore(start.cast(), MEMORY_BYTES, pages.as_mut_ptr()) };
        assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
        pages.iter().filter(|page| **page & 1 == 1).count() * page
    }

    #[test]
    fn a_thread_that_let_go_of_much_gives_it_back() {
        let engine = Engine::new(&tuning::pooled(2, MEMORY_BYTES)).unwrap();
        let sweeper = Sweeper::new(&engine).unwrap();
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, MEMORY).unwrap();
        let instance = Instance::new_async(&mut store, &module, &[]).now_or_never().unwrap().unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        memory.data_mut(&mut store).fill(1);
        let start = memory.data_ptr(&store);
        drop(store);
        sweeper.dropped(WAITING_BYTES_MAX);
        assert!(resident(start) > MEMORY_BYTES * 3 / 4, "it waits in a batch");
        sweeper.dropped(1);
        assert!(resident(start) < MEMORY_BYTES * 3 / 4, "the batch was ended");
    }
}
