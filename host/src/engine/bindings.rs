//! The typed border to the guests, generated from `wit/`.
//!
//! The WASI interfaces come from wasmtime-wasi; only `tidegate:workflow` is generated.

/// The world `workflow`, and the shared types.
pub(super) mod workflow {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tidegate:workflow/workflow",
        imports: { "tidegate:workflow/settings.commit": async | trappable, default: trappable },
        exports: { default: async },
        with: {
            "wasi:cli": wasmtime_wasi::p2::bindings::cli,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:filesystem": wasmtime_wasi::p2::bindings::filesystem,
            "wasi:http": wasmtime_wasi_http::p2::bindings::http,
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:random": wasmtime_wasi::p2::bindings::random,
            "wasi:sockets": wasmtime_wasi::p2::bindings::sockets,
        },
    });
}

/// The world `runtime`.
pub(super) mod runtime {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tidegate:workflow/runtime",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:http": wasmtime_wasi_http::p2::bindings::http,
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "tidegate:workflow/types": super::workflow::tidegate::workflow::types,
            "tidegate:workflow/log": super::workflow::tidegate::workflow::log,
            "tidegate:workflow/settings": super::workflow::tidegate::workflow::settings,
        },
    });
}
