//! Processes of our own executable: verbs and workers, started in one way and waited for without holding up the loop.
//!
//! A child has nothing of ours but its streams: not what our own service manager has told us alone, and no signal blocked, as none
//! is here ([`super::daemon`]; the standard library passes a mask on). One that nobody has begun to wait for is ended when it is
//! dropped, as who wanted it was told that it is not done; all others go on whatever becomes of us.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};

use rustix::process::Pid;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::problem::{Kind, Problem};
use crate::sys::process::pidfd_open;
use crate::sys::readiness::watched;

/// What our own manager has told us alone (systemd.exec(5), sd_notify(3), dbus-daemon(1)).
const NOT_PASSED: [&str; 12] = [
    "CREDENTIALS_DIRECTORY",
    "DBUS_STARTER_ADDRESS",
    "DBUS_STARTER_BUS_TYPE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Our own executable, called `name` (argv[0]), which says what it is then.
pub fn command(name: &str) -> Command {
    // As it was when we were started, also where a newer one has taken its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).current_dir("/");
    for variable in NOT_PASSED {
        command.env_remove(variable);
    }
    command
}

/// A child that runs, or has ended and was not waited for.
#[derive(Debug)]
pub struct Child {
    /// `None` once it was waited for, or somebody else does.
    process: Option<Process>,
    pid: Pid,
    /// Somebody has begun to wait for it.
    heeded: bool,
}

#[derive(Debug)]
struct Process {
    child: std::process::Child,
    end: AsyncFd<OwnedFd>,
}

impl Child {
    /// Starts `command`.
    ///
    /// # Errors
    /// When there can be no further process, or none that could be waited for.
    pub fn spawn(command: &mut Command) -> Result<Self, Problem> {
        let mut child = command.spawn().map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        let pid = Pid::from_child(&child);
        // Our child cannot be reaped by anybody else: the number is its own.
        match pidfd_open(pid).and_then(watched) {
            Ok(end) => Ok(Self { process: Some(Process { child, end }), pid, heeded: false }),
            Err(error) => {
                // It has hardly begun, and is gone at once.
                let _ = child.kill();
                let _ = child.wait();
                Err(Problem::of(Kind::Failed, &error, None))
            }
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Its process.
    ///
    /// # Errors
    /// When we have too many fds.
    pub fn process(&self) -> Result<OwnedFd, Problem> {
        let gone = || Problem::new(Kind::Failed, "the process is gone");
        let end = self.process.as_ref().ok_or_else(gone)?.end.get_ref();
        end.try_clone().map_err(|error| Problem::of(Kind::Failed, &error, None))
    }

    /// Waits for its end.
    pub async fn over(&mut self) {
        self.heeded = true;
        if let Some(process) = &self.process {
            let _ = process.end.readable().await;
        }
    }

    /// Waits for its end, and gives what it ended with; `None` where that is not known.
    pub async fn ended(mut self) -> Option<ExitStatus> {
        self.over().await;
        let mut process = self.process.take()?;
        // Not `wait`: where the loop ends before it does, nobody waits.
        process.child.try_wait().ok().flatten()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take().filter(|_| !self.heeded) else { return };
        let _ = process.child.kill();
        // Where there is no loop any more, the host's PID 1 does it.
        if let Ok(handle) = Handle::try_current() {
            handle.spawn(async move {
                let _ = process.end.readable().await;
                let _ = process.child.try_wait();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::process::ends_within;

    fn sleep() -> Child {
        Child::spawn(Command::new("sleep").arg("600")).unwrap()
    }

    #[tokio::test]
    async fn who_is_waited_for_goes_on() {
        let mut child = sleep();
        let process = child.process().unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1), child.over()).await.is_err());
        drop(child);
        assert!(!ends_within(&process, Duration::ZERO).unwrap());
        crate::sys::process::pidfd_send_signal(&process, libc::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn who_is_not_is_ended_and_reaped() {
        let child = sleep();
        let (process, pid) = (child.process().unwrap(), child.pid());
        drop(child);
        let process = watched(process).unwrap();
        let _ = process.readable().await.unwrap();
        tokio::task::yield_now().await;
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn the_end_of_one() {
        let child = Child::spawn(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        assert_eq!(child.ended().await.and_then(|status| status.code()), Some(7));
    }

    #[test]
    fn what_is_not_passed() {
        let command = command("spinney");
        let removed = command.get_envs().filter(|(_, value)| value.is_none()).count();
        assert_eq!(removed, NOT_PASSED.len());
    }
}
