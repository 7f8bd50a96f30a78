//! The isolation of one machine.
