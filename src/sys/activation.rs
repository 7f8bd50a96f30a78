//! Sockets that the service manager passes to a service that it starts (sd_listen_fds(3)).

use std::os::fd::{FromRawFd, OwnedFd};

/// The first of them.
const FIRST: i32 = 3;

/// More are not passed by any unit of ours.
const MOST: i32 = 64;

/// Takes them, so that they are passed on to nobody. To be called once, before the process has opened anything of its own: before
/// that, whatever has these numbers was passed.
pub fn passed_sockets() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let ours = number("LISTEN_PID") == Some(rustix::process::getpid().as_raw_nonzero().get());
    let count = number("LISTEN_FDS").filter(|_| ours).unwrap_or(0).clamp(0, MOST);
    (FIRST..FIRST + count)
        .filter_map(|number| {
            // SAFETY: it is only asked whether the number is open, and told to be closed by execve(2) if it is.
            if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
                return None;
            }
            // SAFETY: it is open, was passed for us to own, and nobody else in this process knows of it.
            Some(unsafe { OwnedFd::from_raw_fd(number) })
        })
        .collect()
}
