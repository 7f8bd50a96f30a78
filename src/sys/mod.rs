//! Every `unsafe` line and every raw system call of the house.
//!
//! A wrapper takes borrowed fds, paths and typed flags, gives back owned fds, and fails with a [`SysError`] that
//! prints like strace: the call, its arguments, the path behind each fd, and the errno as its source. What a call is
//! *for* is said by the rooms above; nothing here decides anything.
#![allow(unsafe_code)]

pub mod activation;
pub mod attributes;
pub mod block_device;
pub mod bpf;
pub mod btrfs;
pub mod capability;
pub mod directory_watch;
pub mod environment;
mod error;
pub mod event_set;
pub mod files;
pub mod fork;
pub mod heap;
pub mod in_root;
pub mod inet;
pub mod lock_file;
pub mod loop_device;
pub mod mount;
pub mod names;
pub mod netlink;
pub mod network;
pub mod open_files;
pub mod packet_socket;
pub mod pipe;
pub mod process;
pub mod process_title;
pub mod readiness;
pub mod remove_tree;
pub mod sealed_program;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod stream_socket;
pub mod sysctl;
pub mod timeout;
pub mod tty;
pub mod watch;

/// A number that nobody guesses.
///
/// # Errors
/// On kernels without getrandom(2).
pub fn random() -> SysResult<u64> {
    let mut bytes = [0; 8];
    let result = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    sys("getrandom", result, || "8 bytes".to_owned())?;
    Ok(u64::from_ne_bytes(bytes))
}

pub use error::{FdPath, Flags, SysError, SysResult, in_words, sys};

/// The result of a raw call: -1 is an error and errno says which.
fn check(result: libc::c_long) -> Result<libc::c_long, rustix::io::Errno> {
    if result == -1 {
        let error = std::io::Error::last_os_error();
        return Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::INVAL));
    }
    Ok(result)
}
