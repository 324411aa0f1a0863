//! The component around the core modules: which module is instantiated with what, and
//! everything about it that must not change.

use std::collections::HashMap;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, Instance as CoreInstance, Parser, Payload,
};

use super::module::{Kind, Module};
use super::refusal::{NotFusable, dangling};

/// Where a core item comes from, once every alias, import and re-export is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Item<'a> {
    /// A canonical built-in or lowered function.
    Canonical {
        /// In the component's space of core functions.
        index: u32,
        /// It works on a module's memory, so that it comes after that module.
        late: bool,
    },
    /// A module that can be merged defines it.
    Defined {
        /// The module.
        module: usize,
        /// In the module's own space of its kind.
        index: u32,
    },
    /// A late module exports it.
    Late {
        /// The module.
        module: usize,
        /// The export's name.
        name: &'a str,
    },
}

impl Item<'_> {
    fn is_late(&self) -> bool {
        matches!(self, Item::Canonical { late: true, .. } | Item::Late { .. })
    }
}

/// A module and how it is instantiated.
pub(super) struct Part<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) module: Module<'a>,
    /// It imports what exists only after other modules: it is not merged.
    pub(super) late: bool,
    /// What its imports are, by [`Kind`].
    pub(super) imports: [Vec<Item<'a>>; Kind::COUNT],
    instantiated: bool,
}

enum Instance<'a> {
    Module(usize),
    Items(HashMap<&'a str, (Kind, Item<'a>)>),
}

/// A component whose core modules are known.
#[derive(Default)]
pub(super) struct Component<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// The modules in the order in which they are instantiated.
    pub(super) order: Vec<usize>,
    instances: Vec<Instance<'a>>,
    /// The index spaces of core items, by [`Kind`].
    items: [Vec<Item<'a>>; Kind::COUNT],
    /// Core items that the component itself uses, by its canonical functions.
    pub(super) used: Vec<(Kind, Item<'a>)>,
}

impl<'a> Component<'a> {
    /// Takes a valid component apart. Refuses what must not be touched: everything that
    /// names core items elsewhere, or that may run code at instantiation.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, NotFusable> {
        let mut component = Component::default();
        // What encloses the current section; `true` is a module.
        let mut nesting: Vec<bool> = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            match &payload {
                Payload::ModuleSection { unchecked_range, .. } => {
                    if !nesting.is_empty() {
                        return Err(NESTED);
                    }
                    component.module(bytes.get(unchecked_range.clone()).ok_or_else(dangling)?)?;
                    nesting.push(true);
                }
                Payload::ComponentSection { .. } => nesting.push(false),
                Payload::End(_) => {
                    nesting.pop();
                }
                _ => match nesting.last() {
                    None => component.section(payload)?,
                    Some(false) => nested(payload)?,
                    Some(true) => {}
                },
            }
        }
        match component.parts.iter().position(|part| !part.instantiated) {
            Some(module) => Err(NotFusable::NeverInstantiated { module }),
            None => Ok(component),
        }
    }

    /// What stands at an index of the component's core index spaces.
    pub(super) fn item(&self, kind: Kind, index: u32) -> Result<Item<'a>, NotFusable> {
        self.items[kind as usize].get(index as usize).copied().ok_or_else(dangling)
    }

    fn module(&mut self, bytes: &'a [u8]) -> Result<(), NotFusable> {
        self.parts.push(Part {
            bytes,
            module: Module::parse(bytes)?,
            late: false,
            imports: Default::default(),
            instantiated: false,
        });
        Ok(())
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), NotFusable> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instance(instance?)?;
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.canonical(&function?)?;
                }
            }
            Payload::CoreTypeSection(_) => return Err(NotFusable::Unsupported { what: "core types" }),
            other => unchanged(other)?,
        }
        Ok(())
    }

    fn instance(&mut self, instance: CoreInstance<'a>) -> Result<(), NotFusable> {
        let made = match instance {
            CoreInstance::FromExports(exports) => {
                let mut items = HashMap::new();
                for export in exports.iter() {
                    let kind = Kind::of(export.kind)?;
                    items.insert(export.name, (kind, self.item(kind, export.index)?));
                }
                Instance::Items(items)
            }
            CoreInstance::Instantiate { module_index, args } => {
                let index = module_index as usize;
                let arguments = args.iter().map(|argument| (argument.name, argument.index)).collect();
                self.instantiate(index, &arguments)?;
                Instance::Module(index)
            }
        };
        self.instances.push(made);
        Ok(())
    }

    fn instantiate(&mut self, index: usize, arguments: &HashMap<&str, u32>) -> Result<(), NotFusable> {
        let part = self.parts.get(index).ok_or_else(dangling)?;
        if part.instantiated {
            return Err(NotFusable::InstantiatedAgain { module: index });
        }
        let mut imports: [Vec<Item<'a>>; Kind::COUNT] = Default::default();
        for (kind, into) in KINDS.into_iter().zip(&mut imports) {
            for import in &part.module.imports[kind as usize] {
                let instance = *arguments.get(import.module).ok_or_else(dangling)?;
                into.push(self.exported(kind, instance, import.name)?);
            }
        }
        let late = imports.iter().flatten().any(Item::is_late);
        let part = &mut self.parts[index];
        (part.imports, part.late, part.instantiated) = (imports, late, true);
        self.order.push(index);
        Ok(())
    }

    fn exported(&self, kind: Kind, instance: u32, name: &'a str) -> Result<Item<'a>, NotFusable> {
        let (found, item) = match self.instances.get(instance as usize).ok_or_else(dangling)? {
            Instance::Items(items) => *items.get(name).ok_or_else(dangling)?,
            Instance::Module(module) => {
                let part = &self.parts[*module];
                let (kind, index) = *part.module.exports.get(name).ok_or_else(dangling)?;
                let item = match part.imports[kind as usize].get(index as usize) {
                    _ if part.late => Item::Late { module: *module, name },
                    Some(imported) => *imported,
                    None => Item::Defined { module: *module, index },
                };
                (kind, item)
            }
        };
        if found == kind { Ok(item) } else { Err(dangling()) }
    }

    fn alias(&mut self, alias: ComponentAlias<'a>) -> Result<(), NotFusable> {
        match alias {
            ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                let kind = Kind::of(kind)?;
                let item = self.exported(kind, instance_index, name)?;
                self.items[kind as usize].push(item);
                Ok(())
            }
            other => plain_alias(&other),
        }
    }

    fn canonical(&mut self, function: &CanonicalFunction) -> Result<(), NotFusable> {
        let mut late = false;
        for (kind, index) in core_items(function)? {
            let item = self.item(kind, index)?;
            self.used.push((kind, item));
            late = true;
        }
        if !matches!(function, CanonicalFunction::Lift { .. }) {
            let functions = &mut self.items[Kind::Function as usize];
            let index = u32::try_from(functions.len()).map_err(|_| dangling())?;
            functions.push(Item::Canonical { index, late });
        }
        Ok(())
    }
}

const KINDS: [Kind; Kind::COUNT] = [Kind::Function, Kind::Table, Kind::Memory, Kind::Global];

const NESTED: NotFusable = NotFusable::Unsupported { what: "a nested component with code of its own" };

/// The core items that a canonical function uses.
pub(super) fn core_items(function: &CanonicalFunction) -> Result<Vec<(Kind, u32)>, NotFusable> {
    let mut items = Vec::new();
    let options = match function {
        CanonicalFunction::Lift { core_func_index, options, .. } => {
            items.push((Kind::Function, *core_func_index));
            &options[..]
        }
        CanonicalFunction::Lower { options, .. } => &options[..],
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => &[],
        _ => return Err(NotFusable::Unsupported { what: "asynchronous or threading built-ins" }),
    };
    for option in options {
        match *option {
            CanonicalOption::Memory(index) => items.push((Kind::Memory, index)),
            CanonicalOption::Realloc(index) | CanonicalOption::PostReturn(index) => {
                items.push((Kind::Function, index));
            }
            CanonicalOption::UTF8 | CanonicalOption::UTF16 | CanonicalOption::CompactUTF16 => {}
            CanonicalOption::Async
            | CanonicalOption::Callback(_)
            | CanonicalOption::CoreType(_)
            | CanonicalOption::Gc => {
                return Err(NotFusable::Unsupported { what: "asynchronous or garbage-collected functions" });
            }
        }
    }
    Ok(items)
}

/// An alias that names no core item is copied as it is.
fn plain_alias(alias: &ComponentAlias<'_>) -> Result<(), NotFusable> {
    match alias {
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. }
        | ComponentAlias::Outer {
            kind: ComponentOuterAliasKind::CoreModule | ComponentOuterAliasKind::CoreType,
            ..
        } => Err(MODULES),
        _ => Ok(()),
    }
}

const MODULES: NotFusable = NotFusable::Unsupported { what: "core modules that come from or go elsewhere" };

/// A section that is copied as it is: it must not name a core item, nor run code.
fn unchanged(payload: Payload<'_>) -> Result<(), NotFusable> {
    match payload {
        Payload::ComponentImportSection(section) => {
            for import in section {
                if matches!(import?.ty, ComponentTypeRef::Module(_)) {
                    return Err(MODULES);
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section {
                if export?.kind == ComponentExternalKind::Module {
                    return Err(MODULES);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section {
                let has_module = match instance? {
                    ComponentInstance::Instantiate { args, .. } => {
                        args.iter().any(|argument| argument.kind == ComponentExternalKind::Module)
                    }
                    ComponentInstance::FromExports(exports) => {
                        exports.iter().any(|export| export.kind == ComponentExternalKind::Module)
                    }
                };
                if has_module {
                    return Err(MODULES);
                }
            }
        }
        Payload::ComponentTypeSection(section) => {
            for ty in section {
                if matches!(ty?, ComponentType::Resource { dtor: Some(_), .. }) {
                    return Err(NotFusable::Unsupported { what: "a resource with a destructor" });
                }
            }
        }
        Payload::Version { .. } | Payload::CustomSection(_) => {}
        Payload::ComponentStartSection { .. } => {
            return Err(NotFusable::Unsupported { what: "a component start function" });
        }
        _ => return Err(NotFusable::Unsupported { what: "a section of an unknown kind" }),
    }
    Ok(())
}

/// A section of a nested component, which is copied as it is: nothing in it may define,
/// take or run core code.
fn nested(payload: Payload<'_>) -> Result<(), NotFusable> {
    match payload {
        Payload::InstanceSection(_) | Payload::CoreTypeSection(_) | Payload::ComponentCanonicalSection(_) => {
            Err(NESTED)
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section {
                match alias? {
                    ComponentAlias::CoreInstanceExport { .. } => return Err(NESTED),
                    other => plain_alias(&other)?,
                }
            }
            Ok(())
        }
        other => unchanged(other),
    }
}
