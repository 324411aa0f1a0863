//! Writes the component anew around the merged module.
//!
//! Everything but core items is copied in its order, so that types, functions, instances
//! and imports of the component keep their indices. The merged module is instantiated
//! just before the first thing that needs it.

use std::collections::{BTreeMap, HashMap};

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component as Encoder, ComponentAliasSection,
    ComponentExportKind, ComponentOuterAliasKind, ComponentSectionId, ExportKind, InstanceSection, ModuleArg,
    RawSection,
};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ExternalKind, Instance, Parser, Payload,
};

use super::assemble::{Merged, OUTSIDE, end};
use super::component::{Component, Item};
use super::module::Kind;
use super::plan::Plan;
use super::refusal::{NotFusable, dangling};

/// The custom section that names a component's parts by indices which change.
const NAMES: &str = "component-name";

/// Writes the component.
pub(super) fn rebuild<'a>(
    bytes: &'a [u8],
    plan: &Plan<'_, 'a>,
    merged: &Merged<'a>,
) -> Result<Vec<u8>, NotFusable> {
    let mut rebuilding = Rebuilding {
        bytes,
        plan,
        component: plan.component,
        merged,
        out: Encoder::new(),
        modules_seen: 0,
        modules: HashMap::new(),
        instances: 0,
        late_instances: HashMap::new(),
        merged_instance: None,
        functions_seen: 0,
        counts: [0; Kind::COUNT],
        placed: HashMap::new(),
    };
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match &payload {
            Payload::ModuleSection { .. } => {
                if depth == 0 {
                    rebuilding.module();
                }
                depth += 1;
            }
            Payload::ComponentSection { unchecked_range, .. } => {
                if depth == 0 {
                    rebuilding.raw(ComponentSectionId::Component as u8, unchecked_range.clone())?;
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ if depth == 0 => rebuilding.section(payload)?,
            _ => {}
        }
    }
    Ok(rebuilding.out.finish())
}

struct Rebuilding<'p, 'c, 'a> {
    bytes: &'a [u8],
    plan: &'p Plan<'c, 'a>,
    component: &'c Component<'a>,
    merged: &'p Merged<'a>,
    out: Encoder,
    modules_seen: usize,
    /// New indices of late modules.
    modules: HashMap<usize, u32>,
    /// Core instances so far.
    instances: u32,
    late_instances: HashMap<usize, u32>,
    merged_instance: Option<u32>,
    /// Core functions of the original so far.
    functions_seen: u32,
    /// The lengths of the new index spaces.
    counts: [u32; Kind::COUNT],
    /// New indices.
    placed: HashMap<(Kind, Item<'a>), u32>,
}

impl<'a> Rebuilding<'_, '_, 'a> {
    fn raw(&mut self, id: u8, range: std::ops::Range<usize>) -> Result<(), NotFusable> {
        let data = self.bytes.get(range).ok_or_else(dangling)?;
        self.out.section(&RawSection { id, data });
        Ok(())
    }

    /// The merged module stands where the first module stood, the late ones follow.
    fn module(&mut self) {
        let id = ComponentSectionId::CoreModule as u8;
        if self.modules_seen == 0 {
            self.out.section(&RawSection { id, data: &self.merged.bytes });
        }
        let part = &self.component.parts[self.modules_seen];
        if part.late {
            self.modules.insert(self.modules_seen, 1 + self.modules.len() as u32);
            self.out.section(&RawSection { id, data: part.bytes });
        }
        self.modules_seen += 1;
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), NotFusable> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.instantiate(module_index as usize)?;
                    }
                }
                Ok(())
            }
            Payload::ComponentAliasSection(section) => self.aliases(section),
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.canonical(function?)?;
                }
                Ok(())
            }
            Payload::CustomSection(custom) if custom.name() == NAMES => Ok(()),
            other => match other.as_section() {
                Some((id, range)) => self.raw(id, range),
                None => Ok(()),
            },
        }
    }

    fn instantiate(&mut self, module: usize) -> Result<(), NotFusable> {
        let part = self.component.parts.get(module).ok_or_else(dangling)?;
        if !part.late {
            return Ok(());
        }
        let mut arguments: BTreeMap<&str, BTreeMap<&str, (Kind, Item<'a>)>> = BTreeMap::new();
        for kind in [Kind::Function, Kind::Table, Kind::Memory, Kind::Global] {
            for (import, item) in part.module.imports[kind as usize].iter().zip(&part.imports[kind as usize])
            {
                arguments.entry(import.module).or_default().insert(import.name, (kind, *item));
            }
        }
        let mut given = Vec::new();
        for (name, items) in arguments {
            let mut exports = Vec::new();
            for (item_name, (kind, item)) in items {
                exports.push((item_name, export_kind(kind), self.place(kind, item)?));
            }
            let mut section = InstanceSection::new();
            section.export_items(exports);
            self.out.section(&section);
            given.push((name, ModuleArg::Instance(self.instances)));
            self.instances += 1;
        }
        let mut section = InstanceSection::new();
        section.instantiate(*self.modules.get(&module).ok_or_else(dangling)?, given);
        self.out.section(&section);
        self.late_instances.insert(module, self.instances);
        self.instances += 1;
        Ok(())
    }

    fn aliases(&mut self, section: wasmparser::ComponentAliasSectionReader<'a>) -> Result<(), NotFusable> {
        let mut kept = ComponentAliasSection::new();
        for alias in section {
            match alias? {
                ComponentAlias::CoreInstanceExport { kind, .. } => {
                    self.functions_seen += u32::from(kind == ExternalKind::Func);
                }
                ComponentAlias::InstanceExport { kind, instance_index, name } => {
                    let kind = component_kind(kind);
                    kept.alias(Alias::InstanceExport { instance: instance_index, kind, name });
                }
                ComponentAlias::Outer { kind, count, index } => {
                    let kind = match kind {
                        wasmparser::ComponentOuterAliasKind::CoreModule => {
                            ComponentOuterAliasKind::CoreModule
                        }
                        wasmparser::ComponentOuterAliasKind::CoreType => ComponentOuterAliasKind::CoreType,
                        wasmparser::ComponentOuterAliasKind::Type => ComponentOuterAliasKind::Type,
                        wasmparser::ComponentOuterAliasKind::Component => ComponentOuterAliasKind::Component,
                    };
                    kept.alias(Alias::Outer { kind, count, index });
                }
            }
        }
        if !kept.is_empty() {
            self.out.section(&kept);
        }
        Ok(())
    }

    fn canonical(&mut self, function: CanonicalFunction) -> Result<(), NotFusable> {
        let mut section = CanonicalFunctionSection::new();
        match &function {
            CanonicalFunction::Lift { core_func_index, type_index, options } => {
                let function = self.old(Kind::Function, *core_func_index)?;
                section.lift(function, *type_index, self.options(options)?);
            }
            CanonicalFunction::Lower { func_index, options } => {
                section.lower(*func_index, self.options(options)?);
            }
            CanonicalFunction::ResourceNew { resource } => {
                section.resource_new(*resource);
            }
            CanonicalFunction::ResourceDrop { resource } => {
                section.resource_drop(*resource);
            }
            CanonicalFunction::ResourceRep { resource } => {
                section.resource_rep(*resource);
            }
            _ => return Err(dangling()),
        }
        self.out.section(&section);
        if !matches!(function, CanonicalFunction::Lift { .. }) {
            let item = self.component.item(Kind::Function, self.functions_seen)?;
            self.functions_seen += 1;
            let index = self.next(Kind::Function);
            self.placed.insert((Kind::Function, item), index);
        }
        Ok(())
    }

    fn options(
        &mut self,
        options: &[wasmparser::CanonicalOption],
    ) -> Result<Vec<CanonicalOption>, NotFusable> {
        let mut renumbered = Vec::new();
        for option in options {
            renumbered.push(match *option {
                wasmparser::CanonicalOption::UTF8 => CanonicalOption::UTF8,
                wasmparser::CanonicalOption::UTF16 => CanonicalOption::UTF16,
                wasmparser::CanonicalOption::CompactUTF16 => CanonicalOption::CompactUTF16,
                wasmparser::CanonicalOption::Memory(index) => {
                    CanonicalOption::Memory(self.old(Kind::Memory, index)?)
                }
                wasmparser::CanonicalOption::Realloc(index) => {
                    CanonicalOption::Realloc(self.old(Kind::Function, index)?)
                }
                wasmparser::CanonicalOption::PostReturn(index) => {
                    CanonicalOption::PostReturn(self.old(Kind::Function, index)?)
                }
                _ => return Err(dangling()),
            });
        }
        Ok(renumbered)
    }

    /// The new index of what an index of the original stands for.
    fn old(&mut self, kind: Kind, index: u32) -> Result<u32, NotFusable> {
        self.place(kind, self.component.item(kind, index)?)
    }

    /// The new index of an item, which is made available if it is not yet.
    fn place(&mut self, kind: Kind, item: Item<'a>) -> Result<u32, NotFusable> {
        if let Some(index) = self.placed.get(&(kind, item)) {
            return Ok(*index);
        }
        let (instance, name) = match item {
            Item::Canonical { index, .. } => return Err(NotFusable::DefinedLate { kind, index }),
            Item::Late { module, name } => (*self.late_instances.get(&module).ok_or_else(dangling)?, name),
            Item::Defined { .. } => {
                let instance = self.merged_instance()?;
                let index = end(self.plan, kind, self.plan.index(kind, item)?);
                if let Some((outside, _)) = self.plan.outside.get(index as usize)
                    && kind == Kind::Function
                {
                    return self.place(kind, *outside);
                }
                (instance, self.merged.exports.get(&(kind, index)).ok_or_else(dangling)?.as_str())
            }
        };
        let mut section = ComponentAliasSection::new();
        section.alias(Alias::CoreInstanceExport { instance, kind: export_kind(kind), name });
        self.out.section(&section);
        let index = self.next(kind);
        self.placed.insert((kind, item), index);
        Ok(index)
    }

    /// The merged module's instance, which is made if it is not there yet.
    fn merged_instance(&mut self) -> Result<u32, NotFusable> {
        if let Some(instance) = self.merged_instance {
            return Ok(instance);
        }
        let merged = self.merged;
        let mut imports = Vec::new();
        for (item, name) in &merged.imports {
            imports.push((name.as_str(), ExportKind::Func, self.place(Kind::Function, *item)?));
        }
        let has_imports = !imports.is_empty();
        let mut section = InstanceSection::new();
        if has_imports {
            section.export_items(imports);
        }
        let argument = has_imports.then_some((OUTSIDE, ModuleArg::Instance(self.instances)));
        section.instantiate(0, argument);
        self.out.section(&section);
        let instance = self.instances + u32::from(has_imports);
        self.instances = instance + 1;
        self.merged_instance = Some(instance);
        Ok(instance)
    }

    fn next(&mut self, kind: Kind) -> u32 {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        *count - 1
    }
}

fn export_kind(kind: Kind) -> ExportKind {
    match kind {
        Kind::Function => ExportKind::Func,
        Kind::Table => ExportKind::Table,
        Kind::Memory => ExportKind::Memory,
        Kind::Global => ExportKind::Global,
    }
}

fn component_kind(kind: ComponentExternalKind) -> ComponentExportKind {
    match kind {
        ComponentExternalKind::Module => ComponentExportKind::Module,
        ComponentExternalKind::Func => ComponentExportKind::Func,
        ComponentExternalKind::Value => ComponentExportKind::Value,
        ComponentExternalKind::Type => ComponentExportKind::Type,
        ComponentExternalKind::Instance => ComponentExportKind::Instance,
        ComponentExternalKind::Component => ComponentExportKind::Component,
    }
}
