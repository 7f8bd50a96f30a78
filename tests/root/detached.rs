//! A machine in the background of the host, known by its name alone.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use spinney::supervisor::state::State;
use spinney::sys::process::{pidfd_open, pidfd_send_signal};

use crate::command::{Ended, PATIENCE, run};
use crate::harness::Context;
use crate::machine::{run_inside, state_of};

/// A machine that `spinney run --detach` has started; it ends when dropped.
pub struct Detached {
    pub name: String,
    supervisor: OwnedFd,
}

impl Detached {
    /// Boots `tree` on a throw-away layer with `options`, and waits until it is ready.
    pub fn start(context: &Context, tree: &Path, options: &[&str]) -> Result<Self, String> {
        Self::start_as(context, &context.machine_name(), tree, options, &[])
    }

    /// The same, with a name, and with arguments after the tree.
    pub fn start_as(
        context: &Context,
        name: &str,
        tree: &Path,
        options: &[&str],
        rest: &[&str],
    ) -> Result<Self, String> {
        let mut command = context.spinney();
        command.args(["run", "-d", "-x", "-M", name]).args(options).arg(tree).args(rest);
        let ended = run(&mut command);
        match ended.status {
            0 => Self::find(name),
            _ => Err(format!("{command:?}: {ended:#?}")),
        }
    }

    /// Takes charge of a machine that something has started.
    pub fn find(name: &str) -> Result<Self, String> {
        let pid = Pid::from_raw(state_of(name)?.supervisor).ok_or("no supervisor")?;
        let supervisor = pidfd_open(pid).map_err(|error| error.to_string())?;
        Ok(Self { name: name.to_owned(), supervisor })
    }

    /// Its state file.
    pub fn state(&self) -> Result<State, String> {
        state_of(&self.name)
    }

    /// Runs a shell command in it, as its root.
    pub fn shell(&self, script: &str) -> Result<Ended, String> {
        run_inside(&self.state()?, script)
    }

    /// The stdout of a shell command that must end well, without the last newline.
    pub fn says(&self, script: &str) -> Result<String, String> {
        let ended = self.shell(script)?;
        match ended.status {
            0 => Ok(ended.stdout.trim_end().to_owned()),
            _ => Err(format!("{script}: {ended:#?}")),
        }
    }

    /// Sends `signal` to its supervisor.
    pub fn signal(&self, signal: i32) {
        // It may have ended.
        let _ = pidfd_send_signal(&self.supervisor, signal);
    }

    /// Waits for the end of its supervisor; says whether it came.
    pub fn ended(&self, patience: Duration) -> bool {
        let timeout =
            Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: patience.subsec_nanos().into() };
        poll(&mut [PollFd::new(&self.supervisor, PollFlags::IN)], Some(&timeout)) == Ok(1)
    }

    /// What its supervisor has logged.
    pub fn log(&self) -> String {
        let path = format!("/var/log/spinney/{}/supervisor.log", self.name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{path}: {error}"))
    }

    /// Waits until its state is as `wanted` has it.
    pub fn wait_for(&self, wanted: impl Fn(&State) -> bool) -> Result<State, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.state();
            match state {
                Ok(state) if wanted(&state) => return Ok(state),
                _ if Instant::now() > deadline => {
                    return Err(format!("it never comes: {state:?}\n{}", self.log()));
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Tells it to power off and waits.
    pub fn stop(self) -> Result<(), String> {
        self.signal(libc::SIGTERM);
        if self.ended(PATIENCE) { Ok(()) } else { Err(format!("{} does not stop", self.name)) }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if self.ended(Duration::ZERO) {
            return;
        }
        // Twice tells it to kill the machine and to clean up.
        self.signal(libc::SIGTERM);
        self.signal(libc::SIGINT);
        if !self.ended(PATIENCE) {
            self.signal(libc::SIGKILL);
        }
    }
}
