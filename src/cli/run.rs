//! `spinney run`: arguments to settings, then the supervisor.

use super::EXIT_FAILURE;
use super::arguments::RunArguments;
use super::invocation::RunInvocation;
use super::output::Output;
use super::require_root;
use super::settings::{Environment, SettingsError, optional, settings};
use crate::settings::{
    ALL_CAPABILITIES, ConsoleMode, ConsoleRequest, LinkJournal, MachineSettings, Payload, ResolvConf,
    ResourceLimit, SignalNumber, Timezone, ValueError, Volatile, Words, capability_names,
};
use crate::supervisor::{self, ExplainFormat};

/// Runs a machine from start to end, gives the exit status.
pub fn run(invocation: &RunInvocation) -> u8 {
    let output = Output::new(invocation.options.quiet);
    if let Some(words) = words_asked_for(&invocation.options) {
        output.text(&(words.join("\n") + "\n"));
        return 0;
    }
    let prepared = Environment::ours().map_err(SettingsError::Directory).and_then(|environment| {
        Ok((settings(invocation, &environment)?, explain_format(&invocation.options)?))
    });
    let (mut settings, explain) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            output.error(&error, error.hint());
            return EXIT_FAILURE;
        }
    };
    if !require_root("run", "sudo spinney run ...", output) {
        return EXIT_FAILURE;
    }
    // `..` has no name to call the machine by. A tree that is not there is the supervisor's to complain about.
    if settings.tree.file_name().is_none()
        && let Ok(tree) = std::fs::canonicalize(&settings.tree)
    {
        settings.tree = tree;
    }
    for warning in warnings(&settings) {
        output.warning(warning);
    }
    match supervisor::run(supervisor::Request { settings, quiet: invocation.options.quiet, explain }) {
        Ok(outcome) => outcome.exit_status,
        Err(error) => {
            output.error(&error, error.hint().as_deref());
            error.exit_status()
        }
    }
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
