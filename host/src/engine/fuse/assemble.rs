//! Writes the merged module.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementMode, ElementSection, ElementSegment, Elements, EntityType,
    ExportKind, ExportSection, FunctionSection, GlobalSection, GlobalType, HeapType, ImportSection,
    MemorySection, MemoryType, Module, NameMap, NameSection, RefType, TableSection, TableType, TypeSection,
    ValType,
};
use wasmparser::DataKind;

use super::code::{Indices, Place, number, rewrite};
use super::component::Item;
use super::constant::Value;
use super::module::Kind;
use super::plan::{Plan, Target};
use super::refusal::{NOT_CONSTANT, NotFusable, dangling};
use crate::engine::tuning::{CORE_INSTANCE_BYTES_MAX, MODULE_TABLES_MAX};

/// The names of the merged module's exports, by kind and merged index.
type ExportNames = BTreeMap<(Kind, u32), String>;

/// The name under which the merged module imports everything.
pub(super) const OUTSIDE: &str = "outside";

/// A merged module.
pub(super) struct Merged<'a> {
    pub(super) bytes: Vec<u8>,
    /// What it imports, with the names of the imports.
    pub(super) imports: Vec<(Item<'a>, String)>,
    pub(super) exports: ExportNames,
    /// Reads of globals that became constants.
    pub(super) reads_folded: u32,
    /// Functions that hand on to others, and are not called any more.
    pub(super) jumps_removed: u32,
    /// Functions that nothing can call.
    pub(super) functions_dropped: u32,
}

/// Writes what was planned.
pub(super) fn assemble<'a>(plan: &Plan<'_, 'a>) -> Result<Merged<'a>, NotFusable> {
    let numbers = Numbers::new(plan)?;
    check_size(plan, &numbers)?;
    let (exports, export_section) = exports(plan, &numbers)?;
    let mut imports = Vec::new();
    let mut import_section = ImportSection::new();
    for (index, (item, ty)) in plan.outside.iter().enumerate() {
        if let Some(number) = numbers.functions[index] {
            let name = format!("{number}");
            import_section.import(OUTSIDE, &name, EntityType::Function(*ty));
            imports.push((*item, name));
        }
    }
    let (code, reads_folded) = code(plan, &numbers)?;
    let mut module = Module::new();
    module
        .section(&types(plan)?)
        .section(&import_section)
        .section(&function_types(plan, &numbers))
        .section(&tables(plan)?)
        .section(&memory(plan)?)
        .section(&globals(plan, &numbers)?)
        .section(&export_section)
        .section(&elements(plan, &numbers)?)
        .section(&code)
        .section(&data(plan)?)
        .section(&names(plan, &numbers));
    let is_removed = |index: &usize| plan.leads_to[*index] as usize != *index;
    let jumps_removed = (0..plan.leads_to.len()).filter(is_removed).count();
    let kept = plan.reachable.iter().filter(|reachable| **reachable).count();
    Ok(Merged {
        bytes: module.finish(),
        imports,
        exports,
        reads_folded,
        jumps_removed: count(jumps_removed)?,
        functions_dropped: count(plan.leads_to.len() - kept - jumps_removed)?,
    })
}

/// The final index of each merged index.
struct Numbers {
    /// `None` for functions that are left out.
    functions: Vec<Option<u32>>,
    globals: Vec<Place>,
    /// The globals that stay, by merged index.
    globals_kept: Vec<u32>,
}

impl Numbers {
    fn new(plan: &Plan<'_, '_>) -> Result<Self, NotFusable> {
        let mut next = 0;
        let mut own = Vec::new();
        for reachable in &plan.reachable {
            own.push(reachable.then_some(next));
            next += u32::from(*reachable);
        }
        let functions = plan.leads_to.iter().map(|end| own[*end as usize]).collect();
        let mut exported = BTreeSet::new();
        for (kind, item) in &plan.needed {
            if *kind == Kind::Global {
                exported.insert(plan.index(Kind::Global, *item)?);
            }
        }
        let (mut globals, mut globals_kept) = (Vec::new(), Vec::new());
        for (index, global) in (0..).zip(&plan.globals) {
            let folds = !global.changes && number(global.value).is_some();
            let kept = count(globals_kept.len())?;
            if !folds || exported.contains(&index) {
                globals_kept.push(index);
            }
            globals.push(if folds { Place::Folded(global.value) } else { Place::Kept(kept) });
        }
        Ok(Self { functions, globals, globals_kept })
    }

    fn function(&self, merged: u32) -> Result<u32, NotFusable> {
        self.functions.get(merged as usize).copied().flatten().ok_or_else(dangling)
    }

    /// The index of a global that stays.
    fn global(&self, merged: u32) -> Result<u32, NotFusable> {
        let kept = self.globals_kept.binary_search(&merged).map_err(|_| dangling())?;
        count(kept)
    }

    fn constant(&self, value: Value) -> Result<ConstExpr, NotFusable> {
        Ok(match value {
            Value::Null => ConstExpr::ref_null(HeapType::FUNC),
            Value::Function(function) => ConstExpr::ref_func(self.function(function)?),
            numeric => ConstExpr::extended(number(numeric)),
        })
    }
}

fn exports(plan: &Plan<'_, '_>, numbers: &Numbers) -> Result<(ExportNames, ExportSection), NotFusable> {
    let (mut names, mut section) = (BTreeMap::new(), ExportSection::new());
    for (kind, item) in &plan.needed {
        let merged = end(plan, *kind, plan.index(*kind, *item)?);
        let (export, index) = match kind {
            Kind::Function => (ExportKind::Func, numbers.function(merged)?),
            Kind::Table => (ExportKind::Table, merged),
            Kind::Memory => (ExportKind::Memory, merged),
            Kind::Global => (ExportKind::Global, numbers.global(merged)?),
        };
        let name = format!("{kind} {index}");
        if names.insert((*kind, merged), name.clone()).is_none() {
            section.export(&name, export, index);
        }
    }
    Ok((names, section))
}

/// Whether the pool can hold an instance of the merged module, though it held one of
/// each module before.
fn check_size(plan: &Plan<'_, '_>, numbers: &Numbers) -> Result<(), NotFusable> {
    // What wasmtime 48 keeps of an import, of a function that can be referred to and of a
    // global are 32, 32 and 16 bytes at most; the rest is some hundred bytes.
    const REST_BYTES: usize = 16 << 10;
    let functions: HashSet<u32> = plan.references().collect();
    let needed = REST_BYTES
        + 32 * (functions.len() + plan.needed.len() + plan.outside.len())
        + 16 * numbers.globals_kept.len();
    if needed > CORE_INSTANCE_BYTES_MAX {
        return Err(NotFusable::Unsupported { what: "too many functions in tables for one module" });
    }
    if plan.tables.len() > MODULE_TABLES_MAX as usize {
        return Err(NotFusable::Unsupported { what: "too many tables for one module" });
    }
    Ok(())
}

/// Where a merged index leads in the end.
pub(super) fn end(plan: &Plan<'_, '_>, kind: Kind, merged: u32) -> u32 {
    match kind {
        Kind::Function => plan.leads_to.get(merged as usize).copied().unwrap_or(merged),
        Kind::Table | Kind::Memory | Kind::Global => merged,
    }
}

fn types(plan: &Plan<'_, '_>) -> Result<TypeSection, NotFusable> {
    let mut section = TypeSection::new();
    for ty in &plan.types {
        let params: Result<Vec<_>, _> = ty.params().iter().map(|ty| value_type(*ty)).collect();
        let results: Result<Vec<_>, _> = ty.results().iter().map(|ty| value_type(*ty)).collect();
        section.ty().function(params?, results?);
    }
    Ok(section)
}

fn function_types(plan: &Plan<'_, '_>, numbers: &Numbers) -> FunctionSection {
    let mut section = FunctionSection::new();
    for (_, function) in kept(plan, numbers) {
        section.function(function.ty);
    }
    section
}

/// The functions that stay, with their final indices, in that order.
fn kept<'p>(
    plan: &'p Plan<'_, '_>,
    numbers: &'p Numbers,
) -> impl Iterator<Item = (u32, &'p super::plan::Function)> {
    let first = plan.outside.len();
    plan.functions.iter().enumerate().filter_map(move |(defined, function)| {
        let merged = first + defined;
        if !plan.reachable[merged] {
            return None;
        }
        Some((numbers.functions[merged]?, function))
    })
}

fn tables(plan: &Plan<'_, '_>) -> Result<TableSection, NotFusable> {
    let mut section = TableSection::new();
    for ty in &plan.tables {
        section.table(TableType {
            element_type: reference(ty.element_type)?,
            table64: ty.table64,
            minimum: ty.initial,
            maximum: ty.maximum,
            shared: ty.shared,
        });
    }
    Ok(section)
}

fn memory(plan: &Plan<'_, '_>) -> Result<MemorySection, NotFusable> {
    let mut section = MemorySection::new();
    for part in plan.merged_parts() {
        for ty in part.module.memories.iter().skip(part.module.imported(Kind::Memory)) {
            section.memory(MemoryType {
                minimum: ty.initial,
                maximum: ty.maximum,
                memory64: ty.memory64,
                shared: ty.shared,
                page_size_log2: ty.page_size_log2,
            });
        }
    }
    Ok(section)
}

fn globals(plan: &Plan<'_, '_>, numbers: &Numbers) -> Result<GlobalSection, NotFusable> {
    let mut section = GlobalSection::new();
    for index in &numbers.globals_kept {
        let global = plan.globals.get(*index as usize).ok_or_else(dangling)?;
        let ty = GlobalType {
            val_type: value_type(global.ty.content_type)?,
            mutable: global.ty.mutable,
            shared: global.ty.shared,
        };
        section.global(ty, &numbers.constant(global.value)?);
    }
    Ok(section)
}

fn elements(plan: &Plan<'_, '_>, numbers: &Numbers) -> Result<ElementSection, NotFusable> {
    let mut section = ElementSection::new();
    for segment in &plan.segments {
        let offset;
        let mode = match segment.target {
            Target::Passive => ElementMode::Passive,
            Target::Declared => ElementMode::Declared,
            Target::Active { table, offset: at } => {
                offset = ConstExpr::i32_const(at.cast_signed());
                ElementMode::Active { table: Some(table).filter(|table| *table != 0), offset: &offset }
            }
        };
        let functions: Option<Vec<u32>> = segment
            .items
            .iter()
            .map(|item| match item {
                Value::Function(function) => Some(*function),
                _ => None,
            })
            .collect();
        let elements = match functions {
            // The engine prepares a table ahead of time only from this form.
            Some(functions) => {
                let functions: Result<Vec<u32>, _> =
                    functions.into_iter().map(|function| numbers.function(function)).collect();
                Elements::Functions(Cow::Owned(functions?))
            }
            None => {
                let items: Result<Vec<ConstExpr>, _> =
                    segment.items.iter().map(|item| numbers.constant(*item)).collect();
                Elements::Expressions(RefType::FUNCREF, Cow::Owned(items?))
            }
        };
        section.segment(ElementSegment { mode, elements });
    }
    // What a module's exports declared is declared here: they are exports no more.
    let mut referenced = BTreeSet::new();
    for (_, function) in kept(plan, numbers) {
        let spaces = plan.spaces[function.part].as_ref().ok_or_else(dangling)?;
        for own in &function.uses.references {
            let merged = *spaces.functions.get(*own as usize).ok_or_else(dangling)?;
            referenced.insert(numbers.function(merged)?);
        }
    }
    if !referenced.is_empty() {
        section.declared(Elements::Functions(referenced.into_iter().collect()));
    }
    Ok(section)
}

fn code(plan: &Plan<'_, '_>, numbers: &Numbers) -> Result<(CodeSection, u32), NotFusable> {
    let mut indices: Vec<Option<Indices>> = Vec::new();
    let mut elements = 0;
    let mut first_elements = vec![0; plan.spaces.len()];
    for index in &plan.merged {
        first_elements[*index] = elements;
        elements += count(plan.component.parts[*index].module.elements.len())?;
    }
    for (index, spaces) in plan.spaces.iter().enumerate() {
        let Some(spaces) = spaces else {
            indices.push(None);
            continue;
        };
        let globals: Option<Vec<Place>> =
            spaces.globals.iter().map(|merged| numbers.globals.get(*merged as usize).copied()).collect();
        indices.push(Some(Indices {
            types: spaces.types.clone(),
            functions: spaces.functions.iter().map(|merged| numbers.function(*merged).ok()).collect(),
            tables: spaces.tables.clone(),
            globals: globals.ok_or_else(dangling)?,
            elements: first_elements[index],
        }));
    }
    let (mut section, mut body, mut reads_folded) = (CodeSection::new(), Vec::new(), 0);
    for (_, function) in kept(plan, numbers) {
        let indices = indices[function.part].as_ref().ok_or_else(dangling)?;
        let parsed =
            plan.component.parts[function.part].module.bodies.get(function.body).ok_or_else(dangling)?;
        body.clear();
        reads_folded += rewrite(parsed, indices, &mut body)?;
        section.raw(&body);
    }
    Ok((section, reads_folded))
}

fn data(plan: &Plan<'_, '_>) -> Result<DataSection, NotFusable> {
    let mut section = DataSection::new();
    let memory = plan.merged_parts().find_map(|part| {
        part.module.memories.get(part.module.imported(Kind::Memory)).map(|memory| memory.initial)
    });
    let memory_bytes = memory.and_then(|pages| pages.checked_mul(64 << 10)).ok_or_else(dangling)?;
    for (index, part) in plan.merged.iter().zip(plan.merged_parts()) {
        let spaces = plan.spaces[*index].as_ref().ok_or_else(dangling)?;
        for (segment, data) in part.module.data.iter().enumerate() {
            let DataKind::Active { offset_expr, .. } = &data.kind else {
                return Err(NotFusable::PassiveData { module: *index });
            };
            let what = "data segment";
            let Some(Value::I32(offset)) = plan.constant(spaces, offset_expr) else {
                return Err(NOT_CONSTANT);
            };
            if u64::from(offset.cast_unsigned()) + data.data.len() as u64 > memory_bytes {
                return Err(NotFusable::OutOfBounds { module: *index, what, index: segment });
            }
            section.active(0, &ConstExpr::i32_const(offset), data.data.iter().copied());
        }
    }
    Ok(section)
}

/// Names of functions for backtraces. They say which module a function came from, unless
/// it is the one with the memory, which gives the merged module its name. Mangled names
/// stay alone: with anything before them they would not be made readable.
fn names(plan: &Plan<'_, '_>, numbers: &Numbers) -> NameSection {
    let main = plan.merged_parts().find(|part| part.module.defined(Kind::Memory) > 0);
    let main_name = main.and_then(|part| part.module.name);
    let mut named: BTreeMap<u32, Cow<'_, str>> = BTreeMap::new();
    for (index, part) in plan.merged.iter().zip(plan.merged_parts()) {
        let Some(spaces) = &plan.spaces[*index] else { continue };
        for (own, name) in &part.module.function_names {
            // A name that an import has says less than the one that its definition has.
            if (*own as usize) < part.module.imported(Kind::Function) {
                continue;
            }
            let Some(merged) = spaces.functions.get(*own as usize) else { continue };
            let Ok(number) = numbers.function(*merged) else { continue };
            if plan.leads_to[*merged as usize] != *merged {
                continue;
            }
            let is_mangled = name.starts_with("_R") || name.starts_with("_ZN");
            named.entry(number).or_insert_with(|| match part.module.name {
                Some(module) if Some(module) != main_name && !is_mangled => {
                    Cow::Owned(format!("{module}!{name}"))
                }
                _ => Cow::Borrowed(*name),
            });
        }
    }
    let mut functions = NameMap::new();
    for (number, name) in &named {
        functions.append(*number, name);
    }
    let mut section = NameSection::new();
    if let Some(name) = main_name {
        section.module(name);
    }
    section.functions(&functions);
    section
}

fn value_type(ty: wasmparser::ValType) -> Result<ValType, NotFusable> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ValType::Ref(reference(ty)?),
    })
}

fn reference(ty: wasmparser::RefType) -> Result<RefType, NotFusable> {
    match ty {
        wasmparser::RefType::FUNCREF => Ok(RefType::FUNCREF),
        // The engine, which collects no garbage, refuses them in any case.
        _ => Err(NotFusable::Unsupported { what: "references to other things than functions" }),
    }
}

fn count(length: usize) -> Result<u32, NotFusable> {
    u32::try_from(length).map_err(|_| dangling())
}
