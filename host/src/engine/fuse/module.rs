//! One core module, taken apart.

use std::collections::HashMap;
use std::fmt;

use wasmparser::{
    ConstExpr, Data, Element, ExternalKind, FuncType, FunctionBody, GlobalType, KnownCustom, MemoryType,
    Name, Parser, Payload, TableInit, TableType, TypeRef,
};

use super::refusal::{NotFusable, dangling};

/// What modules import and export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A function.
    Function,
    /// A table.
    Table,
    /// A linear memory.
    Memory,
    /// A global.
    Global,
}

impl Kind {
    /// How many kinds there are: index spaces are kept in arrays of this length.
    pub(super) const COUNT: usize = 4;

    pub(super) fn of(kind: ExternalKind) -> Result<Self, NotFusable> {
        match kind {
            ExternalKind::Func => Ok(Kind::Function),
            ExternalKind::Table => Ok(Kind::Table),
            ExternalKind::Memory => Ok(Kind::Memory),
            ExternalKind::Global => Ok(Kind::Global),
            ExternalKind::Tag | ExternalKind::FuncExact => {
                Err(NotFusable::Unsupported { what: "exceptions or exact function types" })
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Function => "function",
            Kind::Table => "table",
            Kind::Memory => "memory",
            Kind::Global => "global",
        })
    }
}

/// An import's two names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
}

/// A core module. Each `Vec` of types is an index space: imports first.
#[derive(Default)]
pub(super) struct Module<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) types: Vec<FuncType>,
    /// By [`Kind`].
    pub(super) imports: [Vec<Import<'a>>; Kind::COUNT],
    /// Type indices.
    pub(super) functions: Vec<u32>,
    pub(super) tables: Vec<TableType>,
    pub(super) memories: Vec<MemoryType>,
    pub(super) globals: Vec<GlobalType>,
    /// Of the globals that it defines.
    pub(super) global_inits: Vec<ConstExpr<'a>>,
    pub(super) exports: HashMap<&'a str, (Kind, u32)>,
    pub(super) start: Option<u32>,
    pub(super) elements: Vec<Element<'a>>,
    pub(super) data: Vec<Data<'a>>,
    /// Of the functions that it defines.
    pub(super) bodies: Vec<FunctionBody<'a>>,
    pub(super) function_names: Vec<(u32, &'a str)>,
}

impl<'a> Module<'a> {
    /// Takes a module's bytes apart.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, NotFusable> {
        let mut module = Module::default();
        for payload in Parser::new(0).parse_all(bytes) {
            module.section(payload?)?;
        }
        Ok(module)
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), NotFusable> {
        match payload {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    self.types.push(ty?);
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import?)?;
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let table = table?;
                    let TableInit::RefNull = table.init else {
                        return Err(NotFusable::Unsupported { what: "a table with an initial value" });
                    };
                    self.tables.push(table.ty);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memories.push(memory?);
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global?;
                    self.globals.push(global.ty);
                    self.global_inits.push(global.init_expr);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    self.exports.insert(export.name, (Kind::of(export.kind)?, export.index));
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => {
                for element in section {
                    self.elements.push(element?);
                }
            }
            Payload::DataSection(section) => {
                for data in section {
                    self.data.push(data?);
                }
            }
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            Payload::TagSection(_) => return Err(NotFusable::Unsupported { what: "exceptions" }),
            Payload::CustomSection(custom) => {
                if let KnownCustom::Name(names) = custom.as_known() {
                    self.names(names);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: wasmparser::Import<'a>) -> Result<(), NotFusable> {
        let kind = match import.ty {
            TypeRef::Func(ty) => {
                self.functions.push(ty);
                Kind::Function
            }
            TypeRef::Table(ty) => {
                self.tables.push(ty);
                Kind::Table
            }
            TypeRef::Memory(ty) => {
                self.memories.push(ty);
                Kind::Memory
            }
            TypeRef::Global(ty) => {
                self.globals.push(ty);
                Kind::Global
            }
            TypeRef::Tag(_) | TypeRef::FuncExact(_) => {
                return Err(NotFusable::Unsupported { what: "exceptions or exact function types" });
            }
        };
        self.imports[kind as usize].push(Import { module: import.module, name: import.name });
        Ok(())
    }

    /// Names help people only: what of them is malformed is left out, as wasmtime does.
    fn names(&mut self, names: wasmparser::NameSectionReader<'a>) {
        for name in names {
            match name {
                Ok(Name::Module { name, .. }) => self.name = Some(name),
                Ok(Name::Function(map)) => {
                    let named = map.into_iter().map_while(Result::ok);
                    self.function_names.extend(named.map(|naming| (naming.index, naming.name)));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    /// How many of a kind it imports.
    pub(super) fn imported(&self, kind: Kind) -> usize {
        self.imports[kind as usize].len()
    }

    /// How many of a kind there are, imports included.
    pub(super) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Function => self.functions.len(),
            Kind::Table => self.tables.len(),
            Kind::Memory => self.memories.len(),
            Kind::Global => self.globals.len(),
        }
    }

    /// How many of a kind it defines itself.
    pub(super) fn defined(&self, kind: Kind) -> usize {
        self.count(kind) - self.imported(kind)
    }

    /// The type of a function.
    pub(super) fn function_type(&self, function: usize) -> Result<&FuncType, NotFusable> {
        let ty = *self.functions.get(function).ok_or_else(dangling)?;
        self.types.get(ty as usize).ok_or_else(dangling)
    }

    /// Whether nothing happens when it starts: it has no start function, or an empty one.
    pub(super) fn starts_idle(&self) -> Result<bool, NotFusable> {
        let Some(start) = self.start else { return Ok(true) };
        let Some(defined) = (start as usize).checked_sub(self.imported(Kind::Function)) else {
            return Ok(false);
        };
        let mut operators = self.bodies.get(defined).ok_or_else(dangling)?.get_operators_reader()?;
        Ok(matches!(operators.read()?, wasmparser::Operator::End) && operators.eof())
    }
}
