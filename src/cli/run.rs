//! `spinney run`: arguments to settings, then the supervisor.

use std::io::IsTerminal;
use std::time::Instant;

use super::EXIT_FAILURE;
use super::arguments::RunArguments;
use super::detached::{self, Outcome, Until, Waiting};
use super::explain::{ExplainFormat, explain};
use super::invocation::RunInvocation;
use super::output::Output;
use super::progress::Progress;
use super::require_root;
use super::settings::{optional, settings};
use crate::settings::{
    ALL_CAPABILITIES, ConsoleMode, ConsoleRequest, Environment, LinkJournal, MachineSettings, Payload,
    ResolvConf, Resolved, ResourceLimit, SettingsError, SignalNumber, Timezone, ValueError, Volatile, Words,
    capability_names,
};
use crate::supervisor::{self, Request};
use crate::sys::SysError;

/// Runs a machine from start to end, gives the exit status. `started` is when our process was.
pub fn run(invocation: &RunInvocation, started: Instant) -> u8 {
    let output = Output::new(invocation.options.quiet);
    if let Some(words) = words_asked_for(&invocation.options) {
        output.text(&(words.join("\n") + "\n"));
        return 0;
    }
    let prepared = Environment::ours().map_err(SettingsError::Directory).and_then(|environment| {
        let settings = settings(invocation, &environment)?;
        Ok((in_background(&invocation.options, settings)?, explain_format(&invocation.options)?))
    });
    let (resolved, format) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            output.error(&error, error.hint());
            return EXIT_FAILURE;
        }
    };
    if !require_root("run", "sudo spinney run ...", output) {
        return EXIT_FAILURE;
    }
    for warning in &resolved.warnings {
        output.warning(warning);
    }
    let settings = resolved.settings;
    for warning in warnings(&settings) {
        output.warning(warning);
    }
    let boots = matches!(settings.payload, Payload::Boot { .. });
    let request = Request { settings, started, background: invocation.options.detach };
    let status = match format {
        Some(format) => explained(&request, format, output),
        None if request.background => return detached(request, boots, &invocation.options, output),
        None => {
            let progress = Progress::new(output, boots);
            supervisor::run(request, &mut |event| progress.report(event)).map(|outcome| outcome.exit_status)
        }
    };
    status.unwrap_or_else(|error| {
        output.failure(&error, error.console(), error.hint().as_deref());
        error.exit_status()
    })
}

/// Runs the machine in the background, and waits until it is up.
fn detached(request: Request, boots: bool, options: &RunArguments, output: Output) -> u8 {
    let progress = Progress::new(output, boots);
    // A command has nothing to be waited for but its start.
    let until = if boots && !options.no_wait { Until::Ready } else { Until::Started };
    let waited = supervisor::name_of(&request.settings).and_then(|name| {
        let mut machine = [Waiting::start(name.as_str(), request, progress, until).map_err(cannot_start)?];
        detached::wait(&mut machine, output).map_err(cannot_start)?;
        Ok(machine)
    });
    let [machine] = match waited {
        Ok(machine) => machine,
        Err(error) => {
            output.error(&error, error.hint().as_deref());
            return error.exit_status();
        }
    };
    let outcome = machine.outcome().map_or(EXIT_FAILURE, Outcome::exit_status);
    if outcome == 0 && (options.quiet || !std::io::stdout().is_terminal()) {
        output.text(&format!("{}\n", machine.name()));
    }
    outcome
}

fn cannot_start(source: SysError) -> supervisor::Error {
    supervisor::Error::System { action: "start the machine in the background", source }
}

/// In the background nobody's terminal is the console.
fn in_background(options: &RunArguments, mut resolved: Resolved) -> Result<Resolved, SettingsError> {
    let refuse = |problem: &str, hint: &str| {
        Err(SettingsError::Combination { problem: problem.to_owned(), hint: hint.to_owned() })
    };
    if !options.detach {
        return match options.no_wait {
            true => refuse("--no-wait goes with --detach only", "spinney run --detach --no-wait TREE"),
            false => Ok(resolved),
        };
    }
    let said = options.pipe || options.console.as_deref().is_some_and(|mode| mode != "passive");
    if said {
        return refuse(
            "a machine in the background has no terminal as its console",
            "leave --console= out; spinney attach NAME meets the console later",
        );
    }
    resolved.settings.console = Some(ConsoleMode::Passive);
    Ok(resolved)
}

/// Prints the plan instead of carrying it out.
fn explained(request: &Request, format: ExplainFormat, output: Output) -> Result<u8, supervisor::Error> {
    let plan = supervisor::explain(request)?;
    Ok(match explain(&plan, format, output) {
        Ok(()) => 0,
        Err(error) => {
            output.error(&error, Some("this is a fault in spinney"));
            EXIT_FAILURE
        }
    })
}

fn explain_format(options: &RunArguments) -> Result<Option<ExplainFormat>, SettingsError> {
    optional("--explain=", options.explain.as_deref(), |text| match text {
        "text" => Ok(ExplainFormat::Text),
        "json" => Ok(ExplainFormat::Json),
        _ => Err(ValueError::new(text, "is not known", "one of: text, json")),
    })
}

/// What goes worse than the user may think.
fn warnings(settings: &MachineSettings) -> Vec<&'static str> {
    let mut warnings = Vec::new();
    if matches!(settings.payload, Payload::Boot { .. }) && settings.console == Some(ConsoleMode::Pipe) {
        warnings.push("an init without /dev/console (--console=pipe) may not boot");
    }
    warnings
}

/// The words that an option takes, when its value is `help`.
fn words_asked_for(options: &RunArguments) -> Option<Vec<String>> {
    let asked = |value: &Option<String>| value.as_deref() == Some("help");
    let any_asked = |values: &[String]| values.iter().any(|value| value == "help");
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    if asked(&options.console) {
        Some(owned(ConsoleRequest::list()))
    } else if asked(&options.volatile) {
        Some(owned(Volatile::list()))
    } else if asked(&options.resolv_conf) {
        Some(owned(ResolvConf::list()))
    } else if asked(&options.timezone) {
        Some(owned(Timezone::list()))
    } else if asked(&options.link_journal) {
        Some(owned(LinkJournal::list()))
    } else if asked(&options.kill_signal) {
        Some(SignalNumber::names())
    } else if [&options.capability, &options.drop_capability, &options.ambient_capability]
        .into_iter()
        .any(|lists| any_asked(lists))
    {
        Some(owned(capability_names(ALL_CAPABILITIES)))
    } else if any_asked(&options.rlimit) {
        Some(ResourceLimit::names())
    } else {
        None
    }
}
