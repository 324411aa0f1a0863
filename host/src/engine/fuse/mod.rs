//! Merges the core modules of a component into one.
//!
//! A component that is linked of shared libraries, as componentize-py makes them, is some
//! fourteen core modules that are bound together at each instantiation: a table and a
//! memory that all but one import, base addresses in imported globals, calls across
//! instances. All of that is known once the component was initialised ahead of time.
//! [`fuse`] does the binding then: one module defines memory and tables, bases become
//! constants, calls are direct, and every table segment stands at a constant place, so
//! that the engine can lay the table out ahead of time. What the component imports,
//! exports and does is the same.
//!
//! **What others can rely on.** In a fused component
//! - exactly one core module defines a memory, and only one memory: core module 0. No
//!   other module imports or exports a memory of its own, and none has a start function;
//! - core module 0 has all data segments; each is active, for memory 0, its offset is one
//!   `i32.const`, and it lies within the memory's initial size. Segments are applied in
//!   their order and may overlap. No code names a data segment;
//! - core module 0 has all tables that were defined by merged modules. Its active table
//!   segments have constant offsets within the tables' initial sizes. Modules after it
//!   (the one with which `wit-component` completes the table of imports) may write them
//!   while the component is instantiated.
//!
//! **What is merged**: every module that can be instantiated before the first canonical
//! function that works on a module's memory. The others, called late, import such
//! functions, so that they must come after; they are copied.
//!
//! The input may be hostile. Whatever does not have exactly this shape is
//! [`NotFusable`]; nothing here panics; the input is validated before it is looked at and
//! the result before it is used. Called in the process that compiles (`compile.rs`),
//! nowhere else.

mod assemble;
mod code;
mod component;
mod constant;
mod module;
mod plan;
mod rebuild;
mod refusal;
#[cfg(test)]
mod tests;

use wasmparser::Validator;

pub(super) use self::refusal::NotFusable;

use self::component::Component;
use self::plan::Plan;
use super::tuning::FEATURES;

/// Part of the name of everything compiled: raise it with each change of what
/// [`fuse`] gives for the same component.
pub(super) const VERSION: u32 = 1;

/// A component whose core modules were merged.
pub(super) struct Fused {
    /// The component.
    pub(super) component: Vec<u8>,
    /// What was done.
    pub(super) report: Report,
}

/// What was done to a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// Core modules that it had.
    pub(super) modules: u32,
    /// Core modules that became one.
    pub(super) merged: u32,
    /// Reads of globals that became constants.
    pub(super) reads_folded: u32,
    /// Calls through a table that nothing changes, made direct: functions that did
    /// nothing else.
    pub(super) jumps_removed: u32,
    /// Functions that nothing could call.
    pub(super) functions_dropped: u32,
}

/// Merges the core modules of a component.
///
/// # Errors
/// Why the component must be run as it is.
pub(super) fn fuse(bytes: &[u8]) -> Result<Fused, NotFusable> {
    Validator::new_with_features(FEATURES).validate_all(bytes)?;
    let component = Component::parse(bytes)?;
    let plan = Plan::new(&component)?;
    let merged = assemble::assemble(&plan)?;
    let report = Report {
        modules: component.parts.len() as u32,
        merged: plan.merged.len() as u32,
        reads_folded: merged.reads_folded,
        jumps_removed: merged.jumps_removed,
        functions_dropped: merged.functions_dropped,
    };
    let component = rebuild::rebuild(bytes, &plan, &merged)?;
    Validator::new_with_features(FEATURES)
        .validate_all(&component)
        .map_err(|error| NotFusable::Result(format!("{} at {:#x}", error.message(), error.offset())))?;
    Ok(Fused { component, report })
}
