//! A component whose `workflow` has another type than the contract's. The host must
//! refuse it at deploy and say which export does not fit.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    reason = "what wit-bindgen generates is not ours to write"
)]

wit_bindgen::generate!({
    inline: "
        package other:workflow@1.0.0;
        world mistaken { export workflow: func(name: string) -> string; }
    ",
});

struct Mistaken;

impl Guest for Mistaken {
    fn workflow(name: String) -> String {
        format!("hello {name}")
    }
}

export!(Mistaken);
