//! The isolation of one machine.

pub mod stub_init;
