//! What tests are written with: the real binary on a port of its own, a client that sends
//! exactly the bytes it is told to, guests, and waits that have an end.

pub(crate) mod guests;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod mount;
pub(crate) mod provider;
pub(crate) mod python;
pub(crate) mod python_host;
pub(crate) mod wait;
pub(crate) mod wasm;
