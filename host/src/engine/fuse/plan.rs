//! What the merged module consists of: one index space for each kind, in which every
//! merged module's own indices are found again.
//!
//! *Merged indices* count everything that the modules define, in the order in which they
//! are instantiated, functions after what comes from outside. Which functions are
//! reachable, which of them only hand on to another, and which globals never change is
//! decided here; `assemble` leaves out what is not needed.

use std::collections::HashMap;

use wasmparser::{ElementItems, ElementKind, FuncType};

use super::code::{Jump, Uses, uses};
use super::component::{Component, Item, Part};
use super::constant::{Value, evaluate};
use super::module::Kind;
use super::refusal::{NOT_CONSTANT, NotFusable, dangling};

/// Elements of a table that are followed; more than the engine lets a table have.
const TABLE_ELEMENTS_MAX: u64 = 1 << 20;

/// One merged module's own indices, as merged indices.
pub(super) struct Spaces {
    pub(super) types: Vec<u32>,
    pub(super) functions: Vec<u32>,
    pub(super) tables: Vec<u32>,
    pub(super) globals: Vec<u32>,
}

/// A function of the merged module that a module defines.
pub(super) struct Function {
    pub(super) part: usize,
    /// Among the functions that its module defines.
    pub(super) body: usize,
    pub(super) ty: u32,
    pub(super) uses: Uses,
}

/// A global of the merged module.
pub(super) struct Global {
    pub(super) ty: wasmparser::GlobalType,
    pub(super) value: Value,
    /// Reachable code sets it, or a late module may.
    pub(super) changes: bool,
}

/// Where an element segment goes.
pub(super) enum Target {
    Active { table: u32, offset: u32 },
    Passive,
    Declared,
}

/// An element segment with merged indices.
pub(super) struct Segment {
    pub(super) target: Target,
    /// Functions, or nulls.
    pub(super) items: Vec<Value>,
}

/// What is merged, and how.
pub(super) struct Plan<'c, 'a> {
    pub(super) component: &'c Component<'a>,
    /// The modules that are merged, in the order in which they are instantiated.
    pub(super) merged: Vec<usize>,
    /// By module; empty for those that are not merged.
    pub(super) spaces: Vec<Option<Spaces>>,
    pub(super) types: Vec<FuncType>,
    /// What is imported from outside, with its type.
    pub(super) outside: Vec<(Item<'a>, u32)>,
    pub(super) functions: Vec<Function>,
    /// By merged index: what a call of it calls in the end.
    pub(super) leads_to: Vec<u32>,
    /// By merged index: whether anything can call it.
    pub(super) reachable: Vec<bool>,
    pub(super) tables: Vec<wasmparser::TableType>,
    pub(super) globals: Vec<Global>,
    pub(super) segments: Vec<Segment>,
    /// What the rest of the component takes from the merged module.
    pub(super) needed: Vec<(Kind, Item<'a>)>,
}

impl<'c, 'a> Plan<'c, 'a> {
    /// Decides how to merge what can be merged.
    pub(super) fn new(component: &'c Component<'a>) -> Result<Self, NotFusable> {
        let merged: Vec<usize> =
            component.order.iter().copied().filter(|part| !component.parts[*part].late).collect();
        if merged.len() < 2 {
            return Err(NotFusable::FewModules);
        }
        let mut plan = Plan {
            component,
            spaces: component.parts.iter().map(|_| None).collect(),
            types: Vec::new(),
            outside: Vec::new(),
            functions: Vec::new(),
            leads_to: Vec::new(),
            reachable: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            segments: Vec::new(),
            needed: Vec::new(),
            merged,
        };
        plan.check_modules()?;
        plan.number()?;
        plan.segments()?;
        plan.check_order()?;
        plan.needed();
        plan.follow_jumps()?;
        plan.reach()?;
        plan.find_changes()?;
        Ok(plan)
    }

    /// The modules that are merged, in the order in which they are instantiated.
    pub(super) fn merged_parts(&self) -> impl Iterator<Item = &'c Part<'a>> {
        self.merged.iter().map(|index| &self.component.parts[*index])
    }

    fn part(&self, index: usize) -> &'c Part<'a> {
        &self.component.parts[index]
    }

    fn check_modules(&self) -> Result<(), NotFusable> {
        let mut memories = 0;
        for (module, part) in self.component.parts.iter().enumerate() {
            if !part.module.starts_idle()? {
                return Err(NotFusable::StartFunction { module });
            }
            let memories_here = part.module.defined(Kind::Memory);
            memories += memories_here;
            if !part.late {
                continue;
            }
            if memories_here > 0 {
                return Err(NotFusable::LateModule { module, what: "a memory of its own" });
            }
            if !part.module.data.is_empty() {
                return Err(NotFusable::LateModule { module, what: "data segments" });
            }
            if part.module.start.is_some() {
                return Err(NotFusable::LateModule { module, what: "a start function" });
            }
        }
        if memories == 1 { Ok(()) } else { Err(NotFusable::Memories { found: memories }) }
    }

    /// Gives everything its merged index.
    fn number(&mut self) -> Result<(), NotFusable> {
        let mut types: HashMap<FuncType, u32> = HashMap::new();
        let mut numbers: HashMap<(Kind, Item<'a>), u32> = HashMap::new();
        let mut module_types: Vec<Vec<u32>> = Vec::new();
        for &index in &self.merged {
            let part = self.part(index);
            let mut of_module = Vec::new();
            for ty in &part.module.types {
                let number = match types.get(ty) {
                    Some(number) => *number,
                    None => {
                        let number = count(self.types.len())?;
                        types.insert(ty.clone(), number);
                        self.types.push(ty.clone());
                        number
                    }
                };
                of_module.push(number);
            }
            for (import, item) in part.imports[Kind::Function as usize].iter().enumerate() {
                if matches!(item, Item::Canonical { .. }) && !numbers.contains_key(&(Kind::Function, *item)) {
                    numbers.insert((Kind::Function, *item), count(self.outside.len())?);
                    let ty = *part.module.functions.get(import).ok_or_else(dangling)?;
                    self.outside.push((*item, *of_module.get(ty as usize).ok_or_else(dangling)?));
                }
            }
            module_types.push(of_module);
        }
        let mut memory_seen = 0;
        for (position, index) in self.merged.clone().into_iter().enumerate() {
            let part = self.part(index);
            let types = std::mem::take(&mut module_types[position]);
            let mut spaces: [Vec<u32>; Kind::COUNT] = Default::default();
            for kind in [Kind::Function, Kind::Table, Kind::Memory, Kind::Global] {
                let first = match kind {
                    Kind::Function => self.outside.len() + self.functions.len(),
                    Kind::Table => self.tables.len(),
                    Kind::Memory => memory_seen,
                    Kind::Global => self.globals.len(),
                };
                let space = &mut spaces[kind as usize];
                for item in &part.imports[kind as usize] {
                    // A kind of import that only late modules could define is no item of ours.
                    space.push(*numbers.get(&(kind, *item)).ok_or_else(dangling)?);
                }
                for defined in 0..part.module.defined(kind) {
                    let number = count(first + defined)?;
                    let own = count(part.module.imported(kind) + defined)?;
                    numbers.insert((kind, Item::Defined { module: index, index: own }), number);
                    space.push(number);
                }
            }
            memory_seen += part.module.defined(Kind::Memory);
            let [functions, tables, _, globals] = spaces;
            self.define(index, Spaces { types, functions, tables, globals })?;
        }
        Ok(())
    }

    fn define(&mut self, index: usize, spaces: Spaces) -> Result<(), NotFusable> {
        let part = self.part(index);
        let module = &part.module;
        for (body, code) in module.bodies.iter().enumerate() {
            let own = module.imported(Kind::Function) + body;
            let ty = *module.functions.get(own).ok_or_else(dangling)?;
            let uses = uses(code, module.function_type(own)?.params().len())?;
            let ty = *spaces.types.get(ty as usize).ok_or_else(dangling)?;
            self.functions.push(Function { part: index, body, ty, uses });
        }
        for table in module.tables.iter().skip(module.imported(Kind::Table)) {
            if table.initial > TABLE_ELEMENTS_MAX {
                return Err(NotFusable::Unsupported { what: "a very large table" });
            }
            self.tables.push(*table);
        }
        for (defined, init) in module.global_inits.iter().enumerate() {
            let ty = *module.globals.get(module.imported(Kind::Global) + defined).ok_or_else(dangling)?;
            let value = self.constant(&spaces, init).ok_or(NOT_CONSTANT)?;
            self.globals.push(Global { ty, value, changes: false });
        }
        self.spaces[index] = Some(spaces);
        Ok(())
    }

    /// Works out a constant expression of a merged module.
    pub(super) fn constant(&self, spaces: &Spaces, init: &wasmparser::ConstExpr<'_>) -> Option<Value> {
        evaluate(
            init,
            |own| {
                let global = self.globals.get(*spaces.globals.get(own as usize)? as usize)?;
                (!global.ty.mutable).then_some(global.value)
            },
            |own| spaces.functions.get(own as usize).copied(),
        )
    }

    fn segments(&mut self) -> Result<(), NotFusable> {
        for &index in &self.merged {
            let spaces = self.spaces[index].as_ref().ok_or_else(dangling)?;
            for (segment, element) in self.part(index).module.elements.iter().enumerate() {
                let what = "element segment";
                let items: Option<Vec<Value>> = match &element.items {
                    ElementItems::Functions(functions) => {
                        let values = functions.clone().into_iter().map(|function| {
                            let own = function.ok()?;
                            spaces.functions.get(own as usize).copied().map(Value::Function)
                        });
                        values.collect()
                    }
                    ElementItems::Expressions(_, expressions) => {
                        let values = expressions.clone().into_iter();
                        values.map(|init| self.constant(spaces, &init.ok()?)).collect()
                    }
                };
                let items = items.ok_or(NOT_CONSTANT)?;
                let target = match &element.kind {
                    ElementKind::Passive => Target::Passive,
                    ElementKind::Declared => Target::Declared,
                    ElementKind::Active { table_index, offset_expr } => {
                        let table =
                            *spaces.tables.get(table_index.unwrap_or(0) as usize).ok_or_else(dangling)?;
                        let Some(Value::I32(offset)) = self.constant(spaces, offset_expr) else {
                            return Err(NOT_CONSTANT);
                        };
                        let offset = offset.cast_unsigned();
                        let end = u64::from(offset) + items.len() as u64;
                        if end > self.tables[table as usize].initial {
                            return Err(NotFusable::OutOfBounds { module: index, what, index: segment });
                        }
                        Target::Active { table, offset }
                    }
                };
                self.segments.push(Segment { target, items });
            }
        }
        Ok(())
    }

    /// Merging moves a module before the late ones that are instantiated earlier. Without
    /// start functions that shows only where both write the same table.
    fn check_order(&self) -> Result<(), NotFusable> {
        let mut written: HashMap<Item<'a>, usize> = HashMap::new();
        for &index in &self.component.order {
            let part = self.part(index);
            for element in &part.module.elements {
                let ElementKind::Active { table_index, .. } = element.kind else { continue };
                let own = table_index.unwrap_or(0);
                let table = match part.imports[Kind::Table as usize].get(own as usize) {
                    Some(table) => *table,
                    None => Item::Defined { module: index, index: own },
                };
                if part.late {
                    written.entry(table).or_insert(index);
                } else if let Some(&first) = written.get(&table) {
                    return Err(NotFusable::TableOrder { first, second: index });
                }
            }
        }
        Ok(())
    }

    fn needed(&mut self) {
        let by_late = self.component.parts.iter().filter(|part| part.late).flat_map(|part| {
            let by_kind = |kind: Kind| part.imports[kind as usize].iter().map(move |item| (kind, *item));
            [Kind::Function, Kind::Table, Kind::Memory, Kind::Global].into_iter().flat_map(by_kind)
        });
        let all = self.component.used.iter().copied().chain(by_late);
        self.needed = all.filter(|(_, item)| matches!(item, Item::Defined { .. })).collect();
    }

    /// The merged index of something that a merged module defines.
    pub(super) fn index(&self, kind: Kind, item: Item<'a>) -> Result<u32, NotFusable> {
        let Item::Defined { module, index } = item else { return Err(dangling()) };
        let spaces = self.spaces.get(module).and_then(Option::as_ref).ok_or_else(dangling)?;
        let space = match kind {
            Kind::Function => &spaces.functions,
            Kind::Table => &spaces.tables,
            Kind::Global => &spaces.globals,
            // There is one only.
            Kind::Memory => return Ok(0),
        };
        space.get(index as usize).copied().ok_or_else(dangling)
    }

    /// The function with a merged index; `None` for one from outside.
    pub(super) fn function(&self, index: u32) -> Option<&Function> {
        self.functions.get((index as usize).checked_sub(self.outside.len())?)
    }

    fn type_of(&self, index: u32) -> Option<u32> {
        match self.outside.get(index as usize) {
            Some((_, ty)) => Some(*ty),
            None => self.function(index).map(|function| function.ty),
        }
    }

    /// Finds functions that only hand on to what stands in a table that nothing changes.
    fn follow_jumps(&mut self) -> Result<(), NotFusable> {
        let images = self.table_images()?;
        let total = self.outside.len() + self.functions.len();
        let mut next: Vec<Option<u32>> = vec![None; total];
        for (defined, function) in self.functions.iter().enumerate() {
            let Some(Jump { ty, table, slot }) = function.uses.jump else { continue };
            let spaces = self.spaces[function.part].as_ref().ok_or_else(dangling)?;
            let ty = *spaces.types.get(ty as usize).ok_or_else(dangling)?;
            let table = *spaces.tables.get(table as usize).ok_or_else(dangling)?;
            let Some(image) = &images[table as usize] else { continue };
            let target = image.get(slot as usize).copied().flatten();
            next[self.outside.len() + defined] =
                target.filter(|target| ty == function.ty && self.type_of(*target) == Some(ty));
        }
        self.leads_to = ends(&next)?;
        Ok(())
    }

    /// What tables hold for ever; `None` for a table that may change.
    fn table_images(&self) -> Result<Vec<Option<Vec<Option<u32>>>>, NotFusable> {
        let mut images: Vec<Option<Vec<Option<u32>>>> =
            self.tables.iter().map(|table| Some(vec![None; table.initial as usize])).collect();
        for (kind, item) in &self.needed {
            if *kind == Kind::Table {
                images[self.index(Kind::Table, *item)? as usize] = None;
            }
        }
        for function in &self.functions {
            let spaces = self.spaces[function.part].as_ref().ok_or_else(dangling)?;
            for table in &function.uses.tables_written {
                let table = *spaces.tables.get(*table as usize).ok_or_else(dangling)?;
                images[table as usize] = None;
            }
        }
        for segment in &self.segments {
            let Target::Active { table, offset } = segment.target else { continue };
            let Some(image) = &mut images[table as usize] else { continue };
            for (slot, item) in image.iter_mut().skip(offset as usize).zip(&segment.items) {
                *slot = match item {
                    Value::Function(function) => Some(*function),
                    _ => None,
                };
            }
        }
        Ok(images)
    }

    /// Finds what can be called: from the component, through a table, or from there on.
    fn reach(&mut self) -> Result<(), NotFusable> {
        let mut waiting = Vec::new();
        for (kind, item) in &self.needed {
            if *kind == Kind::Function {
                waiting.push(self.index(Kind::Function, *item)?);
            }
        }
        waiting.extend(self.references());
        let mut reachable = vec![false; self.leads_to.len()];
        while let Some(index) = waiting.pop() {
            let index = *self.leads_to.get(index as usize).ok_or_else(dangling)?;
            if std::mem::replace(&mut reachable[index as usize], true) {
                continue;
            }
            let Some(function) = self.function(index) else { continue };
            let spaces = self.spaces[function.part].as_ref().ok_or_else(dangling)?;
            for own in function.uses.calls.iter().chain(&function.uses.references) {
                waiting.push(*spaces.functions.get(*own as usize).ok_or_else(dangling)?);
            }
        }
        self.reachable = reachable;
        Ok(())
    }

    /// The functions that tables, segments and globals refer to.
    pub(super) fn references(&self) -> impl Iterator<Item = u32> {
        let values = self.segments.iter().flat_map(|segment| &segment.items);
        values.chain(self.globals.iter().map(|global| &global.value)).filter_map(|value| match value {
            Value::Function(function) => Some(*function),
            _ => None,
        })
    }

    fn find_changes(&mut self) -> Result<(), NotFusable> {
        let mut changed = Vec::new();
        for (defined, function) in self.functions.iter().enumerate() {
            if !self.reachable[self.outside.len() + defined] {
                continue;
            }
            let spaces = self.spaces[function.part].as_ref().ok_or_else(dangling)?;
            for own in &function.uses.globals_set {
                changed.push(*spaces.globals.get(*own as usize).ok_or_else(dangling)?);
            }
        }
        for (kind, item) in &self.needed {
            if *kind == Kind::Global {
                changed.push(self.index(Kind::Global, *item)?);
            }
        }
        for index in changed {
            let global = self.globals.get_mut(index as usize).ok_or_else(dangling)?;
            // A late module that imports it can set it only if it is mutable.
            global.changes = global.ty.mutable;
        }
        Ok(())
    }
}

fn count(length: usize) -> Result<u32, NotFusable> {
    u32::try_from(length).map_err(|_| NotFusable::Unsupported { what: "too many items" })
}

/// Follows each index to where its chain ends. What goes round in circles stays itself.
fn ends(next: &[Option<u32>]) -> Result<Vec<u32>, NotFusable> {
    const UNKNOWN: u32 = u32::MAX;
    let mut ends = vec![UNKNOWN; next.len()];
    let mut on_path = vec![false; next.len()];
    for start in 0..next.len() {
        let mut path = Vec::new();
        let mut at = start;
        let end = loop {
            if ends[at] != UNKNOWN {
                break Some(ends[at]);
            }
            if on_path[at] {
                break None;
            }
            on_path[at] = true;
            path.push(at);
            match next[at] {
                Some(further) => at = further as usize,
                None => break Some(count(at)?),
            }
        };
        for passed in path {
            on_path[passed] = false;
            ends[passed] = match end {
                Some(end) => end,
                None => count(passed)?,
            };
        }
    }
    Ok(ends)
}
