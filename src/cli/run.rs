//! `spinney run`: arguments to settings, then the supervisor.

use std::path::PathBuf;
use std::time::Instant;

use super::EXIT_FAILURE;
use super::arguments::RunArguments;
use super::detached;
use super::explain::{ExplainFormat, explain};
use super::invocation::RunInvocation;
use super::output::Output;
use super::progress::Progress;
use super::reference;
use super::require_root;
use super::settings::{asked, optional};
use super::verbs::explain::planned;
use super::verbs::fail;
use crate::image::Image;
use crate::machine;
use crate::settings::{
    ALL_CAPABILITIES, ConsoleMode, ConsoleRequest, Environment, LinkJournal, MachineName, Payload,
    ResolvConf, Resolved, ResourceLimit, SettingsError, SignalNumber, Slice, Timezone, ValueError, Volatile,
    Words, capability_names, machine_settings,
};
use crate::supervisor::{self, Ending, KeepUnit, Register, Request};

/// Runs a machine from start to end, gives the exit status. `started` is when our process was.
pub fn run(invocation: &RunInvocation, started: Instant) -> u8 {
    let output = Output::new(invocation.options.quiet);
    if let Some(words) = words_asked_for(&invocation.options) {
        output.text(&(words.join("\n") + "\n"));
        return 0;
    }
    if let Err(status) = have_image(invocation, output) {
        return status;
    }
    let prepared = prepare(invocation, started)
        .and_then(|prepared| Ok((prepared, explain_format(invocation.options.explain.as_deref())?)));
    let (prepared, format) = match prepared {
        Ok(prepared) => prepared,
        // Who may not read the files will hear the same of the machine.
        Err(machine::Error::Settings(SettingsError::File { .. }))
            if !require_root("run", "sudo spinney run ...", output) =>
        {
            return EXIT_FAILURE;
        }
        Err(error) => return fail(&error, output),
    };
    if let Some(format) = format {
        return explained(prepared, format, output);
    }
    if !require_root("run", "sudo spinney run ...", output) {
        return EXIT_FAILURE;
    }
    let Prepared { request, warnings, note } = prepared;
    warnings.iter().for_each(|warning| output.warning(warning));
    if let Some(note) = note {
        output.status(&note);
    }
    let boots = matches!(request.settings.payload, Payload::Boot { .. });
    if invocation.options.detach {
        return detached::run(request, &invocation.options, output);
    }
    let progress = Progress::new(output, boots);
    let status = supervisor::run(request, &mut |event| progress.report(event));
    status.map(|outcome| outcome.exit_status).unwrap_or_else(|error| {
        output.failure(&error, error.console(), error.hint().as_deref());
        error.exit_status()
    })
}

/// What is to be run, and what is to be said before.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) request: Request,
    pub(super) warnings: Vec<String>,
    /// What becomes of changes.
    pub(super) note: Option<String>,
}

/// Pulls what is asked for by reference and is not here, unless it is only to be explained.
fn have_image(invocation: &RunInvocation, output: Output) -> Result<(), u8> {
    let Some(reference) = reference::of(invocation).filter(|_| invocation.options.explain.is_none()) else {
        return Ok(());
    };
    if !require_root("run", "sudo spinney run ...", output) {
        return Err(EXIT_FAILURE);
    }
    let here = reference::image(reference).and_then(|image| match image {
        Some(_) => Ok(()),
        None => reference::pull(reference, invocation.options.quiet, output),
    });
    here.map_err(|error| fail(&error, output))
}

/// What `invocation`, with the settings files of its machine, asks of a supervisor. `started` is when it was asked.
pub(super) fn prepare(invocation: &RunInvocation, started: Instant) -> Result<Prepared, machine::Error> {
    prepared(invocation, started, false)
}

/// The same, where the tree was found by the machine's name.
pub(super) fn prepare_by_name(
    invocation: &RunInvocation,
    started: Instant,
) -> Result<Prepared, machine::Error> {
    prepared(invocation, started, true)
}

fn prepared(invocation: &RunInvocation, started: Instant, by_name: bool) -> Result<Prepared, machine::Error> {
    let environment = Environment::ours().map_err(SettingsError::Directory)?;
    let mut asked = asked(invocation)?;
    asked.by_name = by_name;
    let pulled = match reference::of(invocation) {
        Some(reference) => Some(
            reference::image(reference)?
                .ok_or_else(|| machine::Error::NotHere { reference: reference.to_owned() })?,
        ),
        None => None,
    };
    if let Some(image) = &pulled {
        asked.tree.clone_from(&image.path);
        asked.by_name = true;
    } else if let Some((name, tree)) = find_image(invocation, &environment)? {
        asked.tree = tree;
        asked.by_name = true;
        // Its tree may be called otherwise.
        asked.machine.get_or_insert(name);
    }
    let mut resolved = machine_settings(&asked, &environment)?;
    let note = pulled.and_then(|image| throw_away(&mut resolved, &image));
    let Resolved { settings, provenance, mut warnings } =
        detached::in_background(&invocation.options, resolved)?;
    if matches!(settings.payload, Payload::Boot { .. }) && settings.console == Some(ConsoleMode::Pipe) {
        warnings.push("an init without /dev/console (--console=pipe) may not boot".to_owned());
    }
    let keep_unit = if invocation.options.keep_unit { KeepUnit::Always } else { KeepUnit::default() };
    let background = invocation.options.detach || invocation.options.keep_unit;
    let register = register(invocation.options.register.as_deref())?;
    let slice: Option<Slice> = optional("--slice=", invocation.options.slice.as_deref(), str::parse)?;
    warnings.extend(slice.as_ref().and_then(|slice| supervisor::no_scope(slice, register, keep_unit)));
    let (slice, ending) = (slice.unwrap_or_default(), Ending::Judged);
    let request = Request { settings, provenance, started, background, keep_unit, register, slice, ending };
    Ok(Prepared { request, warnings, note })
}

/// What the option says, or else the environment.
fn register(option: Option<&str>) -> Result<Register, SettingsError> {
    optional("--register=", option, str::parse)?.map_or_else(register_of_environment, Ok)
}

/// What the environment says, for all machines of a job of CI.
///
/// # Errors
/// When it is nothing that `--register=` takes.
pub(super) fn register_of_environment() -> Result<Register, SettingsError> {
    const VARIABLE: &str = "SPINNEY_REGISTER";
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(Register::default()) };
    text.to_string_lossy().parse().map_err(|error: ValueError| {
        let problem = format!("bad value for ${VARIABLE}: {error}");
        SettingsError::Combination { problem, hint: error.hint().to_owned() }
    })
}

/// What was pulled stays as it was pulled, for all that run it, unless the user says otherwise.
fn throw_away(resolved: &mut Resolved, image: &Image) -> Option<String> {
    let Resolved { settings, provenance, .. } = resolved;
    let said = settings.read_only
        || settings.volatile != Volatile::No
        || provenance.is_given("machine", "ephemeral");
    if said {
        return None;
    }
    settings.ephemeral = true;
    provenance.decide("machine", "ephemeral", "yes", "(a pulled image)");
    Some(format!(
        "changes are thrown away with the machine; spinney clone {} NAME makes an image that keeps them",
        image.name
    ))
}

/// A TREE without a slash, where there is no such directory, is the name of an image.
fn find_image(
    invocation: &RunInvocation,
    environment: &Environment,
) -> Result<Option<(MachineName, PathBuf)>, machine::Error> {
    if invocation.by_name {
        let name = invocation.tree.to_str().unwrap_or_default();
        let name: MachineName = name.parse().map_err(|source| machine::Error::Name { source })?;
        return machine::find_image::find(&name).map(|tree| Some((name, tree)));
    }
    if !invocation.may_be_image || environment.directory.join(&invocation.tree).exists() {
        return Ok(None);
    }
    let Some(name) = invocation.tree.to_str().and_then(|name| name.parse::<MachineName>().ok()) else {
        return Ok(None);
    };
    match machine::find_image::find(&name) {
        Ok(tree) => Ok(Some((name, tree))),
        // Then it was meant as a directory, and the supervisor says that it is not there.
        Err(machine::Error::NoImage { nearest: None, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Prints what would be done instead of doing it.
fn explained(prepared: Prepared, format: ExplainFormat, output: Output) -> u8 {
    let (explanation, status) = planned(prepared, output);
    match explain(&[explanation], false, format, output) {
        Ok(()) => status,
        Err(error) => {
            output.error(&error, Some("this is a fault in spinney"));
            EXIT_FAILURE
        }
    }
}

/// The format that `--explain=` names.
pub(super) fn explain_format(word: Option<&str>) -> Result<Option<ExplainFormat>, SettingsError> {
    optional("--explain=", word, |text| match text {
        "text" => Ok(ExplainFormat::Text),
        "json" => Ok(ExplainFormat::Json),
        _ => Err(ValueError::new(text, "is not known", "one of: text, json")),
    })
}

/// The words that an option takes, when its value is `help`.
fn words_asked_for(options: &RunArguments) -> Option<Vec<String>> {
    let single = [
        ("console", &options.console),
        ("volatile", &options.volatile),
        ("resolv-conf", &options.resolv_conf),
        ("timezone", &options.timezone),
        ("link-journal", &options.link_journal),
        ("kill-signal", &options.kill_signal),
    ];
    let lists = [
        ("capability", &options.capability),
        ("drop-capability", &options.drop_capability),
        ("ambient-capability", &options.ambient_capability),
        ("rlimit", &options.rlimit),
    ];
    let single = single.into_iter().filter(|(_, value)| value.as_deref() == Some("help"));
    let lists = lists.into_iter().filter(|(_, values)| values.iter().any(|value| value == "help"));
    single.map(|(option, _)| option).chain(lists.map(|(option, _)| option)).find_map(words_of)
}

/// The words that `option` takes, if they are few.
pub(super) fn words_of(option: &str) -> Option<Vec<String>> {
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    Some(match option {
        "console" => owned(ConsoleRequest::list()),
        "volatile" => owned(Volatile::list()),
        "resolv-conf" => owned(ResolvConf::list()),
        "timezone" => owned(Timezone::list()),
        "link-journal" => owned(LinkJournal::list()),
        "kill-signal" => SignalNumber::names(),
        "capability" | "drop-capability" | "ambient-capability" => owned(capability_names(ALL_CAPABILITIES)),
        "rlimit" => ResourceLimit::names(),
        _ => return None,
    })
}
