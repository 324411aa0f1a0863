//! What is not fused, and the reason that is given.

use std::fmt::Write as _;

use super::world::{component, linked};
use crate::engine::fuse::{NotFusable, fuse};

fn reason(bytes: &[u8]) -> NotFusable {
    match fuse(bytes) {
        Ok(_) => panic!("it was fused"),
        Err(reason) => reason,
    }
}

fn unsupported(what: &'static str) -> NotFusable {
    NotFusable::Unsupported { what }
}

#[test]
fn what_is_no_valid_component_is_refused() {
    let bytes = linked(&[]);
    for broken in [&bytes[..bytes.len() - 20], b"", b"\0asm\x01\0\0\0", b"print('hello')"] {
        let found = reason(broken);
        assert!(matches!(found, NotFusable::Invalid(_) | NotFusable::FewModules), "{found}");
    }
    // Valid wasm, but features that are off.
    let threads = component("(component (core module (memory 1 1 shared)))");
    assert!(matches!(reason(&threads), NotFusable::Invalid(_)));
}

#[test]
fn there_must_be_something_to_merge() {
    let single = "(component (core module $m (memory 1)) (core instance (instantiate $m)))";
    assert_eq!(reason(&component(single)), NotFusable::FewModules);
    assert_eq!(reason(&component("(component)")), NotFusable::FewModules);
}

#[test]
fn each_module_is_instantiated_exactly_once() {
    let again = linked(&[("instance", "(core instance (instantiate $env))")]);
    assert_eq!(reason(&again), NotFusable::InstantiatedAgain { module: 1 });
    let never = linked(&[("module", "(core module (func))")]);
    assert_eq!(reason(&never), NotFusable::NeverInstantiated { module: 6 });
}

#[test]
fn a_start_function_that_does_something_is_refused() {
    let start = linked(&[("b", "(func $go (drop (call $double (i32.const 1)))) (start $go)")]);
    assert_eq!(reason(&start), NotFusable::StartFunction { module: 3 });
}

#[test]
fn there_must_be_one_memory() {
    let two = linked(&[
        ("module", "(core module $more (memory 1))"),
        ("instance", "(core instance (instantiate $more))"),
    ]);
    assert_eq!(reason(&two), NotFusable::Memories { found: 2 });
    let none = "(component (core module $a) (core module $b)
        (core instance (instantiate $a)) (core instance (instantiate $b)))";
    assert_eq!(reason(&component(none)), NotFusable::Memories { found: 0 });
}

#[test]
fn a_late_module_has_functions_and_tables_only() {
    let memory = linked(&[("fixup", "(memory 1)")]);
    let data = linked(&[
        ("fixup", "(import \"\" \"memory\" (memory 1)) (data (i32.const 0) \"late\")"),
        ("fixup-with", "(export \"memory\" (memory $env \"memory\"))"),
    ]);
    let start = linked(&[("fixup", "(func $nothing) (start $nothing)")]);
    let cases = [(memory, "a memory of its own"), (data, "data segments"), (start, "a start function")];
    for (bytes, what) in cases {
        assert_eq!(reason(&bytes), NotFusable::LateModule { module: 5, what });
    }
}

#[test]
fn modules_whose_order_matters_are_refused() {
    let bytes = linked(&[
        ("init", "(import \"env\" \"imports\" (table 1 1 funcref)) (elem (i32.const 0) func $double)"),
        ("init-with", "(export \"imports\" (table $shim \"$imports\"))"),
    ]);
    assert_eq!(reason(&bytes), NotFusable::TableOrder { first: 5, second: 4 });
}

#[test]
fn data_is_part_of_the_first_image_or_refused() {
    assert_eq!(reason(&linked(&[("env", "(data \"passive\")")])), NotFusable::PassiveData { module: 1 });
    let dropped = linked(&[("env", "(func (export \"drop\") (data.drop 0))")]);
    assert_eq!(reason(&dropped), unsupported("code that copies data segments"));
}

#[test]
fn segments_that_would_trap_are_refused() {
    let data = linked(&[("env", "(data (i32.const 65530) \"1234567\")")]);
    let expected = NotFusable::OutOfBounds { module: 1, what: "data segment", index: 0 };
    assert_eq!(reason(&data), expected);
    let elements = linked(&[("env", "(func $f) (elem (i32.const 11) func $f $f)")]);
    let expected = NotFusable::OutOfBounds { module: 1, what: "element segment", index: 0 };
    assert_eq!(reason(&elements), expected);
    // An offset is no signed number.
    let negative = linked(&[("env", "(func $f) (elem (i32.const -1) func $f)")]);
    assert_eq!(reason(&negative), expected);
}

#[test]
fn what_a_merged_module_imports_must_exist_before_its_memory_is_used() {
    let bytes = linked(&[
        (
            "module",
            "(core module $more (import \"t\" \"tick\" (func $tick (result i32)))
               (func (export \"go\") (result i32) call $tick))",
        ),
        (
            "instance",
            "(core func $late (canon lower (func $tick)))
             (core instance $more (instantiate $more (with \"t\" (instance (export \"tick\" (func $late))))))
             (func (export \"go\") (result u32) (canon lift (core func $more \"go\")))",
        ),
    ]);
    let found = reason(&bytes);
    assert!(matches!(found, NotFusable::DefinedLate { .. }), "{found}");
}

#[test]
fn what_names_core_items_elsewhere_is_refused() {
    let nested = "a nested component with code of its own";
    let modules = "core modules that come from or go elsewhere";
    let cases: [(&[(&str, &str)], &'static str); 7] = [
        (&[("component", "(component (core module $m) (core instance (instantiate $m)))")], nested),
        (
            &[("component", "(component (import \"f\" (func $f)) (core func (canon lower (func $f))))")],
            nested,
        ),
        (&[("component", "(component (core type (func)))")], nested),
        (&[("component", "(core type (func))")], "core types"),
        (&[("component", "(import \"m\" (core module))")], "core types"),
        (&[("module", "(core module $more) (export \"more\" (core module $more))")], modules),
        (
            &[
                ("env", "(func (export \"drop\") (param i32))"),
                ("instance", "(type (resource (rep i32) (dtor (func $env \"drop\"))))"),
            ],
            "a resource with a destructor",
        ),
    ];
    for (additions, what) in cases {
        assert_eq!(reason(&linked(additions)), unsupported(what), "{additions:?}");
    }
}

#[test]
fn what_the_engine_could_not_hold_as_one_module_is_refused() {
    let tables = linked(&[("env", "(table 1 funcref) (table 1 funcref) (table 1 funcref)")]);
    assert_eq!(reason(&tables), unsupported("too many tables for one module"));
    let objects = linked(&[("env", "(table 1 externref)")]);
    assert_eq!(reason(&objects), unsupported("references to other things than functions"));
    let large = linked(&[("env", "(table 1048577 funcref)")]);
    assert_eq!(reason(&large), unsupported("a very large table"));
    let (mut functions, mut elements) = (String::new(), "(elem func".to_owned());
    for index in 0..33_000 {
        let _ = write!(functions, "(func $f{index})");
        let _ = write!(elements, " $f{index}");
    }
    let many = linked(&[("env", &format!("{functions} {elements})"))]);
    assert_eq!(reason(&many), unsupported("too many functions in tables for one module"));
}

#[test]
fn reasons_read_well_after_the_word_that_it_is_not_fused() {
    let reasons = [
        NotFusable::FewModules,
        unsupported("core types"),
        NotFusable::LateModule { module: 5, what: "data segments" },
        NotFusable::OutOfBounds { module: 1, what: "data segment", index: 0 },
    ];
    let texts: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "it has fewer than two core modules to merge",
            "it has core types",
            "core module 5, which comes after the others, has data segments",
            "data segment 0 of core module 1 does not fit into what it initialises",
        ]
    );
}
