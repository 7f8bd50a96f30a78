//! A leader that has exec'd.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::process::Pid;

use crate::runtime::channel::{Heard, Message, Stage};
use crate::runtime::launch::Leader;
use crate::runtime::plan::MachinePlan;
use crate::sys::in_root::Root;
use crate::sys::process::{Ended, pidfd_send_signal, start_time, wait_for_end};

use super::console::Console;
use super::error::Error;
use super::notify::NotifyListener;

/// A leader that runs the payload.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// When it was started, in clock ticks since the host's boot.
    pub(super) started: u64,
    pub(super) notify: Option<NotifyListener>,
    /// The guest's root: all of it while it lives, its root file system even after.
    pub(super) root: Option<Root>,
    pub(super) since: Instant,
}

impl Running {
    /// Hears the leader out until it execs. One that fails is reaped.
    pub(super) fn hear(
        leader: Leader,
        plan: &MachinePlan,
        mut console: Option<&mut Console>,
    ) -> Result<Self, Error> {
        let mut notify = None;
        let mut failure = None;
        let mut executing = false;
        loop {
            match leader.channel.hear() {
                Ok(Heard::Message(Message::Notify, Some(socket))) => {
                    notify = Some(NotifyListener::new(socket))
                }
                Ok(Heard::Message(Message::Console, Some(master))) => {
                    if let Some(console) = console.as_mut()
                        && let Err(error) = console.replace_master(master)
                    {
                        failure = Some(Error::Console(error));
                        break;
                    }
                }
                Ok(Heard::Message(Message::Executing, _)) => executing = true,
                Ok(Heard::Failed(stage, text, errno)) => failure = Some(failed(plan, stage, text, errno)),
                Ok(Heard::Message(_, None) | Heard::Leader(_)) => {}
                Ok(Heard::End) => break,
                Err(error) => {
                    failure = Some(Error::System { action: "hear the leader", source: error });
                    break;
                }
            }
        }
        if failure.is_none() && !executing {
            failure =
                Some(Error::Leader { text: "the leader ended before it could run the payload".to_owned() });
        }
        if let Some(error) = failure {
            // It ends by itself, or never exec'd what would mind.
            let _ = pidfd_send_signal(&leader.pidfd, libc::SIGKILL);
            wait_for_end(leader.pid).map_err(Error::system("reap the leader"))?;
            return Err(error);
        }
        let root = Root::open(format!("/proc/{}/root", leader.pid.as_raw_nonzero())).ok();
        // Not reaped yet: the pid is its own.
        let started =
            start_time(leader.pid.as_raw_nonzero().get()).map_err(Error::system("look at the leader"))?;
        Ok(Self { pid: leader.pid, pidfd: leader.pidfd, started, notify, root, since: Instant::now() })
    }

    /// Reaps the leader, which has ended.
    pub(super) fn reap(&self) -> Result<Ended, Error> {
        wait_for_end(self.pid).map_err(Error::system("reap the leader"))
    }
}

fn failed(plan: &MachinePlan, stage: Stage, text: String, errno: Option<i32>) -> Error {
    match stage {
        Stage::Exec => {}
        Stage::Directory => {
            return Error::Directory { directory: plan.process.directory.clone(), text };
        }
        Stage::Processors => return Error::Processors { text },
        _ => return Error::Leader { text },
    }
    let program = plan.process.argv.first().cloned().unwrap_or_default();
    let not_found = matches!(errno, Some(libc::ENOENT | libc::ENOTDIR));
    let text = errno.map_or(text, |errno| rustix::io::Errno::from_raw_os_error(errno).to_string());
    Error::Exec { program: String::from_utf8_lossy(&program).into_owned(), text, not_found }
}
