//! Fusing, by hand-written components: what is accepted does the same as before, and
//! every other shape is refused with its reason.

mod accepted;
mod hostile;
mod refused;
mod world;
