//! What `wit-bindgen` makes of the world `workflow` in the repository's `wit/`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "what wit-bindgen generates is not ours to write"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "workflow",
    generate_all,
    pub_export_macro: true,
});
