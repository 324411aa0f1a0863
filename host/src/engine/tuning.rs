//! The sandbox's settings: which wasm features exist, how instances are allocated.
//!
//! Everything that changes compiled code or the meaning of a limit is set here and
//! nowhere else, and a test asserts each feature bit.

use std::sync::Arc;

use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy, WasmBacktraceDetails,
};

use super::slots::Slots;

/// Core wasm stack of one instance. Far below [`ASYNC_STACK_BYTES`]: the difference is
/// what host functions run on, and too little of it aborts the process.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Native stack of one instance.
const ASYNC_STACK_BYTES: usize = 2 << 20;

/// The wasm features that guests have: WebAssembly 2.0, constant expressions that add (as
/// position-independent code wants) and components. Real Python and Rust guests need no
/// more, and most of the engine's advisories concern what is left out.
pub(super) const FEATURES: WasmFeatures =
    WasmFeatures::WASM2.union(WasmFeatures::EXTENDED_CONST).union(WasmFeatures::COMPONENT_MODEL);

/// How much of a slot's memory stays mapped between runs. A Python hello writes 0.7 MB,
/// one with two HTTP calls 6.5 MB, in hundreds of places.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;

/// Pieces of memory that ended instances leave to be given back to the system together.
/// Giving them back one by one halves what four cores can do: see [`super::sweep`].
pub(super) const DECOMMIT_BATCH: usize = 64;
/// wasmtime's batches, one for each core and no more than these.
const DECOMMIT_BATCHES_MAX: usize = 16;

/// What one component may instantiate; the pool has as much for every permit, so that
/// an instantiation never fails for lack of a slot. Measured on componentize-py 0.25.1:
/// 70 core instances (most of them synthetic), 1 memory, 2 tables of 5,896 elements.
pub(super) const CORE_INSTANCES_MAX: u32 = 128;
/// Linear memories of one component.
pub(super) const MEMORIES_MAX: u32 = 2;
/// Tables of one component.
pub(super) const TABLES_MAX: u32 = 8;
/// Tables of one core module.
pub(super) const MODULE_TABLES_MAX: u32 = 4;
/// What the engine keeps of one core instance: of each import, each global, each function
/// that there can be a reference to. In bytes.
pub(super) const CORE_INSTANCE_BYTES_MAX: usize = 1 << 20;
/// Elements of one table.
pub(super) const TABLE_ELEMENTS_MAX: usize = 20_000;

/// The configuration for running guests in the plain pool.
///
/// `instances_max` is the number of instances that exist at the same time,
/// `memory_bytes_max` the cap of one linear memory.
pub(super) fn pooled(instances_max: u32, memory_bytes_max: usize) -> Config {
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances_max, memory_bytes_max)));
    config
}

/// The configuration for running guests whose memory and stack are reset in place. Code
/// that was compiled for one of the two fits the other.
pub(super) fn in_place(slots: &Arc<Slots>) -> Config {
    let mut config = common();
    slots.serve(&mut config);
    config
}

/// What compiled code depends on, for compiling it. Instances come from nowhere special.
pub(super) fn common() -> Config {
    let mut config = Config::new();
    // A third of the advisories of the last year concern Winch or what is off below.
    config.strategy(Strategy::Cranelift);
    config
        .wasm_features(FEATURES, true)
        .wasm_features(WasmFeatures::all().difference(FEATURES), false)
        .gc_support(false)
        .concurrency_support(false)
        .shared_memory(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        // Stacks are pooled across workflows.
        .async_stack_zeroing(true)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .allocation_strategy(InstanceAllocationStrategy::OnDemand);
    config
}

fn pool(instances_max: u32, memory_bytes_max: usize) -> PoolingAllocationConfig {
    // Copying back the pages that a run wrote beats mapping them afresh where the kernel
    // can tell which they are (Linux 6.7). Elsewhere it would mean copying blindly.
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let keep = if scan { KEEP_RESIDENT_BYTES } else { 0 };
    // What waits in a batch is not free yet, though its permit is.
    let batches = std::thread::available_parallelism().map_or(1, usize::from).min(DECOMMIT_BATCHES_MAX);
    let waiting = (batches * DECOMMIT_BATCH) as u32;
    let total = |of_one: u32| instances_max.saturating_mul(of_one).saturating_add(waiting);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances_max)
        .total_core_instances(instances_max.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(total(MEMORIES_MAX))
        .total_tables(total(TABLES_MAX))
        .total_stacks(total(1))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memories_per_module(1)
        .max_tables_per_module(MODULE_TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(memory_bytes_max)
        .max_core_instance_size(CORE_INSTANCE_BYTES_MAX)
        .max_component_instance_size(1 << 20)
        .pagemap_scan(Enabled::Auto)
        .linear_memory_keep_resident(keep)
        .table_keep_resident(keep.min(128 << 10))
        // Zeroed by hand after each run, scan or not: what a Rust guest's calls touch.
        .async_stack_keep_resident(keep.min(16 << 10))
        .decommit_batch_size(DECOMMIT_BATCH)
        .max_unused_warm_slots(100);
    pool
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Module};

    fn engine() -> Engine {
        Engine::new(&super::pooled(2, 1 << 20)).unwrap()
    }

    #[test]
    fn features_are_the_minimum() {
        use wasmparser::WasmFeatures as F;
        let listed = F::MUTABLE_GLOBAL
            | F::SATURATING_FLOAT_TO_INT
            | F::SIGN_EXTENSION
            | F::REFERENCE_TYPES
            | F::MULTI_VALUE
            | F::BULK_MEMORY
            | F::SIMD
            | F::FLOATS
            | F::EXTENDED_CONST
            | F::COMPONENT_MODEL;
        // gc-types is no feature of its own: it lets the validator know reference types.
        assert_eq!(super::FEATURES.difference(F::GC_TYPES), listed);
    }

    /// One module for each feature that is off, in the binary format's text.
    #[test]
    fn features_beyond_the_minimum_are_refused() {
        // Sections: type, function, memory, export ... written by hand so that no
        // text parser is linked into the host.
        let memory64 = b"\0asm\x01\0\0\0\x05\x03\x01\x04\x01";
        let shared_memory = b"\0asm\x01\0\0\0\x05\x04\x01\x03\x01\x01";
        let multi_memory = b"\0asm\x01\0\0\0\x05\x05\x02\x00\x01\x00\x01";
        let custom_page_size = b"\0asm\x01\0\0\0\x05\x04\x01\x08\x01\x00";
        let gc_struct = b"\0asm\x01\0\0\0\x01\x05\x01\x5f\x01\x7f\x00";
        let exception_tag = b"\0asm\x01\0\0\0\x01\x04\x01\x60\x00\x00\x0d\x03\x01\x00\x00";
        // (func return_call 0)
        let tail_call =
            b"\0asm\x01\0\0\0\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x06\x01\x04\x00\x12\x00\x0b";
        // (func (param (ref null 0)))
        let typed_reference = b"\0asm\x01\0\0\0\x01\x09\x02\x60\x00\x00\x60\x01\x63\x00\x00";
        let engine = engine();
        let modules: [(&str, &[u8]); 8] = [
            ("memory64", memory64),
            ("shared memory", shared_memory),
            ("multi-memory", multi_memory),
            ("custom page sizes", custom_page_size),
            ("gc", gc_struct),
            ("exceptions", exception_tag),
            ("tail calls", tail_call),
            ("typed function references", typed_reference),
        ];
        for (feature, bytes) in modules {
            assert!(Module::validate(&engine, bytes).is_err(), "{feature} must be off");
        }
        // The control: the same hand-written form with plain features is accepted.
        Module::validate(&engine, b"\0asm\x01\0\0\0\x05\x03\x01\x00\x01").unwrap();
        Module::validate(
            &engine,
            b"\0asm\x01\0\0\0\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x06\x01\x04\x00\x10\x00\x0b",
        )
        .unwrap();
    }
}
