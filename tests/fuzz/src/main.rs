//! Generates core modules that have a given module's imports and exports, and arbitrary
//! code.
//!
//! `tidegate-fuzz-modules SHAPE FIRST COUNT` writes COUNT modules to standard output, each
//! behind its length (4 bytes, little-endian). The module with a number is the same on every
//! machine; the numbers begin with FIRST.

use std::io::{BufWriter, Write as _};

use anyhow::Context as _;
use arbitrary::Unstructured;
use wasm_smith::{Config, Module};

/// Entropy of one module, in bytes: what it has no more of is zero.
const ENTROPY_BYTES: usize = 4096;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, first, count] = &arguments[..] else {
        anyhow::bail!("usage: tidegate-fuzz-modules SHAPE FIRST COUNT");
    };
    let shape = std::fs::read(shape).with_context(|| format!("read {shape}"))?;
    let (first, count): (u64, u64) = (first.parse()?, count.parse()?);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for number in first..first + count {
        let module = module(&shape, number).with_context(|| format!("generate module {number}"))?;
        out.write_all(&u32::try_from(module.len())?.to_le_bytes())?;
        out.write_all(&module)?;
    }
    Ok(out.flush()?)
}

fn module(shape: &[u8], number: u64) -> anyhow::Result<Vec<u8>> {
    let entropy = entropy(number);
    let mut unstructured = Unstructured::new(&entropy);
    // The features that the host has, and nothing else. Some numbers get what is off as
    // well: those are refused.
    let with_all = number % 16 == 0;
    // `externref` comes with these, and needs the collector, which is off: most of such
    // modules are refused.
    let with_references = number % 4 == 0;
    let config = Config {
        module_shape: Some(shape.to_vec()),
        allow_start_export: true,
        bulk_memory_enabled: true,
        reference_types_enabled: with_references,
        simd_enabled: true,
        extended_const_enabled: true,
        custom_page_sizes_enabled: false,
        exceptions_enabled: with_all,
        gc_enabled: with_all,
        memory64_enabled: with_all,
        relaxed_simd_enabled: with_all,
        tail_call_enabled: with_all,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        max_memories: 1,
        max_tables: 4,
        max_table_elements: 10_000,
        max_memory32_bytes: 64 << 20,
        max_funcs: 20,
        max_instructions: 200,
        ..Config::default()
    };
    Ok(Module::new(config, &mut unstructured)?.to_bytes())
}

/// Bytes that look random and are the same for the same number (SplitMix64).
fn entropy(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(ENTROPY_BYTES);
    while bytes.len() < ENTROPY_BYTES {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes
}
