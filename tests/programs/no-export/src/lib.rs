//! A component of another world: it exports `greet` and no `workflow`. The host must
//! refuse it at deploy and name what is missing.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    reason = "what wit-bindgen generates is not ours to write"
)]

wit_bindgen::generate!({
    inline: "
        package other:greeter@1.0.0;
        world greeter { export greet: func(name: string) -> string; }
    ",
});

struct Greeter;

impl Guest for Greeter {
    fn greet(name: String) -> String {
        format!("hello {name}")
    }
}

export!(Greeter);
