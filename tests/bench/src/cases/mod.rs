//! What is measured of Tidegate alone, beside its peers: one file for each case. A case
//! starts a host of its own on a fresh data folder, returns what it measured, and the
//! checks that follow from it.

pub mod accepting;
pub mod canary;
pub mod cold;
pub mod controls;
pub mod cores;
pub mod deploying;
pub mod functions;
pub mod hostile;
pub mod overload;
pub mod python;
pub mod python_memory;
pub mod recording;
pub mod schedules;
pub mod spinning;
pub mod starting;
pub mod steady;
pub mod stored;
