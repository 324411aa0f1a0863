//! Components for the tests: one of the shape that is fused, with additions, and an
//! engine to run it.

use wasmparser::{DataKind, ElementKind, Operator, Parser, Payload};
use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

use crate::engine::tuning;

const LINKED: &str = include_str!("linked.wat");

/// The component of `linked.wat` with texts at some of its marks.
pub(super) fn linked(additions: &[(&str, &str)]) -> Vec<u8> {
    let mut text = LINKED.to_owned();
    for (mark, addition) in additions {
        let mark = format!(";;@{mark}\n");
        assert_eq!(text.matches(&mark).count(), 1, "{mark}");
        text = text.replace(&mark, &format!("{addition}\n{mark}"));
    }
    component(&text)
}

/// The component that a text describes.
pub(super) fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn engine() -> Engine {
    Engine::new(&tuning::common()).unwrap()
}

/// What a component of `linked.wat` answers to some calls of one instance: results, or
/// the trap. Calls of what it imports leave a trace in the results.
pub(super) fn answers(engine: &Engine, bytes: &[u8]) -> Vec<Result<u32, String>> {
    let component = Component::new(engine, bytes).unwrap_or_else(|error| panic!("{error:?}"));
    let mut linker = Linker::<u32>::new(engine);
    let mut root = linker.root();
    root.func_wrap("measure", |_, (text,): (String,)| Ok((text.bytes().map(u32::from).sum::<u32>() * 1000,)))
        .unwrap();
    root.func_wrap("tick", |mut store, (): ()| {
        *store.data_mut() += 1;
        Ok((*store.data() * 100_000,))
    })
    .unwrap();
    let mut store = Store::new(engine, 0);
    store.set_epoch_deadline(1);
    let trap = |error: wasmtime::Error| match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    let instance = match linker.instantiate(&mut store, &component) {
        Ok(instance) => instance,
        Err(error) => return vec![Err(trap(error))],
    };
    let run = instance.get_typed_func::<(u32,), (u32,)>(&mut store, "run").unwrap();
    let mut answers = Vec::new();
    for input in [0, 1, 7, 1 << 31] {
        answers.push(run.call(&mut store, (input,)).map(|(result,)| result).map_err(trap));
    }
    answers
}

/// Checks what the module's documentation promises of a fused component.
pub(super) fn check_promises(bytes: &[u8]) {
    let (mut module, mut inside) = (0, false);
    let mut memory_bytes = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.unwrap() {
            Payload::ModuleSection { .. } => (module, inside) = (module + 1, true),
            Payload::End(_) => inside = false,
            Payload::StartSection { .. } => panic!("module {module} has a start function"),
            Payload::MemorySection(section) => {
                assert!(inside && module == 1, "the first module has the memory");
                let memories: Vec<_> = section.into_iter().collect::<Result<_, _>>().unwrap();
                assert_eq!(memories.len(), 1);
                memory_bytes = memories[0].initial << 16;
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.unwrap();
                    let is_memory = matches!(import.ty, wasmparser::TypeRef::Memory(_));
                    assert!(module > 1 || !is_memory, "{import:?}");
                }
            }
            Payload::DataSection(section) => {
                assert_eq!(module, 1);
                for data in section {
                    let data = data.unwrap();
                    let DataKind::Active { memory_index: 0, offset_expr } = data.kind else {
                        panic!("a segment that is not active")
                    };
                    let end = u64::from(offset(&offset_expr)) + data.data.len() as u64;
                    assert!(end <= memory_bytes);
                }
            }
            Payload::ElementSection(section) if module == 1 => {
                for element in section {
                    if let ElementKind::Active { offset_expr, .. } = element.unwrap().kind {
                        offset(&offset_expr);
                    }
                }
            }
            Payload::CodeSectionEntry(body) if module == 1 => {
                for operator in body.get_operators_reader().unwrap() {
                    let operator = operator.unwrap();
                    let names_data =
                        matches!(operator, Operator::MemoryInit { .. } | Operator::DataDrop { .. });
                    assert!(!names_data, "{operator:?}");
                }
            }
            _ => {}
        }
    }
}

/// The offset that is one constant.
fn offset(expression: &wasmparser::ConstExpr<'_>) -> u32 {
    let mut operators = expression.get_operators_reader();
    let Operator::I32Const { value } = operators.read().unwrap() else { panic!("not a constant") };
    assert!(matches!(operators.read().unwrap(), Operator::End));
    value.cast_unsigned()
}
