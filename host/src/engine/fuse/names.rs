//! The merged module's names, for backtraces.

use std::borrow::Cow;
use std::collections::BTreeMap;

use wasm_encoder::{NameMap, NameSection};

use super::assemble::Numbers;
use super::module::Kind;
use super::plan::Plan;

/// Names of functions for backtraces. They say which module a function came from, unless
/// it is the one with the memory, which gives the merged module its name. Mangled names
/// stay alone: with anything before them they would not be made readable.
pub(super) fn names(plan: &Plan<'_, '_>, numbers: &Numbers) -> NameSection {
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
