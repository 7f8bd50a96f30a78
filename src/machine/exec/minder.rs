//! A process that outlives us to end a command whose caller was killed.
//!
//! The command dies with us by PR_SET_PDEATHSIG. That is not enough: execve(2) of a set-user-ID program (su, sudo) clears it,
//! and what the command started never had it. So this child of ours, on the host and out of the guest's sight, waits for
//! our end: when that comes without a word, it kills the command's session.

use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::PipeFlags;
use rustix::process::Pid;

use super::members::kill_session;
use crate::sys::files::write_all;
use crate::sys::fork::{close_from, exit_now};
use crate::sys::process::{
    CloneOptions, Cloned, Namespaces, clone_process, pidfd_open, pidfd_send_signal, wait_for_end,
};
use crate::sys::{SysResult, sys};

/// That process; ends and is reaped when dropped.
#[derive(Debug)]
pub(super) struct Minder {
    pid: Pid,
    lifeline: OwnedFd,
}

impl Minder {
    /// Starts one for `command`, a child of ours.
    ///
    /// # Errors
    /// When no process can be had.
    pub(super) fn start(command: Pid) -> SysResult<Self> {
        let (watched, lifeline) =
            sys("pipe2", rustix::pipe::pipe_with(PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned())?;
        let pidfd = pidfd_open(command)?;
        let options = CloneOptions { namespaces: Namespaces::empty(), sibling: false, cgroup: None };
        match clone_process(options)? {
            Cloned::Parent(pid) => Ok(Self { pid, lifeline }),
            Cloned::Child => watch(&watched, &pidfd, command),
        }
    }
}

impl Drop for Minder {
    fn drop(&mut self) {
        // It may have been killed.
        let _ = write_all(&self.lifeline, b".");
        let _ = wait_for_end(self.pid);
    }
}

fn watch(watched: &OwnedFd, pidfd: &OwnedFd, command: Pid) -> ! {
    // Whoever reads what the command writes must see its end, not ours: no stream stays open here but the pipe.
    let alone = sys("dup2", rustix::stdio::dup2_stdin(watched), || "0".to_owned())
        .and_then(|()| sys("dup2", rustix::stdio::dup2_stdout(pidfd), || "1".to_owned()))
        .and_then(|()| close_from(2));
    // Out of our group, whose signals are meant for us.
    let _ = rustix::process::setsid();
    let mut word = [0; 1];
    let told = alone.is_ok()
        && rustix::io::retry_on_intr(|| rustix::io::read(rustix::stdio::stdin(), &mut word)) != Ok(0);
    if !told && !is_another(rustix::stdio::stdout(), command) {
        kill_session(command);
    }
    exit_now(0)
}

/// Whether the number of the command, which died with our parent and may have been reaped by init since, is another process's
/// by now. As long as its session has processes it is nobody's.
fn is_another(pidfd: impl AsFd, command: Pid) -> bool {
    pidfd_send_signal(pidfd, 0).is_err() && pidfd_open(command).is_ok()
}
