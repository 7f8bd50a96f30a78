//! Taking variables out of our own environment.

use std::ffi::OsString;

use super::process_title::thread_count;

/// Reads a variable and removes it, so that no program that we start inherits it. In a process of more than one thread
/// it is only read: there, changing the environment is not safe.
///
/// The bytes of the environment that the kernel gave us stay in memory: see [`super::process_title::replace`].
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    if thread_count().is_ok_and(|count| count == 1) {
        // SAFETY: no other thread exists that could read or write the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
    Some(value)
}
