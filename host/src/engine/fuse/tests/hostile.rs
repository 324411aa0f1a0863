//! Damaged and hostile components: nothing panics, and what is accepted is valid, keeps
//! the promises and still does the same.

use proptest::prelude::*;
use wasmparser::Validator;

use super::world::{answers, check_promises, engine, linked};
use crate::engine::fuse::{Fused, fuse};
use crate::engine::tuning::FEATURES;

fn check(bytes: &[u8]) -> Option<Vec<u8>> {
    let Fused { component, .. } = fuse(bytes).ok()?;
    Validator::new_with_features(FEATURES).validate_all(&component).unwrap();
    check_promises(&component);
    Some(component)
}

/// Each byte of a component is changed in turn. Most of the results are invalid; the
/// others are other programs, and fusing must not change any of them.
#[test]
fn every_damaged_byte_is_refused_or_fused_rightly() {
    const RUN_MAX: usize = 60;
    let original = linked(&[]);
    let mut accepted = Vec::new();
    for at in 0..original.len() {
        for change in [0x01, 0x02, 0x40, 0x80, 0xff] {
            let mut bytes = original.clone();
            bytes[at] ^= change;
            if let Some(component) = check(&bytes) {
                accepted.push((at, bytes, component));
            }
        }
    }
    assert!(accepted.len() > RUN_MAX, "{} were accepted", accepted.len());
    let engine = engine();
    for (at, before, after) in accepted.iter().step_by(accepted.len().div_ceil(RUN_MAX)) {
        assert_eq!(links(&engine, before), links(&engine, after), "byte {at:#x}");
    }
}

/// The answers; `None` for a component that asks for something else or offers something
/// else since its bytes were changed.
fn links(engine: &wasmtime::Engine, bytes: &[u8]) -> Option<Vec<Result<u32, String>>> {
    let types = wasmtime::component::Component::new(engine, bytes).ok()?;
    let types = types.component_type();
    let imports: Vec<_> = types.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let has_run = types.exports(engine).any(|(name, _)| name == "run");
    (imports == ["measure", "tick"] && has_run).then(|| answers(engine, bytes))
}

proptest! {
    #[test]
    fn damage_in_several_places_panics_nothing(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = linked(&[]);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(&bytes);
    }
}
