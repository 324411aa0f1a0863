//! Takes the contents of a program's memory out of its code.
//!
//! A component whose memory is filled by constants alone is compiled without them, and
//! its memory shows an image of them instead ([`super::slots`]). Any other component is
//! left as it is, and runs in the plain pool.

#[cfg(test)]
mod generated;

use std::ops::Range;

use wasmparser::{
    ComponentAlias, ComponentOuterAliasKind, DataKind, Encoding, Instance, Operator, Parser, Payload, TypeRef,
};

use super::tuning::CORE_INSTANCES_MAX;

/// The largest image. A Python runtime's is below 40 MiB.
const IMAGE_BYTES_MAX: usize = 128 << 20;

/// Section ids of the binary formats.
const COMPONENT_CORE_MODULE: u8 = 1;
const MODULE_DATA: u8 = 11;
const MODULE_DATA_COUNT: u8 = 12;

/// Magic number and version.
const HEAD_BYTES: usize = 8;

/// A component and what its memory shows at first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stripped {
    /// The component without its data segments.
    pub(super) component: Vec<u8>,
    /// The memory from address 0 on, up to the last page that is not zero.
    pub(super) image: Vec<u8>,
}

/// Strips a valid component; `None` when it has another form: not exactly one memory,
/// made once, with active data segments at constant places in the module that defines it
/// and nowhere else, and no more core instances than the pool allows.
pub(super) fn strip(component: &[u8]) -> Option<Stripped> {
    let module = home_of_memory(component)?;
    let image = image_of(&component[module.clone()])?;
    let stripped = without_data(&component[module.clone()])?;
    let mut rebuilt = Vec::with_capacity(component.len());
    rebuilt.extend_from_slice(&component[..HEAD_BYTES]);
    for section in sections(component) {
        let section = section?;
        if section.content == module {
            rebuilt.push(COMPONENT_CORE_MODULE);
            push_leb(&mut rebuilt, u32::try_from(stripped.len()).ok()?);
            rebuilt.extend_from_slice(&stripped);
        } else {
            rebuilt.extend_from_slice(&component[section.whole]);
        }
    }
    Some(Stripped { component: rebuilt, image })
}

/// Where the core module is that defines the component's only memory and has all of its
/// data, if it is instantiated exactly once.
fn home_of_memory(component: &[u8]) -> Option<Range<usize>> {
    // The nesting of components and modules; core modules are expected right below the top.
    let mut nesting: Vec<Encoding> = Vec::new();
    let mut modules: Vec<Range<usize>> = Vec::new();
    let mut home: Option<u32> = None;
    let mut with_data: Vec<u32> = Vec::new();
    let (mut core_instances, mut instantiated) = (0u32, Vec::new());
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::Version { encoding, .. } => nesting.push(encoding),
            Payload::End(_) => {
                nesting.pop()?;
            }
            Payload::ModuleSection { unchecked_range, .. } => {
                if nesting.len() != 1 {
                    return None;
                }
                modules.push(unchecked_range);
            }
            Payload::MemorySection(section) => {
                if section.count() > 1 || (section.count() == 1 && home.is_some()) {
                    return None;
                }
                if section.count() == 1 {
                    home = Some(modules.len().checked_sub(1)? as u32);
                }
            }
            Payload::DataSection(section) if section.count() > 0 => {
                with_data.push(modules.len().checked_sub(1)? as u32);
            }
            Payload::InstanceSection(section) => {
                core_instances = core_instances.saturating_add(section.count());
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance.ok()? {
                        // An index counts what this component defines, so only the top's is known.
                        if nesting.len() != 1 {
                            return None;
                        }
                        instantiated.push(module_index);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    // Both would add to the modules that can be instantiated.
                    match alias.ok()? {
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. }
                        | ComponentAlias::InstanceExport {
                            kind: wasmparser::ComponentExternalKind::Module,
                            ..
                        } => return None,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let home = home?;
    let once = instantiated.iter().filter(|one| **one == home).count() == 1;
    let data_is_at_home = with_data.iter().all(|one| *one == home);
    let fits = once && data_is_at_home && core_instances <= CORE_INSTANCES_MAX;
    fits.then(|| modules.into_iter().nth(home as usize))?
}

/// What the module's data segments make of its memory.
fn image_of(module: &[u8]) -> Option<Vec<u8>> {
    let mut minimum_bytes = 0u64;
    let mut image = Vec::new();
    let mut counts_data = false;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if matches!(import.ok()?.ty, TypeRef::Memory(_)) {
                        return None;
                    }
                }
            }
            Payload::MemorySection(section) => {
                minimum_bytes = section.into_iter().next()?.ok()?.initial << 16;
            }
            Payload::DataCountSection { .. } => counts_data = true,
            // Whoever names a segment would find it gone. Without a count nobody can.
            Payload::CodeSectionEntry(body) if counts_data => {
                let mut operators = body.get_operators_reader().ok()?;
                while !operators.eof() {
                    if let Operator::MemoryInit { .. } | Operator::DataDrop { .. } = operators.read().ok()? {
                        return None;
                    }
                }
            }
            Payload::DataSection(section) => {
                for segment in section {
                    let segment = segment.ok()?;
                    let DataKind::Active { memory_index: 0, offset_expr } = segment.kind else { return None };
                    let mut offset = offset_expr.get_operators_reader();
                    let Operator::I32Const { value } = offset.read().ok()? else { return None };
                    let Operator::End = offset.read().ok()? else { return None };
                    let start = value as u32 as usize;
                    let end = start.checked_add(segment.data.len())?;
                    // Instantiation is to fail as it would have.
                    if end as u64 > minimum_bytes || end > IMAGE_BYTES_MAX {
                        return None;
                    }
                    if image.len() < end {
                        image.resize(end, 0);
                    }
                    image[start..end].copy_from_slice(segment.data);
                }
            }
            _ => {}
        }
    }
    let used = image.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    image.resize(used.next_multiple_of(rustix::param::page_size()), 0);
    (image.len() as u64 <= minimum_bytes).then_some(image)
}

/// The module without its data section. Everything before it stays where it is, so that
/// positions in traces do not change.
fn without_data(module: &[u8]) -> Option<Vec<u8>> {
    let mut rebuilt = module[..HEAD_BYTES].to_vec();
    for section in sections(module) {
        let section = section?;
        match section.id {
            MODULE_DATA => {}
            MODULE_DATA_COUNT => {
                // Zero, in as many bytes as the number had.
                let content = section.content.len();
                rebuilt.extend_from_slice(&module[section.whole.start..section.content.start]);
                rebuilt.extend(std::iter::repeat_n(0x80, content.checked_sub(1)?));
                rebuilt.push(0);
            }
            _ => rebuilt.extend_from_slice(&module[section.whole]),
        }
    }
    Some(rebuilt)
}

struct Section {
    id: u8,
    whole: Range<usize>,
    content: Range<usize>,
}

/// The sections of a module or component; `None` where the bytes end too early.
fn sections(bytes: &[u8]) -> impl Iterator<Item = Option<Section>> {
    let mut at = HEAD_BYTES;
    std::iter::from_fn(move || {
        let start = at;
        let id = *bytes.get(start)?;
        let section = leb(bytes, start + 1).and_then(|(length, content)| {
            let end = content.checked_add(length as usize).filter(|end| *end <= bytes.len())?;
            Some(Section { id, whole: start..end, content: content..end })
        });
        // After a broken one there is nothing more.
        at = section.as_ref().map_or(bytes.len(), |section| section.whole.end);
        Some(section)
    })
}

/// An unsigned number of at most 32 bits, and where it ends.
fn leb(bytes: &[u8], mut at: usize) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

fn push_leb(to: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(text: &str) -> Vec<u8> {
        wat::parse_str(text).unwrap()
    }

    /// A component with one core module, made once.
    fn of_module(module: &str) -> Vec<u8> {
        component(&format!("(component (core module $m {module}) (core instance (instantiate $m)))"))
    }

    #[test]
    fn constant_data_becomes_the_image() {
        let stripped = strip(&of_module(
            r#"(memory 2) (data (i32.const 8) "abcd") (data (i32.const 10) "X") (data (i32.const 70000) "z")
               (func (export "f"))"#,
        ))
        .unwrap();
        assert_eq!(stripped.image.len(), 18 * 4096);
        assert_eq!(&stripped.image[6..14], b"\0\0abXd\0\0");
        assert_eq!(stripped.image[70_000], b'z');
        assert_eq!(stripped.image.iter().filter(|byte| **byte != 0).count(), 5);
        // What is left is what it would have been without data, and valid.
        assert_eq!(stripped.component, of_module(r#"(memory 2) (func (export "f"))"#));
        wasmparser::validate(&stripped.component).unwrap();
    }

    #[test]
    fn a_memory_without_data_has_an_empty_image() {
        let original = of_module(r#"(memory 1) (data (i32.const 0) "\00\00")"#);
        assert_eq!(strip(&original).unwrap().image, b"");
        let without = of_module("(memory 1)");
        assert_eq!(strip(&without).unwrap().component, without);
    }

    #[test]
    fn positions_before_the_data_stay() {
        let original = of_module(r#"(memory 1) (func) (data (i32.const 0) "a") (data (i32.const 1) "b")"#);
        // A count by hand, wide as some tools write it, in front of the code (section 10).
        let mut counted =
            wat::parse_str(r#"(module (memory 1) (func) (data (i32.const 0) "a") (data (i32.const 1) "b"))"#)
                .unwrap();
        let code = sections(&counted).flatten().find(|section| section.id == 10).unwrap().whole.start;
        counted.splice(code..code, [MODULE_DATA_COUNT, 3, 0x82, 0x80, 0]);
        wasmparser::validate(&counted).unwrap();
        let stripped = without_data(&counted).unwrap();
        wasmparser::validate(&stripped).unwrap();
        let code_end = code + 5 + 4;
        assert_eq!(stripped[..code], counted[..code]);
        assert_eq!(stripped[code..code + 5], [MODULE_DATA_COUNT, 3, 0x80, 0x80, 0]);
        assert_eq!(stripped[code + 5..], counted[code + 5..code_end + 2]);
        assert!(strip(&original).is_some());
    }

    #[test]
    fn every_other_form_is_left_alone() {
        let module = |text: &str| of_module(text);
        let other = |text: &str| component(&format!("(component {text})"));
        for (why, original) in [
            ("no memory", module("(func)")),
            ("passive data", module(r#"(memory 1) (data "a")"#)),
            ("data behind the end", module(r#"(memory 1) (data (i32.const 65536) "a")"#)),
            ("a negative place", module(r#"(memory 1) (data (i32.const -1) "a")"#)),
            ("a computed place", module(r#"(memory 1) (data (i32.add (i32.const 1) (i32.const 1)) "a")"#)),
            (
                "a segment that is named",
                module(r#"(memory 1) (data (i32.const 0) "a") (func (data.drop 0))"#),
            ),
            (
                "two memories",
                other(
                    "(core module $a (memory 1)) (core instance (instantiate $a))
                     (core module $b (memory 1)) (core instance (instantiate $b))",
                ),
            ),
            (
                "made twice",
                other(
                    "(core module $a (memory 1)) (core instance (instantiate $a)) (core instance (instantiate $a))",
                ),
            ),
            ("never made", other("(core module $a (memory 1))")),
            (
                "data elsewhere",
                other(
                    r#"(core module $a (memory (export "m") 1)) (core instance $i (instantiate $a))
                       (core module $b (import "a" "m" (memory 1)) (data (i32.const 0) "x"))
                       (core instance (instantiate $b (with "a" (instance $i))))"#,
                ),
            ),
            (
                "a nested module",
                other(
                    "(core module $a (memory 1)) (core instance (instantiate $a))
                     (component (core module $b))",
                ),
            ),
            (
                "a module for a nested component",
                other(
                    "(core module $a (memory 1)) (core instance (instantiate $a))
                     (component (alias outer 1 0 (core module $b)) (core instance (instantiate $b)))",
                ),
            ),
        ] {
            assert_eq!(strip(&original), None, "{why}");
        }
    }

    #[test]
    fn too_many_core_instances_are_the_pools_business() {
        let many = |count: u32| {
            let more = "(core instance (instantiate $b))".repeat(count as usize - 1);
            component(&format!(
                "(component (core module $a (memory 1)) (core module $b) (core instance (instantiate $a)) {more})"
            ))
        };
        assert!(strip(&many(CORE_INSTANCES_MAX)).is_some());
        assert!(strip(&many(CORE_INSTANCES_MAX + 1)).is_none());
    }

    #[test]
    fn broken_bytes_are_left_alone() {
        let whole = of_module(r#"(memory 1) (data (i32.const 8) "abcd") (func (export "f"))"#);
        for end in 0..whole.len() {
            let _ = strip(&whole[..end]);
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _ = strip(&broken);
        }
    }
}
