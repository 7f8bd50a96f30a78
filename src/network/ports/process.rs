//! The proxy as its supervisor has it: started, told things, ended.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::settings::network::Protocol;
use crate::sys::files::open_at;
use crate::sys::fork::{exit_now, fork, pass_as};
use crate::sys::network;
use crate::sys::pipe::{do_not_block, wait_for_any};
use crate::sys::process::{
    close_on_exec_from, die_with_parent, execute, pidfd_open, pidfd_send_signal, wait_for_end,
};
use crate::sys::socket::{message_pair, receive, send};
use crate::sys::{FdPath, SysError, SysResult, sys};

use super::message::{MOST_FDS, Order, STOPPED, Target};
use super::proxy::{CHANNEL, PERSONALITY, SOCKETS};

/// How long it may take to free a port: it has nothing else to do. What hangs is ended, which frees it too.
const PATIENCE: Duration = Duration::from_millis(250);

/// A proxy that was started. Dropped, it is ended, and with it all that it serves.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    channel: OwnedFd,
    /// Orders that the channel had no room for, with their sockets; in this order.
    pending: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    pub(super) started: Instant,
}

impl Process {
    /// Starts one that makes its connections in the network namespace `namespace`, by default in ours, as `id`; to sockets of
    /// the file system too if `sockets`.
    ///
    /// # Errors
    /// When there can be no process.
    pub(super) fn start(
        machine: &str,
        namespace: Option<BorrowedFd<'_>>,
        id: u32,
        sockets: bool,
    ) -> SysResult<Self> {
        let (ours, theirs) = message_pair()?;
        do_not_block(&ours)?;
        let supervisor = rustix::process::getpid();
        let mut theirs = Some(theirs);
        let mut words = vec![PERSONALITY.to_owned(), machine.to_owned(), id.to_string()];
        words.extend(sockets.then(|| SOCKETS.to_owned()));
        let child = || match theirs.take() {
            Some(channel) => become_proxy(&words, namespace, supervisor, channel),
            None => i32::from(super::EXIT_FAILURE),
        };
        let pid = fork(child)?;
        let pidfd = match pidfd_open(pid) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                // Ours, and not waited for yet: the pid is its own.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                let _ = wait_for_end(pid);
                return Err(error);
            }
        };
        Ok(Self { pid, pidfd, channel: ours, pending: VecDeque::new(), started: Instant::now() })
    }

    /// What says that it has ended, or hears more.
    pub(super) fn interest(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let hears = (!self.pending.is_empty()).then_some((self.channel.as_fd(), PollFlags::OUT));
        std::iter::once((self.pidfd.as_fd(), PollFlags::IN)).chain(hears)
    }

    /// Tells it what it has not been told yet, as far as it hears us.
    ///
    /// # Errors
    /// EPIPE when it has ended.
    pub(super) fn go_on(&mut self) -> SysResult<()> {
        while let Some((text, fds)) = self.pending.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match send(&self.channel, text, &fds) {
                Ok(()) => drop(self.pending.pop_front()),
                Err(error) if error.errno() == Errno::AGAIN => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        let mut polled = [rustix::event::PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::event::poll(&mut polled, Some(&rustix::time::Timespec::default()))
            .is_ok_and(|ready| ready > 0)
    }

    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Has it serve `sockets`.
    ///
    /// # Errors
    /// EPIPE when it has ended.
    pub(super) fn serve(
        &mut self,
        group: u32,
        protocol: Protocol,
        to: &Target,
        sockets: &[OwnedFd],
    ) -> SysResult<()> {
        for (index, sockets) in sockets.chunks(MOST_FDS).enumerate() {
            let to = match to {
                Target::Inet(addresses, port) => {
                    let before = u16::try_from(index * MOST_FDS).unwrap_or(0);
                    Target::Inet(addresses.clone(), port.wrapping_add(before))
                }
                Target::Unix(path) => Target::Unix(path.clone()),
            };
            let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
            self.tell(&Order::Serve { group, protocol, to }, &fds)?;
        }
        Ok(())
    }

    /// Has it serve `group` no more, and waits until it does not.
    ///
    /// # Errors
    /// As [`Process::serve`]; ETIME when it does not answer.
    pub(super) fn stop(&mut self, group: u32) -> SysResult<()> {
        self.tell(&Order::Stop { group }, &[])?;
        let deadline = Instant::now() + PATIENCE;
        let mut answer = [0];
        loop {
            match receive(&self.channel, &mut answer)? {
                Some(message) if message.length == 1 && answer == [STOPPED] => return Ok(()),
                Some(_) => return Err(SysError::new("recvmsg", "the proxy", Errno::PIPE)),
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SysError::new("recvmsg", "the proxy", Errno::TIME));
            }
            let room = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            wait_for_any([(self.channel.as_fd(), PollFlags::IN | room)], Some(left))?;
            self.go_on()?;
        }
    }

    /// Gives it an order.
    ///
    /// # Errors
    /// As [`Process::serve`].
    pub(super) fn tell(&mut self, order: &Order, fds: &[BorrowedFd<'_>]) -> SysResult<()> {
        let text = serde_json::to_vec(order)
            .map_err(|_| SysError::new("sendmsg", "an order as JSON", Errno::INVAL))?;
        if self.pending.is_empty() {
            match send(&self.channel, &text, fds) {
                Err(error) if error.errno() == Errno::AGAIN => {}
                sent => return sent,
            }
        }
        let clone = |fd: &BorrowedFd<'_>| fd.try_clone_to_owned();
        let fds: std::io::Result<Vec<OwnedFd>> = fds.iter().map(clone).collect();
        let fds = fds.map_err(|_| SysError::new("fcntl", "F_DUPFD_CLOEXEC", Errno::MFILE))?;
        self.pending.push_back((text, fds));
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is only waited for.
        let _ = pidfd_send_signal(&self.pidfd, libc::SIGKILL);
        let _ = wait_for_end(self.pid);
    }
}

/// The child's part; comes back only when it cannot be.
fn become_proxy(
    words: &[String],
    namespace: Option<BorrowedFd<'_>>,
    supervisor: Pid,
    channel: OwnedFd,
) -> i32 {
    let execution = || -> SysResult<()> {
        die_with_parent()?;
        if rustix::process::getppid() != Some(supervisor) {
            exit_now(0);
        }
        if let Some(namespace) = namespace {
            network::join(namespace)?;
        }
        let null = open_at(CWD, "/dev/null", OFlags::RDWR, Mode::empty())?;
        let describe = || FdPath::of(&null).to_string();
        sys("dup2", rustix::stdio::dup2_stdin(&null), describe)?;
        sys("dup2", rustix::stdio::dup2_stdout(&null), describe)?;
        sys("dup2", rustix::stdio::dup2_stderr(&null), describe)?;
        pass_as(channel, CHANNEL)?;
        close_on_exec_from(CHANNEL.unsigned_abs() + 1)?;
        let words: Vec<CString> =
            words.iter().map(|text| CString::new(text.as_str()).unwrap_or_default()).collect();
        Err(execute(c"/proc/self/exe", &words, &[]))
    };
    drop(execution());
    i32::from(super::EXIT_FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork::fork_from_test;

    #[test]
    fn orders_wait_for_who_does_not_hear() {
        const MANY: u32 = 2000;
        let (ours, theirs) = message_pair().unwrap();
        [&ours, &theirs].into_iter().for_each(|end| do_not_block(end).unwrap());
        let pid = fork_from_test(|| {
            std::thread::sleep(Duration::from_secs(60));
            0
        });
        let pid = pid.unwrap();
        let pidfd = pidfd_open(pid).unwrap();
        let mut process =
            Process { pid, pidfd, channel: ours, pending: VecDeque::new(), started: Instant::now() };
        let null = open_at(CWD, "/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        for group in 0..MANY {
            process.tell(&Order::Stop { group }, &[null.as_fd()][..usize::from(group % 100 == 0)]).unwrap();
        }
        assert!(!process.pending.is_empty());
        assert_eq!(process.interest().count(), 2);
        let (mut heard, mut buffer) = (0, [0; 256]);
        while heard < MANY {
            while let Some(message) = receive(&theirs, &mut buffer).unwrap() {
                let order: Order = serde_json::from_slice(&buffer[..message.length]).unwrap();
                assert_eq!(order, Order::Stop { group: heard });
                assert_eq!(message.fds.len(), usize::from(heard % 100 == 0), "{heard}");
                heard += 1;
            }
            process.go_on().unwrap();
        }
        assert_eq!(process.interest().count(), 1);
    }
}
