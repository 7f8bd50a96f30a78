//! The command line; the only room that prints.
//!
//! | file | what it owns |
//! |---|---|
//! | [`arguments`] | what can be said: verbs, options and their help |
//! | [`invocation`] | what was said: the verb, the tree, the command |
//! | [`refusal`] | what is wrong with it, as one line and a hint |
//! | [`settings`] | arguments to [`crate::settings::MachineSettings`] |
//! | [`limit_options`] | the options that limit a machine |
//! | [`nspawn`] | systemd-nspawn's command line |
//! | [`run`] | `spinney run` |
//! | `spinneyd` | the manager, called by its own name |
//! | [`reference`] | images by what they were pulled by |
//! | [`detached`] | waiting for machines in the background |
//! | [`progress`] | what a machine does, as status lines |
//! | [`explain`] | the plan of a machine, printed |
//! | [`top`] | `spinney top`: samples, keys, view, picture, terminal |
//! | [`copying`] | what copies in and out have in common |
//! | [`transfer_bar`] | bytes on their way |
//! | [`transferring`] | what the verbs that move images have in common |
//! | [`logs`] | showing and following logs |
//! | [`completion`] | what may come next on a command line, for shells |
//! | [`manual`] | man pages |
//! | [`verb`] | which verbs there are |
//! | [`verbs`] | the verbs of machines, a file each |
//! | [`image_verbs`] | the verbs of images, a file each |
//! | [`output`] | everything that is printed |

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

pub mod arguments;
pub mod completion;
pub mod copying;
pub mod detached;
pub mod explain;
pub mod image_verbs;
pub mod invocation;
pub mod limit_options;
pub mod logs;
pub mod manual;
mod network_options;
pub mod nspawn;
pub mod output;
pub mod progress;
pub mod properties;
pub mod reference;
pub mod refusal;
pub mod run;
pub mod settings;
mod spinneyd;
pub mod top;
pub mod transfer_bar;
pub mod transferring;
pub mod verb;
pub mod verbs;

use crate::manager::worker;
use crate::network::ports::proxy;
use crate::settings::handed;
use invocation::Invocation;
use output::Output;
use refusal::Refusal;

/// Exit status of our own failures; below it, and at 126 and above, the payload speaks (docker-run(1), env(1)).
pub const EXIT_FAILURE: u8 = 125;

/// Runs the personality that the executable was called by: `spinney`, `spinneyd`, systemd-nspawn, or one of the processes that
/// these start.
pub fn main() -> ExitCode {
    let started = Instant::now();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if proxy::is_called(&arguments) {
        return ExitCode::from(proxy::main(&arguments));
    }
    if worker::is_called(&arguments) {
        return ExitCode::from(worker::main(&arguments));
    }
    if spinneyd::is_called(&arguments) {
        return ExitCode::from(spinneyd::main(arguments));
    }
    if let Some(program) = nspawn::called_as(arguments.first()) {
        return ExitCode::from(nspawn::main(program, &arguments[1..], started));
    }
    let arguments = handed::taken(arguments, std::io::stdin()).map_err(|error| {
        Refusal::error(error.to_string(), "spinneyd hands them over; others give them as words")
    });
    let status = match arguments.and_then(invocation::parse) {
        Ok(Invocation::Run(invocation)) => run::run(&invocation, started),
        Ok(Invocation::Verb(verb)) => verb.perform(),
        Err(Refusal::Display(text)) => {
            Output::new(false).text(&text);
            0
        }
        Err(Refusal::Error { message, hint }) => {
            Output::new(false).error(&message, hint.as_deref());
            EXIT_FAILURE
        }
    };
    ExitCode::from(status)
}

/// Whether we are root.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether we are root; if not, says that `verb` needs it, and `line`, the way out.
fn require_root(verb: &str, line: &str, output: Output) -> bool {
    if is_root() {
        return true;
    }
    let error = refusal::Message::new(format!("permission denied: spinney {verb} needs root"));
    output.error(&error, Some(line));
    false
}
