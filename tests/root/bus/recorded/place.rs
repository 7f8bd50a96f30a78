//! Whose daemons answer, and whose machines they are: systemd's, in the VM, or ours.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::bus::fixture::Bus;
use crate::command::{PATIENCE, Process, run};
use crate::harness::{Context, Stop, TestResult};
use crate::machine::Machine;

/// Set where systemd's daemons are the ones that are asked.
const OF_SYSTEMD: &str = "SPINNEY_RECORDED";

/// Whether they are.
pub fn of_systemd() -> bool {
    std::env::var_os(OF_SYSTEMD).is_some()
}

/// Whose they are.
pub enum Place {
    /// systemd-machined, systemd-importd and systemd-nspawn, on the system's own bus.
    Systemd,
    /// Ours, on a bus of the test's own.
    Ours(Bus, Process),
}

impl Place {
    pub fn enter(context: &Context) -> Result<Self, Stop> {
        if !of_systemd() {
            let bus = Bus::start(context)?;
            let manager = bus.manager(&[])?;
            return Ok(Self::Ours(bus, manager));
        }
        // It numbers transfers from its start on.
        run(Command::new("systemctl").args(["stop", "systemd-importd.service"])).ok()?;
        Ok(Self::Systemd)
    }

    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(..))
    }

    /// `program`, a client of the daemons.
    pub fn command(&self, program: &str) -> Command {
        match self {
            Self::Ours(bus, _) => bus.command(program),
            Self::Systemd => {
                let mut command = Command::new(program);
                let environment = [("SYSTEMD_PAGER", ""), ("SYSTEMD_COLORS", "0"), ("LC_ALL", "C")];
                command.envs(environment).stdin(Stdio::null());
                command
            }
        }
    }

    /// Boots `tree`, so that it is the same machine wherever it is: with a network of its own that has nothing but `lo`, and the
    /// host's user IDs.
    pub fn boot(&self, context: &Context, name: &str, tree: &Path, ephemeral: bool) -> Machine {
        match self {
            Self::Ours(..) => {
                let mut command = context.spinney();
                command.args(["run", "-M", name, "--console=read-only", "--notify-ready"]);
                command.args(["--private-network", "--private-users=no"]);
                command.args(ephemeral.then_some("-x")).arg(tree);
                Machine::spawn(context, name, command)
            }
            Self::Systemd => {
                // An init that is not systemd says nothing of its being ready, and is powered off by a signal of its own.
                let notifies = tree.join("usr/lib/systemd/systemd").exists();
                let mut command = self.command("systemd-nspawn");
                command.args(["--quiet", "--boot", "--machine", name, "--console=read-only"]);
                command.args([
                    "--private-network",
                    "--resolv-conf=off",
                    "--timezone=off",
                    "--link-journal=no",
                ]);
                command.arg(format!("--notify-ready={}", if notifies { "yes" } else { "no" }));
                command.args((!notifies).then_some("--kill-signal=SIGUSR2"));
                command.args(ephemeral.then_some("--volatile=overlay")).arg("--directory").arg(tree);
                Machine::spawn(context, name, command)
            }
        }
    }

    pub fn over(self) -> TestResult {
        if let Self::Ours(_bus, mut manager) = self {
            manager.signal(rustix::process::Signal::TERM.as_raw());
            manager.wait(PATIENCE).ok_or("the manager does not end")?;
        }
        Ok(())
    }
}
