//! One process per machine.

mod buffer;
pub mod console;
pub mod console_log;
pub mod hotkeys;
pub mod manager_notifier;
pub mod notify;
pub mod printable;
pub mod stream;
pub mod terminal;
