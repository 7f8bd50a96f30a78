//! `spinney start`: machines from images, in the background.

use std::ffi::OsString;
use std::time::Instant;

use serde::Serialize;

use super::{fail, named, start_services};
use crate::cli::detached::{Detached, Outcome, Until};
use crate::cli::invocation::{self, Invocation};
use crate::cli::limit_options::LimitOptions;
use crate::cli::network_options::NetworkOptions;
use crate::cli::output::Output;
use crate::cli::refusal::{Message, Refusal};
use crate::cli::{EXIT_FAILURE, require_root, run};
use crate::machine::schedule::{Needs, Schedule, Step};
use crate::machine::{Error, MachineHandle, autostart, find_image};
use crate::manager::systemd;
use crate::settings::MachineName;
use crate::supervisor::Request;
use crate::supervisor::background::Failure;

const EXAMPLES: &str = "\
An image is a directory in /etc/machines, /run/machines, /var/lib/machines, /var/lib/container, \
/usr/local/lib/machines or /usr/lib/machines; the first that has NAME wins.

Examples:
  spinney start web db           boot /var/lib/machines/web and db at once, return when both are ready
  spinney start --all-enabled    boot all that spinney enable has enabled, in the order that they need
  spinney start --json web       what came of it, as JSON

On a host with systemd and spinney@.service, and without options, it is the machine's service that is started.

With --all-enabled a machine that runs already is well, and what another one requires or wants is started with it. \
With names, one that runs already is an error.";

/// Start machines from their images, in the background
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct StartArguments {
    /// The machines
    #[arg(value_name = "NAME", required_unless_present = "all_enabled", conflicts_with = "all_enabled")]
    names: Vec<String>,

    /// Start all machines that are enabled, with those that they need
    #[arg(long)]
    all_enabled: bool,

    /// Return when each machine's PID 1 runs, not when the guest is ready
    #[arg(long)]
    no_wait: bool,

    /// Give a machine up, and kill it, when it is not ready after this time (default: 5min)
    #[arg(long, value_name = "TIME", conflicts_with = "no_wait")]
    timeout_ready: Option<String>,

    /// Limits of each machine
    #[command(flatten)]
    limits: LimitOptions,

    /// What each machine gets of the network
    #[command(flatten)]
    network: NetworkOptions,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,

    /// Print what came of each machine as JSON
    #[arg(long)]
    json: bool,
}

/// What came of one machine, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    name: String,
    /// `ready`, `started`, `running` (it was before), `failed`, `skipped`, `left` (still starting).
    result: &'static str,
    exit_status: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// Runs the verb, gives the exit status.
pub fn start(arguments: &StartArguments) -> u8 {
    let output = Output::new(arguments.quiet);
    if !require_root("start", "sudo spinney start NAME", output) {
        return EXIT_FAILURE;
    }
    let mut starter = Starter { arguments, output, reports: Vec::new() };
    let status = if arguments.is_plain() && systemd::has_units() {
        let done = starter.services();
        done.err().map(|error| {
            output.error(&error, Some(error.hint()));
            EXIT_FAILURE
        })
    } else {
        let done = starter.schedule().and_then(|schedule| starter.run(schedule));
        done.err().map(|error| fail(&error, output))
    };
    if arguments.json
        && let Err(error) = output.json(&starter.reports)
    {
        output.error(&error, Some("this is a fault in spinney"));
        return EXIT_FAILURE;
    }
    let failed = starter.reports.iter().map(|report| report.exit_status).find(|status| *status != 0);
    status.or(failed).unwrap_or(0)
}

impl StartArguments {
    /// Whether nothing is said of the machines that a service of theirs would not know.
    fn is_plain(&self) -> bool {
        let said = self.all_enabled || self.no_wait || self.timeout_ready.is_some();
        !said && self.limits.arguments().next().is_none() && self.network.arguments().is_empty()
    }
}

/// A run of the verb.
struct Starter<'a> {
    arguments: &'a StartArguments,
    output: Output,
    reports: Vec<Report>,
}

impl Starter<'_> {
    /// Has systemd start the services of the machines.
    fn services(&mut self) -> Result<(), systemd::Error> {
        let mut names = Vec::new();
        for name in &self.arguments.names {
            let checked = named(name).and_then(|name| match MachineHandle::find(&name) {
                Ok(_) => Err(Error::RunningAlready { name: name.to_string() }),
                Err(_) => find_image::find(&name).map(|_| name),
            });
            match checked {
                Ok(name) => names.push(name),
                Err(error) => self.refused(name, &error),
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        start_services::start(&names, self.output, |name, failure| match failure {
            None => self.report(name.as_str(), "ready", 0, None),
            Some(failure) => self.failed(name.as_str(), "failed", failure),
        })
    }

    /// What is to be started, and in which order. With names each is on its own, and a bad one does not stop the rest.
    fn schedule(&mut self) -> Result<Schedule, Error> {
        if self.arguments.all_enabled {
            if crate::host::systemd::is_pid1() {
                self.output.status(
                    "systemd runs this host: to start machines with it, have a unit run spinney start --all-enabled",
                );
            }
            let enabled = autostart::enabled()?;
            enabled.unknown.iter().for_each(|(name, error)| self.refused(name.as_str(), error));
            if enabled.machines.is_empty() && enabled.unknown.is_empty() {
                self.output.status("no machine is enabled; spinney enable NAME enables one");
            }
            // One whose settings are wrong says so when its turn comes, and only who requires it goes without.
            return Schedule::new(enabled.machines, |name| Ok(autostart::needs(name).unwrap_or_default()));
        }
        let mut names = Vec::new();
        for name in &self.arguments.names {
            match named(name) {
                Ok(name) => names.push(name),
                Err(error) => self.refused(name, &error),
            }
        }
        Schedule::new(names, |_| Ok(Needs::default()))
    }

    fn run(&mut self, mut schedule: Schedule) -> Result<(), Error> {
        let mut detached = Detached::new(self.output).map_err(Error::system("wait for machines"))?;
        let mut delayed: Vec<(Instant, MachineName)> = Vec::new();
        while !schedule.is_done() {
            for step in schedule.steps() {
                match step {
                    Step::Start(name, delay) => delayed.push((Instant::now() + delay, name)),
                    Step::Skip(name, missing) => self.skipped(&name, &missing),
                }
            }
            let now = Instant::now();
            let due: Vec<_> = delayed.extract_if(.., |(at, _)| *at <= now).collect();
            let mut moved = false;
            for (_, name) in due {
                if let Some(up) = self.start(&name, &mut detached)? {
                    schedule.finished(&name, up);
                    moved = true;
                }
            }
            if moved {
                continue;
            }
            let next = delayed.iter().map(|(at, _)| *at).min();
            for (name, outcome) in detached.wait(next).map_err(Error::system("wait for machines"))? {
                schedule.finished(&name, outcome.exit_status() == 0);
                self.outcome(&name, outcome);
            }
            if let Some(signal) = detached.interrupted() {
                let left = delayed.into_iter().map(|(_, name)| name).chain(schedule.waiting());
                left.for_each(|name| self.interrupted(&name, signal));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Starts one machine; says whether it is up where that is known at once.
    fn start(&mut self, name: &MachineName, detached: &mut Detached) -> Result<Option<bool>, Error> {
        if MachineHandle::find(name).is_ok() {
            if self.arguments.all_enabled {
                self.output.status(&format!("{name} is running already"));
                self.report(name.as_str(), "running", 0, None);
                return Ok(Some(true));
            }
            self.refused(name.as_str(), &Error::RunningAlready { name: name.to_string() });
            return Ok(Some(false));
        }
        match find_image::find(name) {
            Ok(tree) => match self.request(name, tree.into()) {
                Some(request) => {
                    let until = if self.arguments.no_wait { Until::Started } else { Until::Ready };
                    let started = detached.start(name.clone(), request, until);
                    started.map_err(Error::system("start the machine in the background"))?;
                    Ok(None)
                }
                None => Ok(Some(false)),
            },
            Err(error) => {
                self.refused(name.as_str(), &error);
                Ok(Some(false))
            }
        }
    }

    /// What `spinney run --detach -M NAME -D TREE` would ask for; tells what is wrong with it.
    fn request(&mut self, name: &MachineName, tree: OsString) -> Option<Request> {
        let mut line: Vec<OsString> = ["spinney", "run", "--detach"].map(OsString::from).into();
        line.extend(self.arguments.no_wait.then(|| "--no-wait".into()));
        let timeout = self.arguments.timeout_ready.as_deref();
        line.extend(timeout.map(|timeout| format!("--timeout-ready={timeout}").into()));
        line.extend(self.arguments.limits.arguments().map(OsString::from));
        line.extend(self.arguments.network.arguments().into_iter().map(OsString::from));
        line.extend([format!("--machine={name}").into(), "--directory".into(), tree]);
        let request = match invocation::parse(line) {
            Ok(Invocation::Run(invocation)) => run::prepare_by_name(&invocation, Instant::now())
                .map_err(|error| own_failure(&error, error.hint().as_deref())),
            Err(Refusal::Error { message, hint }) => Err(own_failure(&message, hint.as_deref())),
            Ok(Invocation::Verb(_)) | Err(Refusal::Display(_)) => return None,
        };
        let prepared = request.map_err(|failure| self.failed(name.as_str(), "failed", failure)).ok()?;
        prepared.warnings.iter().for_each(|warning| self.output.warning(warning));
        Some(prepared.request)
    }

    fn outcome(&mut self, name: &MachineName, outcome: Outcome) {
        let status = outcome.exit_status();
        let (result, failure) = match outcome {
            Outcome::Ready => ("ready", None),
            Outcome::Started => ("started", None),
            Outcome::Left(_) => ("left", None),
            Outcome::Failed(failure) => ("failed", Some(failure)),
        };
        self.report(name.as_str(), result, status, failure);
    }

    fn skipped(&mut self, name: &MachineName, missing: &MachineName) {
        let error =
            Message::new(format!("{name} is not started: it requires {missing}, which did not start"));
        self.failed(name.as_str(), "skipped", own_failure(&error, None));
    }

    fn interrupted(&mut self, name: &MachineName, signal: i32) {
        let error = Message::new(format!("{name} is not started: interrupted"));
        let exit_status = Outcome::Left(signal).exit_status();
        self.failed(name.as_str(), "skipped", Failure { exit_status, ..own_failure(&error, None) });
    }

    fn refused(&mut self, name: &str, error: &Error) {
        let failure = Failure::new(error, error.hint(), error.exit_status());
        self.failed(name, "failed", failure);
    }

    fn failed(&mut self, name: &str, result: &'static str, failure: Failure) {
        self.output.error(&failure, failure.hint.as_deref());
        self.report(name, result, failure.exit_status, Some(failure));
    }

    fn report(&mut self, name: &str, result: &'static str, exit_status: u8, failure: Option<Failure>) {
        self.reports.push(Report { name: name.to_owned(), result, exit_status, failure });
    }
}

fn own_failure(error: &dyn std::error::Error, hint: Option<&str>) -> Failure {
    Failure::new(error, hint.map(str::to_owned), EXIT_FAILURE)
}
