//! Generated memories with data: what is taken out of them is what wasmtime would have made.

use wasmtime::{Engine, Instance, Module, Store};

use super::strip;
use crate::engine::drive::{Dice, drive};
use crate::engine::tuning;

const MODULES: u64 = 400;
const PAGE: usize = 64 << 10;

/// A core module in text with a memory and segments of data, most of them constant.
fn module(dice: &mut Dice) -> String {
    let pages = 1 + dice.below(3);
    let mut text = format!("(module (memory (export \"m\") {pages})");
    for _ in 0..dice.below(12) {
        let bytes: String = dice.bytes(300).iter().map(|byte| format!("\\{byte:02x}")).collect();
        // At the memory's end and beyond it, over a page's edge, anywhere.
        let at = match dice.below(60) {
            0 => pages * PAGE,
            1 => pages * PAGE - dice.below(400),
            2..=20 => (1 + dice.below(8)) * 4096 - dice.below(300),
            _ => dice.below(pages * PAGE - 300),
        };
        text.push_str(&match dice.below(100) {
            0 => format!("(data \"{bytes}\")"),
            1 => format!("(data (i32.add (i32.const {at}) (i32.const 0)) \"{bytes}\")"),
            _ => format!("(data (i32.const {at}) \"{bytes}\")"),
        });
    }
    text + ")"
}

/// What the memory holds when wasmtime has made it; `None` when it traps.
fn made_by_wasmtime(engine: &Engine, module: &str) -> Option<Vec<u8>> {
    let module = Module::new(engine, wat::parse_str(module).unwrap()).unwrap();
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1);
    let instance = Instance::new(&mut store, &module, &[]).ok()?;
    Some(instance.get_memory(&mut store, "m").unwrap().data(&store).to_vec())
}

#[test]
fn an_image_is_the_memory_that_its_data_would_have_made() {
    let engine = Engine::new(&tuning::common()).unwrap();
    let (mut stripped, mut left) = (0, 0);
    drive("strip", MODULES, |dice| {
        let text = module(dice);
        let core = text.strip_prefix("(module").unwrap();
        let whole = format!("(component (core module $m{core} (core instance (instantiate $m)))");
        let whole = wat::parse_str(&whole).unwrap();
        match strip(&whole) {
            Some(found) => {
                let mut memory = found.image;
                assert_eq!(memory.len() % 4096, 0);
                let wanted = made_by_wasmtime(&engine, &text).expect("what is stripped does not trap");
                assert!(memory.len() <= wanted.len());
                memory.resize(wanted.len(), 0);
                assert!(memory == wanted, "the image differs from the memory");
                wasmparser::validate(&found.component).unwrap();
                let again = strip(&found.component).unwrap();
                assert!(again.image.is_empty(), "data was left in the code");
                stripped += 1;
            }
            None => left += 1,
        }
        // With some bytes changed it is refused before it gets here, or still valid after.
        let mut broken = whole;
        dice.mutate(&mut broken);
        if let Some(found) = strip(&broken)
            && wasmparser::validate(&broken).is_ok()
        {
            wasmparser::validate(&found.component).unwrap();
        }
    });
    assert!(stripped > left && left > 0, "{stripped} were stripped and {left} left: the control");
}
