//! A workflow that also imports `odd:device/lamp`, which no host offers. The host must
//! refuse it at deploy and name the import.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    reason = "what wit-bindgen generates is not ours to write"
)]

use tidegate_guest::{Reply, Request, Result, Settings};

wit_bindgen::generate!({
    inline: "
        package odd:device@0.1.0;
        interface lamp { switch: func(on: bool) -> bool; }
        world needs-lamp { import lamp; }
    ",
});

tidegate_guest::catch!(handler);

fn handler(_request: Request, _settings: &mut Settings) -> Result<Reply> {
    let was_on = odd::device::lamp::switch(true);
    Ok(Reply::ok().text(format!("the lamp was on: {was_on}\n")))
}
