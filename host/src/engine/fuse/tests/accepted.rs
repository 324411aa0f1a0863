//! What is fused, and that it does the same.

use proptest::prelude::*;
use wasmparser::{KnownCustom, Name, Operator, Parser, Payload};

use super::world::{answers, check_promises, engine, linked};
use crate::engine::fuse::{Fused, fuse};

/// Additions to `linked.wat` that leave its shape as it is: each is a feature of modules
/// that has to survive.
const ADDITIONS: &[(&str, &[(&str, &str)])] = &[
    ("a start function that does nothing", &[("b", "(func $nothing) (start $nothing)")]),
    (
        "passive and dropped segments of elements",
        &[
            ("a-elem", "(elem $spare func $double $double)"),
            (
                "run",
                "(table.init $table $spare (i32.const 8) (i32.const 0) (i32.const 2)) (elem.drop $spare)
                 (local.set $sum (i32.add (local.get $sum)
                   (call_indirect (type $unary) (i32.const 21) (i32.const 8))))",
            ),
        ],
    ),
    (
        "tables that are written and grown",
        &[
            ("a-global", "(table $mine 2 10 funcref) (elem declare func $double)"),
            (
                "run",
                "(table.set $mine (i32.const 1) (ref.func $double))
                 (local.set $sum (i32.add (local.get $sum) (table.grow $mine (ref.null func) (i32.const 1))))
                 (table.fill $mine (i32.const 0) (ref.func $double) (i32.const 1))
                 (table.copy $table $mine (i32.const 6) (i32.const 1) (i32.const 1))
                 (local.set $sum (i32.add (local.get $sum) (table.size $mine)))
                 (local.set $sum (i32.add (local.get $sum)
                   (ref.is_null (table.get $mine (i32.const 0)))))",
            ),
        ],
    ),
    (
        "references to what only an export declared",
        &[
            ("a-global", "(func $lonely (export \"lonely\") (type $unary) local.get 0 i32.const 5 i32.add)"),
            (
                "run",
                "(table.set $table (i32.const 10) (ref.func $lonely))
                 (local.set $sum (i32.add (local.get $sum)
                   (call_indirect (type $unary) (local.get $x) (i32.const 10))))",
            ),
        ],
    ),
    (
        "elements as expressions, with nulls",
        &[
            (
                "a-elem",
                "(elem (table $table) (i32.const 10) funcref (ref.null func) (item ref.func $double))",
            ),
            (
                "run",
                "(local.set $sum (i32.add (local.get $sum)
                   (call_indirect (type $unary) (i32.const 5) (i32.const 11))))
                 (local.set $sum (i32.add (local.get $sum)
                   (ref.is_null (table.get $table (i32.const 10)))))",
            ),
        ],
    ),
    (
        "globals of references and of vectors",
        &[
            (
                "a-global",
                "(global $function funcref (ref.func $double)) (global $none (mut funcref) (ref.null func))
                 (global $vector v128 (v128.const i32x4 1 2 3 4))",
            ),
            (
                "run",
                "(local.set $sum (i32.add (local.get $sum) (ref.is_null (global.get $function))))
                 (local.set $sum (i32.add (local.get $sum) (ref.is_null (global.get $none))))
                 (global.set $none (global.get $function))
                 (local.set $sum (i32.add (local.get $sum) (i32x4.extract_lane 2 (global.get $vector))))",
            ),
        ],
    ),
    (
        "a global that another library changes",
        &[
            ("b-import", "(import \"more\" \"stack\" (global $stack (mut i32)))"),
            (
                "b",
                "(func $move (type $unary)
                   (global.set $stack (i32.add (global.get $stack) (i32.const 4))) local.get 0)
                 (elem (i32.const 3) func $move)",
            ),
            ("b-with", "(with \"more\" (instance (export \"stack\" (global $env \"stack\"))))"),
            (
                "run",
                "(local.set $sum (i32.add (local.get $sum)
                   (call_indirect (type $unary) (local.get $x) (i32.const 3))))
                 (local.set $sum (i32.add (local.get $sum) (global.get $stack)))",
            ),
        ],
    ),
    ("a trap", &[("run", "(if (i32.eq (local.get $x) (i32.const 7)) (then unreachable))")]),
    (
        "a null in a table",
        &[(
            "run",
            "(if (i32.eq (local.get $x) (i32.const 1)) (then
            (drop (call_indirect (type $unary) (i32.const 0) (i32.const 11)))))",
        )],
    ),
    (
        "functions that hand on in a circle",
        &[
            (
                "env",
                "(func $round (type $unary) local.get 0 i32.const 7 call_indirect (type $unary))
                 (elem (i32.const 7) func $round)",
            ),
            (
                "run",
                "(if (i32.eq (local.get $x) (i32.const 1)) (then
                   (drop (call_indirect (type $unary) (i32.const 0) (i32.const 7)))))",
            ),
        ],
    ),
    (
        "a function that hands on with another type",
        &[
            (
                "env",
                "(func (export \"wrong\") (param i32) (result i32)
                   local.get 0 i32.const 8 call_indirect (type $unary))
                 (func $other (param i64) (result i64) local.get 0)
                 (elem (i32.const 8) func $other)",
            ),
            ("a-import", "(import \"more\" \"wrong\" (func $wrong (type $unary)))"),
            ("a-with", "(with \"more\" (instance (export \"wrong\" (func $env \"wrong\"))))"),
            ("run", "(if (i32.eq (local.get $x) (i32.const 1)) (then (drop (call $wrong (i32.const 0)))))"),
        ],
    ),
    (
        "bulk memory and growth",
        &[(
            "run",
            "(memory.copy (i32.const 0x400) (i32.const 0x10) (i32.const 6))
             (memory.fill (i32.const 0x402) (i32.const 9) (i32.const 1))
             (local.set $sum (i32.add (local.get $sum) (i32.load (i32.const 0x400))))
             (local.set $sum (i32.add (local.get $sum) (memory.grow (i32.const 1))))
             (local.set $sum (i32.add (local.get $sum) (memory.size)))",
        )],
    ),
    (
        "a late module that takes the memory and a global",
        &[
            (
                "fixup",
                "(import \"\" \"memory\" (memory 1)) (import \"\" \"stack\" (global $stack (mut i32)))",
            ),
            ("fixup", "(func (export \"reset\") (global.set $stack (i32.const 1)))"),
            (
                "fixup-with",
                "(export \"memory\" (memory $env \"memory\")) (export \"stack\" (global $env \"stack\"))",
            ),
            ("instance", "(func (export \"reset\") (canon lift (core func $fixup \"reset\")))"),
        ],
    ),
];

fn fused(bytes: &[u8]) -> Fused {
    fuse(bytes).unwrap_or_else(|reason| panic!("{reason}"))
}

#[test]
fn libraries_become_one_module_that_does_the_same() {
    let engine = engine();
    let original = linked(&[]);
    let Fused { component, report } = fused(&original);
    check_promises(&component);
    let before = answers(&engine, &original);
    assert_eq!(before, answers(&engine, &component));
    assert!(before.iter().all(Result::is_ok), "{before:?}");
    // All but the one that completes the table of imports; `b:triple` and `b:again` hand
    // on; the body of `init`, and nothing else, is unreachable.
    assert_eq!((report.modules, report.merged), (6, 5));
    assert_eq!((report.jumps_removed, report.functions_dropped), (2, 1));
}

#[test]
fn every_addition_survives() {
    let engine = engine();
    for (what, additions) in ADDITIONS {
        let original = linked(additions);
        let Fused { component, report } = fuse(&original).unwrap_or_else(|reason| panic!("{what}: {reason}"));
        check_promises(&component);
        assert_eq!(answers(&engine, &original), answers(&engine, &component), "{what}");
        assert_eq!(report.merged, 5, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn additions_survive_together(chosen in proptest::collection::vec(any::<bool>(), ADDITIONS.len())) {
        let engine = engine();
        let chosen = ADDITIONS.iter().zip(chosen).filter(|(_, is_chosen)| *is_chosen);
        let additions: Vec<_> = chosen.flat_map(|((_, additions), _)| *additions).copied().collect();
        let original = linked(&additions);
        let Fused { component, .. } = fused(&original);
        check_promises(&component);
        prop_assert_eq!(answers(&engine, &original), answers(&engine, &component));
    }
}

/// The names of the functions of a component's first module, and its own.
fn names(bytes: &[u8]) -> (Option<String>, Vec<String>) {
    let (mut module, mut functions) = (None, Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.unwrap();
        if let Payload::CustomSection(custom) = &payload
            && let KnownCustom::Name(names) = custom.as_known()
        {
            for name in names {
                match name.unwrap() {
                    Name::Module { name, .. } => module = Some(name.to_owned()),
                    Name::Function(map) => {
                        functions.extend(map.into_iter().map(|naming| naming.unwrap().name.to_owned()));
                    }
                    _ => {}
                }
            }
            break;
        }
    }
    (module, functions)
}

#[test]
fn functions_keep_their_names_and_say_where_they_are_from() {
    let mangled = "(func $_ZN4core3fmt3addE (export \"lonely\") (type $unary) local.get 0)
        (elem declare func $_ZN4core3fmt3addE)";
    let (module, functions) = names(&fused(&linked(&[("a-global", mangled)])).component);
    assert_eq!(module.as_deref(), Some("env"), "the module with the memory gives its name");
    for name in ["a!double", "a!run", "b!triple", "b!weigh", "_ZN4core3fmt3addE"] {
        assert!(functions.iter().any(|function| function == name), "{name}: {functions:?}");
    }
}

#[test]
fn globals_that_never_change_are_not_read_any_more() {
    let fused = fused(&linked(&[]));
    let (mut reads, mut modules) = (0, 0);
    for payload in Parser::new(0).parse_all(&fused.component) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => modules += 1,
            Payload::CodeSectionEntry(body) if modules == 1 => {
                let operators = body.get_operators_reader().unwrap().into_iter();
                reads += operators.filter(|one| matches!(one, Ok(Operator::GlobalGet { .. }))).count();
            }
            _ => {}
        }
    }
    // The stack pointer is read four times and the count of calls twice.
    assert_eq!((reads, fused.report.reads_folded), (6, 8));
}
