//! One process per machine.
