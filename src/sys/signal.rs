//! Signals: sets, masks, dispositions, signalfd, waiting (signal(7), signalfd(2), sigtimedwait(2)).
//!
//! Signals are plain numbers here: the real-time ones that inits listen to have no names in any crate's enum.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd as NixSignalFd};
use rustix::io::Errno;

use super::{FdPath, SysError, SysResult};

/// The highest signal number of the kernel (_NSIG, signal(7)).
pub const LAST: i32 = 64;

/// The size of the kernel's set of signals, a bit for each (rt_sigaction(2); MIPS, which has 128, is not ours).
const KERNEL_SIGSET_BYTES: usize = 8;

/// SIGRTMIN+`offset`, as the C library counts and as systemd(1) documents its signals.
pub fn realtime(offset: i32) -> i32 {
    libc::SIGRTMIN() + offset
}

/// A set of signals.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// No signal.
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset writes the whole set through a valid pointer.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset has initialised it, and cannot fail on a valid pointer.
        Self(unsafe { set.assume_init() })
    }

    /// Every signal.
    pub fn all() -> Self {
        let mut set = Self::empty();
        // SAFETY: the pointer is to a set of our own.
        unsafe { libc::sigfillset(&raw mut set.0) };
        set
    }

    /// The given signals. Numbers that are no signals, or the C library's own (32, 33), are left out.
    pub fn of(signals: &[i32]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            // SAFETY: the pointer is to a set of our own; a bad number is EINVAL and changes nothing.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    /// Whether `signal` is in the set.
    pub fn contains(&self, signal: i32) -> bool {
        // SAFETY: the pointer is to a set of our own; a bad number is -1.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }

    /// Blocks these signals besides those that are blocked, and returns the mask as it was.
    pub fn block(&self) -> SysResult<Self> {
        change_mask(libc::SIG_BLOCK, "SIG_BLOCK", self)
    }

    /// Makes this set the signal mask, and returns the mask as it was.
    pub fn set_mask(&self) -> SysResult<Self> {
        change_mask(libc::SIG_SETMASK, "SIG_SETMASK", self)
    }
}

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((1..=LAST).filter(|&signal| self.contains(signal))).finish()
    }
}

fn change_mask(how: libc::c_int, name: &'static str, set: &SignalSet) -> SysResult<SignalSet> {
    let mut previous = SignalSet::empty();
    // SAFETY: both pointers are to whole sets that outlive the call.
    match unsafe { libc::pthread_sigmask(how, &raw const set.0, &raw mut previous.0) } {
        0 => Ok(previous),
        errno => {
            Err(SysError::new("rt_sigprocmask", format!("{name}, {set:?}"), Errno::from_raw_os_error(errno)))
        }
    }
}

/// Gives every signal its default disposition, for a child that is about to exec: execve(2) keeps ignored signals
/// ignored, and Rust's runtime ignores SIGPIPE.
///
/// Past the C library, which refuses the signals that it keeps for its threads (32, 33): those too may have come to us
/// ignored, and a C library in the guest may keep others. Only for a process of one thread.
pub fn restore_default_dispositions() {
    // All zeros is SIG_DFL without flags, restorer and mask, in whichever order the architecture has them.
    let default = [0_usize; 8];
    for signal in 1..=LAST {
        // SAFETY: the kernel reads a struct sigaction, smaller than the array, and writes nothing through the null
        // pointer; SIG_DFL runs no code of ours. SIGKILL and SIGSTOP are refused, rightly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<usize>(),
                KERNEL_SIGSET_BYTES,
            )
        };
    }
}

/// Sets a child up for exec: default dispositions, then `mask` as the signal mask.
pub fn reset_for_exec(mask: &SignalSet) -> SysResult<()> {
    restore_default_dispositions();
    mask.set_mask().map(drop)
}

/// Has `command` begin with no signal blocked, whatever is blocked in the thread that starts it: the standard library leaves the mask
/// as it is, and few programs reset it.
pub fn unblock_in(command: &mut Command) -> &mut Command {
    let none = SignalSet::empty();
    let unblock = move || match none.set_mask() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.errno().into()),
    };
    // SAFETY: all that is called in the child is pthread_sigmask, which is async-signal-safe (signal-safety(7)), and with such
    // arguments does not fail: no memory is asked for.
    unsafe { command.pre_exec(unblock) }
}

/// A signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalInfo {
    /// Its number.
    pub signal: i32,
    /// The process that sent it, or the child of a SIGCHLD; 0 if that is outside our pid namespace, or the kernel.
    pub pid: u32,
    /// That process's real user.
    pub uid: u32,
}

/// Signals as an fd to poll (signalfd(2)). The signals must be blocked as well.
#[derive(Debug)]
pub struct SignalFd(NixSignalFd);

impl SignalFd {
    /// Opens one for `signals`, non-blocking and close-on-exec.
    pub fn open(signals: &SignalSet) -> SysResult<Self> {
        // SAFETY: the set was initialised by sigemptyset.
        let set = unsafe { SigSet::from_sigset_t_unchecked(signals.0) };
        NixSignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self).map_err(
            |errno| {
                SysError::new(
                    "signalfd4",
                    format!("-1, {signals:?}, SFD_CLOEXEC|SFD_NONBLOCK"),
                    errno_of(errno),
                )
            },
        )
    }

    /// Takes the next signal, if one is there.
    pub fn read(&self) -> SysResult<Option<SignalInfo>> {
        loop {
            match self.0.read_signal() {
                Ok(info) => {
                    return Ok(info.map(|info| SignalInfo {
                        signal: info.ssi_signo.cast_signed(),
                        pid: info.ssi_pid,
                        uid: info.ssi_uid,
                    }));
                }
                Err(nix::Error::EINTR) => {}
                Err(errno) => {
                    return Err(SysError::new("read", FdPath::of(&self.0).to_string(), errno_of(errno)));
                }
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn errno_of(errno: nix::Error) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

/// Waits for one of `signals`, which must be blocked, and returns its number; `None` once `timeout` has passed. No
/// timeout waits for ever (sigtimedwait(2)).
pub fn wait_for(signals: &SignalSet, timeout: Option<Duration>) -> SysResult<Option<i32>> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos().cast_signed()),
    });
    let pointer = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the set and the timespec outlive the call; a null siginfo and a null timeout are allowed.
    let signal = unsafe { libc::sigtimedwait(&raw const signals.0, std::ptr::null_mut(), pointer) };
    if signal > 0 {
        return Ok(Some(signal));
    }
    let error = std::io::Error::last_os_error();
    match Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO)) {
        // Another signal's handler ran: the caller looks at its clock and comes again.
        Errno::AGAIN | Errno::INTR => Ok(None),
        errno => Err(SysError::new("rt_sigtimedwait", format!("{signals:?}"), errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let (halt, internal) = (realtime(3), 32);
        let set = SignalSet::of(&[libc::SIGTERM, halt, internal, 0, 65, -1]);
        assert_eq!(format!("{set:?}"), format!("{{15, {halt}}}"));
        assert!(SignalSet::all().contains(halt));
        assert!(!SignalSet::empty().contains(libc::SIGTERM));
    }

    /// Sends `signal` to the calling thread only: another test's thread must not see it.
    fn raise(signal: i32) {
        // SAFETY: the signal is blocked by the caller; no handler runs.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }

    #[test]
    fn real_time_signals_come_through_the_fd() {
        let signal = realtime(13);
        let set = SignalSet::of(&[signal]);
        let previous = set.block().expect("block");
        let fd = SignalFd::open(&set).expect("signalfd");
        assert_eq!(fd.read().expect("read"), None);
        raise(signal);
        let info = fd.read().expect("read").expect("a signal");
        assert_eq!((info.signal, info.pid), (signal, std::process::id()));
        previous.set_mask().expect("unblock");
    }

    #[test]
    fn waiting_ends_with_the_signal_or_the_time() {
        let signal = realtime(14);
        let set = SignalSet::of(&[signal]);
        let previous = set.block().expect("block");
        assert_eq!(wait_for(&set, Some(Duration::from_millis(1))).expect("wait"), None);
        raise(signal);
        assert_eq!(wait_for(&set, None).expect("wait"), Some(signal));
        previous.set_mask().expect("unblock");
    }
}
