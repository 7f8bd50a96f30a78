//! systemd-nspawn's command line on our engine: called as `spinney-nspawn` or `systemd-nspawn`, or as `spinney nspawn`
//! (docs/nspawn.md).
//!
//! | file | what it owns |
//! |---|---|
//! | [`options`] | which options there are, and what each is here |
//! | [`parse`] | a command line by the rules of getopt_long(3) |
//! | [`help`] | `--help` |
//! | [`wish`] | what the options wish for: settings, and the rest |
//! | [`environment`] | the environment variables |
//! | [`container`] | wish, image and files to one request of a supervisor |
//! | [`template`] | `--template=` |
//! | [`messages`] | what is said of a container, and the exit status |

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

mod container;
mod environment;
mod help;
mod messages;
mod options;
mod parse;
mod template;
mod wish;

use super::output::Output;
use super::refusal::{Message, Refusal};
use crate::host::Host;
use crate::machine::MachineHandle;
use crate::settings::{ConsoleMode, Payload};
use crate::supervisor::{self, gc};
use container::Container;
use messages::{EXIT_FAILURE, Messages};
use wish::Wish;

/// What we are called by those who want systemd-nspawn.
const NAMES: [&str; 2] = ["spinney-nspawn", "systemd-nspawn"];

/// A command or an operating system in a container, by systemd-nspawn's command line
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct NspawnArguments {
    /// As of systemd-nspawn(1); --help lists them
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    words: Vec<OsString>,
}

impl NspawnArguments {
    /// Runs it.
    pub fn perform(&self) -> u8 {
        main("spinney nspawn", &self.words, Instant::now())
    }
}

/// Whether a program called by this word is to be systemd-nspawn, and which name it goes by then.
pub(super) fn called_as(word: Option<&OsString>) -> Option<&'static str> {
    let name = Path::new(word?).file_name()?;
    NAMES.into_iter().find(|known| name == *known)
}

/// Runs a container by what follows the name of `program`; gives the exit status. `started` is when our process was.
pub(super) fn main(program: &'static str, words: &[OsString], started: Instant) -> u8 {
    let refused = |refusal| match refusal {
        Refusal::Display(text) => {
            Output::new(false).text(&text);
            0
        }
        Refusal::Error { message, hint } => {
            Output::called(program, false).error(&message, hint.as_deref());
            EXIT_FAILURE
        }
    };
    let line = parse::parse(words)
        .map_err(|error| Refusal::error(error.to_string(), format!("see {program} --help")));
    let asked = line.and_then(|line| {
        let wish = wish::wish(line, program)?;
        Ok((wish, environment::asked(|name| std::env::var_os(name))?))
    });
    let (wish, environment) = match asked {
        Ok(asked) => asked,
        Err(refusal) => return refused(refusal),
    };
    let output = Output::called(program, wish.quiet || environment.quiet);
    if !super::is_root() {
        output.error(&Message::new("Need to be root."), Some(&format!("sudo {program} ...")));
        return EXIT_FAILURE;
    }
    let done = match wish.cleanup {
        true => clean_up(wish),
        false => {
            container::prepare(wish, environment, started, output).map(|container| run(container, output))
        }
    };
    done.unwrap_or_else(refused)
}

/// Removes what a supervisor that was killed left of its container.
fn clean_up(wish: Wish) -> Result<u8, Refusal> {
    let name = container::name_of(&wish)?;
    let failed = |what: &str, error: &dyn std::error::Error| {
        let why = crate::sys::in_words(error);
        Err(Refusal::error(format!("cannot {what}: {why}"), "spinney gc shows what stays, and why"))
    };
    let host = match Host::probe() {
        Ok(host) => host,
        Err(error) => return failed("look at this host", &error),
    };
    match gc::collect_one(&name, &host.cgroup) {
        Ok(false) if MachineHandle::find(&name).is_ok_and(|machine| machine.is_alive()) => {
            Err(Refusal::error(
                format!("Container {name} is running, there is nothing to clean up."),
                format!("--cleanup is for what a killed one left behind; spinney terminate {name} ends it"),
            ))
        }
        Ok(_) => Ok(0),
        Err(error) => failed("clean up", &error),
    }
}

fn run(container: Container, output: Output) -> u8 {
    let Container { request, name, path, warnings, quiet } = container;
    let settings = &request.settings;
    let output = if quiet || settings.console == Some(ConsoleMode::Pipe) { output.quietly() } else { output };
    if !output.is_quiet() {
        warnings.iter().for_each(|warning| output.warning(warning));
    }
    let halts = matches!(settings.payload, Payload::Boot { .. });
    let mut messages = Messages { output, name, path, halts, spawned: false };
    let result = supervisor::run(request, &mut |event| messages.report(event));
    messages.end(&result)
}
