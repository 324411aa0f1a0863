//! What of a plan is in use: which functions only hand on to another, which can be called
//! at all, which globals ever change.

use super::code::Jump;
use super::constant::Value;
use super::module::Kind;
use super::plan::{Plan, Target, count};
use super::refusal::{NotFusable, dangling};

/// What a table holds, by place.
type Image = Vec<Option<u32>>;

impl Plan<'_, '_> {
    /// Finds functions that only hand on to what stands in a table that nothing changes.
    pub(super) fn follow_jumps(&mut self) -> Result<(), NotFusable> {
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
    fn table_images(&self) -> Result<Vec<Option<Image>>, NotFusable> {
        let mut images: Vec<Option<Image>> =
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
    pub(super) fn reach(&mut self) -> Result<(), NotFusable> {
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

    pub(super) fn find_changes(&mut self) -> Result<(), NotFusable> {
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
