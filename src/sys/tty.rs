//! Terminals and pseudo terminals (tty_ioctl(2), pty(7)).
//!
//! A pty is made from a ptmx that the caller opened in the devpts mount it wants: nothing here knows `/dev/ptmx` or
//! `/dev/pts`, since those of the host and those of the guest are different worlds.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::ioctl;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios};

use super::{FdPath, SysResult, sys};

pub use rustix::termios::Winsize;

/// The C library types these as long; the kernel takes 32 bits.
#[allow(clippy::cast_possible_truncation)]
mod request {
    use rustix::ioctl::Opcode;

    pub(super) const TIOCGPTN: Opcode = libc::TIOCGPTN as Opcode;
    #[cfg(test)]
    pub(super) const TIOCVHANGUP: Opcode = 0x5437; // asm-generic/ioctls.h; libc does not have it
    pub(super) const TIOCNOTTY: Opcode = libc::TIOCNOTTY as Opcode;
}

/// Lets the slave of `master` be opened (TIOCSPTLCK).
pub fn unlock_slave(master: &impl AsFd) -> SysResult<()> {
    sys("ioctl", rustix::pty::unlockpt(master), || format!("{}, TIOCSPTLCK, 0", FdPath::of(master)))
}

/// Opens the slave of `master`, whatever mount namespace we are in (TIOCGPTPEER). It does not become our controlling
/// terminal.
pub fn open_slave(master: &impl AsFd) -> SysResult<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    sys("ioctl", rustix::pty::ioctl_tiocgptpeer(master, flags), || {
        format!("{}, TIOCGPTPEER, O_RDWR|O_NOCTTY|O_CLOEXEC", FdPath::of(master))
    })
}

/// The N of `pts/N` that is the slave of `master` (TIOCGPTN).
pub fn slave_number(master: &impl AsFd) -> SysResult<u32> {
    // SAFETY: TIOCGPTN writes one unsigned int through its argument (ioctl_tty(2)), which is what Getter hands it.
    let get = unsafe { ioctl::Getter::<{ request::TIOCGPTN }, libc::c_uint>::new() };
    // SAFETY: `get` describes TIOCGPTN truly; on an fd that is not a ptmx the kernel answers ENOTTY.
    let number = unsafe { ioctl::ioctl(master, get) };
    sys("ioctl", number, || format!("{}, TIOCGPTN", FdPath::of(master)))
}

/// The size of the terminal's window, in characters (TIOCGWINSZ).
pub fn window_size(tty: &impl AsFd) -> SysResult<Winsize> {
    sys("ioctl", rustix::termios::tcgetwinsize(tty), || format!("{}, TIOCGWINSZ", FdPath::of(tty)))
}

/// Sets the size; the foreground process group of the terminal gets SIGWINCH if it changed (TIOCSWINSZ).
pub fn set_window_size(tty: &impl AsFd, size: Winsize) -> SysResult<()> {
    sys("ioctl", rustix::termios::tcsetwinsize(tty, size), || {
        format!("{}, TIOCSWINSZ, {}x{}", FdPath::of(tty), size.ws_col, size.ws_row)
    })
}

/// The terminal's settings. Asked of a pty's master they are the slave's.
pub fn attributes(tty: &impl AsFd) -> SysResult<Termios> {
    sys("ioctl", rustix::termios::tcgetattr(tty), || format!("{}, TCGETS", FdPath::of(tty)))
}

/// Changes the terminal's settings at once, without waiting for its output: a terminal whose user pressed ^S never
/// finishes that.
pub fn set_attributes(tty: &impl AsFd, attributes: &Termios) -> SysResult<()> {
    sys("ioctl", rustix::termios::tcsetattr(tty, OptionalActions::Now, attributes), || {
        format!("{}, TCSETS", FdPath::of(tty))
    })
}

/// Puts the terminal in raw mode (cfmakeraw(3)) and returns what it was before.
pub fn make_raw(tty: &impl AsFd) -> SysResult<Termios> {
    let before = attributes(tty)?;
    let mut raw = before.clone();
    raw.make_raw();
    set_attributes(tty, &raw)?;
    Ok(before)
}

/// Whether another process group than ours is in the foreground of `tty`, our controlling terminal: then we may not change
/// its settings nor read from it, without stopping ourselves or disturbing somebody else. A terminal that does not
/// control us has no foreground that concerns us.
///
/// In a PID namespace whose session was begun outside of it, as `docker exec -t` and CI runners do, session and groups are
/// all 0 (pid_namespaces(7)): libc's calls have that value, where rustix's types do not.
pub fn is_background(tty: &impl AsFd) -> bool {
    // SAFETY: TIOCGPGRP writes one pid_t (ioctl_tty(2)), and fails with ENOTTY of a terminal that does not control us.
    let foreground = unsafe { libc::tcgetpgrp(tty.as_fd().as_raw_fd()) };
    // SAFETY: getpgrp(2) has no arguments and cannot fail.
    let ours = unsafe { libc::getpgrp() };
    foreground >= 0 && foreground != ours
}

/// Starts a new session with `tty` as its controlling terminal, our process group in the foreground (setsid(2),
/// TIOCSCTTY). Fails with EPERM in a process group leader, and while another session has the terminal.
pub fn take_controlling_terminal(tty: &impl AsFd) -> SysResult<()> {
    sys("setsid", rustix::process::setsid(), String::new)?;
    sys("ioctl", rustix::process::ioctl_tiocsctty(tty), || format!("{}, TIOCSCTTY, 0", FdPath::of(tty)))
}

/// Gives up `tty` as our controlling terminal (TIOCNOTTY); nothing happens if it was not. Of a session leader the whole
/// session loses it, and the foreground process group gets SIGHUP and SIGCONT.
pub fn release_controlling_terminal(tty: &impl AsFd) -> SysResult<()> {
    // SAFETY: TIOCNOTTY takes no argument (ioctl_tty(2)).
    let release = unsafe { ioctl::NoArg::<{ request::TIOCNOTTY }>::new() };
    // SAFETY: `release` describes TIOCNOTTY truly, and no memory is involved.
    match unsafe { ioctl::ioctl(tty, release) } {
        Err(rustix::io::Errno::NOTTY) => Ok(()),
        result => sys("ioctl", result, || format!("{}, TIOCNOTTY", FdPath::of(tty))),
    }
}

/// A pty of the host's own devpts, unlocked: master, slave.
#[cfg(test)]
pub(crate) fn test_pty() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).expect("a pty");
    unlock_slave(&master).expect("unlock");
    let slave = open_slave(&master).expect("slave");
    (master, slave)
}

/// Hangs the terminal up, as vhangup(2) does to the controlling one: whoever has it open finds it dead. Root's alone.
#[cfg(test)]
pub(crate) fn hang_up(tty: &impl AsFd) -> SysResult<()> {
    // SAFETY: TIOCVHANGUP takes no argument (drivers/tty/tty_io.c).
    let hang_up = unsafe { ioctl::NoArg::<{ request::TIOCVHANGUP }>::new() };
    // SAFETY: `hang_up` describes TIOCVHANGUP truly, and no memory is involved.
    let result = unsafe { ioctl::ioctl(tty, hang_up) };
    sys("ioctl", result, || format!("{}, TIOCVHANGUP", FdPath::of(tty)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pty_is_made_from_its_master_alone() {
        let (master, slave) = test_pty();
        let name = rustix::termios::ttyname(&slave, Vec::new()).expect("name");
        assert_eq!(
            name.to_str().expect("utf-8"),
            format!("/dev/pts/{}", slave_number(&master).expect("number"))
        );
        rustix::io::write(&slave, b"hello\n").expect("write");
        let mut buffer = [0; 16];
        let length = rustix::io::read(&master, &mut buffer).expect("read");
        assert_eq!(&buffer[..length], b"hello\r\n");
    }

    #[test]
    fn sizes_pass_from_master_to_slave() {
        let (master, slave) = test_pty();
        let size = Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        set_window_size(&master, size).expect("set");
        let seen = window_size(&slave).expect("get");
        assert_eq!((seen.ws_row, seen.ws_col), (33, 111));
    }

    #[test]
    fn raw_mode_is_undone_exactly() {
        let (_master, slave) = test_pty();
        let before = make_raw(&slave).expect("raw");
        assert!(before.local_modes.contains(rustix::termios::LocalModes::ICANON));
        assert!(!attributes(&slave).expect("get").local_modes.contains(rustix::termios::LocalModes::ICANON));
        set_attributes(&slave, &before).expect("restore");
        assert_eq!(attributes(&slave).expect("get").local_modes, before.local_modes);
        assert_eq!(attributes(&slave).expect("get").input_modes, before.input_modes);
    }

    #[test]
    fn the_foreground_is_the_group_that_has_the_terminal() {
        use rustix::process::{WaitOptions, setpgid, waitpid};

        use super::super::fork::{fork, fork_from_test};

        let (_master, slave) = test_pty();
        let status_of = |pid| match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => status.exit_status(),
            _ => None,
        };
        // A check fails with its own number.
        let leader = fork_from_test(|| {
            if is_background(&slave) || take_controlling_terminal(&slave).is_err() || is_background(&slave) {
                return 1;
            }
            let job = fork(|| i32::from(setpgid(None, None).is_err() || !is_background(&slave)));
            match job.map(status_of) {
                Ok(Some(0)) => {}
                _ => return 2,
            }
            // The foreground group gets SIGHUP: that is us.
            crate::sys::signal::SignalSet::of(&[libc::SIGHUP]).block().map_or(3, |_| {
                let released = release_controlling_terminal(&slave).is_ok() && !is_background(&slave);
                if released { 0 } else { 4 }
            })
        })
        .expect("fork");
        assert_eq!(status_of(leader), Some(0));
    }

    #[test]
    fn errors_read_like_strace() {
        let null = std::fs::File::open("/dev/null").expect("open");
        let error = window_size(&null).expect_err("not a terminal").to_string();
        assert!(error.ends_with("</dev/null>, TIOCGWINSZ)"), "{error}");
        assert!(!is_background(&null));
        release_controlling_terminal(&null).expect("ENOTTY is fine");
    }
}
