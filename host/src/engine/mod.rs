//! The sandbox: what runs guests and what they can reach.

pub mod egress;
