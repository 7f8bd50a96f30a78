//! `spinney run`: arguments to settings, then the supervisor.

use std::time::Instant;

use super::EXIT_FAILURE;
use super::arguments::RunArguments;
use super::detached;
use super::explain::{ExplainFormat, explain};
use super::invocation::RunInvocation;
use super::output::Output;
use super::progress::Progress;
use super::require_root;
use super::settings::{Environment, SettingsError, optional, settings};
use super::verbs::fail;
use crate::machine;
use crate::settings::{
    ALL_CAPABILITIES, ConsoleMode, ConsoleRequest, LinkJournal, MachineSettings, Payload, ResolvConf,
    ResourceLimit, SignalNumber, Timezone, ValueError, Volatile, Words, capability_names,
};
use crate::supervisor::{self, Request};

/// Runs a machine from start to end, gives the exit status. `started` is when our process was.
pub fn run(invocation: &RunInvocation, started: Instant) -> u8 {
    let output = Output::new(invocation.options.quiet);
    if let Some(words) = words_asked_for(&invocation.options) {
        output.text(&(words.join("\n") + "\n"));
        return 0;
    }
    let prepared =
        request(invocation, started).and_then(|request| Ok((request, explain_format(&invocation.options)?)));
    let (mut request, format) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            output.error(&error, error.hint());
            return EXIT_FAILURE;
        }
    };
    if !require_root("run", "sudo spinney run ...", output) {
        return EXIT_FAILURE;
    }
    if let Err(error) = find_image(invocation, &mut request.settings) {
        return fail(&error, output);
    }
    give_tree_a_name(&mut request.settings);
    for warning in warnings(&request.settings) {
        output.warning(warning);
    }
    let boots = matches!(request.settings.payload, Payload::Boot { .. });
    let status = match format {
        Some(format) => explained(&request, format, output),
        None if request.background => return detached::run(request, &invocation.options, output),
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

/// What `invocation` asks of a supervisor. `started` is when it was asked.
pub(super) fn request(invocation: &RunInvocation, started: Instant) -> Result<Request, SettingsError> {
    let environment = Environment::ours().map_err(SettingsError::Directory)?;
    let settings = detached::in_background(&invocation.options, settings(invocation, &environment)?)?;
    Ok(Request { settings, started, background: invocation.options.detach })
}

/// A TREE without a slash, where there is no such directory, is the name of an image.
fn find_image(invocation: &RunInvocation, settings: &mut MachineSettings) -> Result<(), machine::Error> {
    if !invocation.may_be_image || settings.tree.exists() {
        return Ok(());
    }
    let Some(name) = invocation.tree.to_str().and_then(|name| name.parse().ok()) else { return Ok(()) };
    match machine::find_image::find(&name) {
        Ok(tree) => settings.tree = tree,
        // Then it was meant as a directory, and the supervisor says that it is not there.
        Err(machine::Error::NoImage { nearest: None, .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// `..` has no name to call the machine by. A tree that is not there is the supervisor's to complain about.
#[allow(clippy::disallowed_methods, reason = "the user's own path, before anything is opened")]
fn give_tree_a_name(settings: &mut MachineSettings) {
    if settings.tree.file_name().is_none()
        && let Ok(tree) = std::fs::canonicalize(&settings.tree)
    {
        settings.tree = tree;
    }
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
