//! A wish, the image that it means and the .nspawn file of it to one request of a supervisor.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::environment::Asked as FromEnvironment;
use super::template;
use super::wish::Wish;
use crate::cli::output::Output;
use crate::cli::refusal::Refusal;
use crate::cli::run::register_of_environment;
use crate::image::properties::Properties;
use crate::image::{self, Store};
use crate::settings::assignment::Assignment;
use crate::settings::{
    ApiFileSystems, Asked, Environment, MachineName, MachineSettings, Manner, Payload, PrivateUsers,
    Resolved, SettingsError, SignalNumber, ValueError, keys, machine_settings,
};
use crate::supervisor::{self, Ending, KeepUnit, Request};

/// What a payload without words of its own is: a login shell, bash where the tree has it, as systemd-nspawn(1) has it.
const SHELL: [&str; 3] = ["/bin/sh", "-c", "command -v bash >/dev/null && exec bash -l; exec sh -l"];

/// Where new trees go (systemd-nspawn(1), `--template=`).
const MACHINES: &str = "/var/lib/machines";

/// A container to be run.
#[derive(Debug)]
pub(super) struct Container {
    /// All of it.
    pub(super) request: Request,
    /// Its name.
    pub(super) name: String,
    /// What it runs from, for people.
    pub(super) path: String,
    /// What is to be said before.
    pub(super) warnings: Vec<String>,
    /// Nothing is to be said.
    pub(super) quiet: bool,
}

/// Looks for what `wish` names, and resolves its settings.
///
/// # Errors
/// What is wrong with them.
pub(super) fn prepare(
    mut wish: Wish,
    from: FromEnvironment,
    started: Instant,
    output: Output,
) -> Result<Container, Refusal> {
    let environment = Environment::ours().map_err(|error| of_settings(&SettingsError::Directory(error)))?;
    let tree = tree_of(&mut wish)?;
    if let Some(template) = &wish.template {
        template::populate(template, &environment.directory.join(&tree), output)?;
    }
    let mut assignments = std::mem::take(&mut wish.assignments);
    assignments.extend(from.assignments);
    let asked = Asked {
        tree,
        by_name: false,
        machine: wish.machine.clone(),
        mode: wish.mode,
        manner: Manner::Nspawn,
        assignments,
    };
    let resolved = machine_settings(&asked, &environment).map_err(|error| of_settings(&error))?;
    let Resolved { mut settings, provenance, warnings } = resolved;
    settings.knobs = from.knobs;
    as_nspawn(&mut settings, provenance.is_given("execution", "parameters"));
    refuse_combinations(&settings)?;
    let name = match (&settings.machine, settings.ephemeral) {
        (Some(name), _) => name.clone(),
        (None, ephemeral) => {
            let name = MachineName::from_tree(&settings.tree).map_err(|error| of_value(&error))?;
            // So that many can be run at once.
            if ephemeral { with_random_suffix(&name)? } else { name }
        }
    };
    settings.machine = Some(name.clone());
    let path = shown(&settings.tree);
    let ending = Ending::Plain { reboot_ends: wish.keep_unit };
    // Tools say --keep-unit where no service manager is at all.
    let keep_unit = if wish.keep_unit { KeepUnit::IfDelegated } else { KeepUnit::default() };
    let register =
        wish.register.map_or_else(register_of_environment, Ok).map_err(|error| of_settings(&error))?;
    let no_scope = wish.slice.as_ref().and_then(|slice| supervisor::no_scope(slice, register, keep_unit));
    let slice = wish.slice.unwrap_or_default();
    let background = false;
    let request = Request { settings, provenance, started, background, keep_unit, register, slice, ending };
    let warnings = wish.warnings.into_iter().chain(no_scope).chain(warnings).collect();
    Ok(Container { request, name: name.to_string(), path, warnings, quiet: wish.quiet })
}

/// The name of the container that is wished for, which need not be there.
///
/// # Errors
/// When there is none.
pub(super) fn name_of(wish: &Wish) -> Result<MachineName, Refusal> {
    match (&wish.machine, &wish.tree) {
        (Some(name), _) => Ok(name.clone()),
        (None, Some(tree)) => MachineName::from_tree(tree).map_err(|error| of_value(&error)),
        (None, None) => std::env::current_dir()
            .map_err(|error| of_settings(&SettingsError::Directory(error)))
            .and_then(|here| MachineName::from_tree(&here).map_err(|error| of_value(&error))),
    }
}

/// What is run: what an option says, the image of the machine's name, or where we are.
fn tree_of(wish: &mut Wish) -> Result<PathBuf, Refusal> {
    if let Some(tree) = &wish.tree {
        return Ok(tree.clone());
    }
    let Some(name) = &wish.machine else { return Ok(PathBuf::from(".")) };
    if wish.template.is_some() {
        return Ok(Path::new(MACHINES).join(name.as_str()));
    }
    let unknown = |error: &dyn std::error::Error| {
        Refusal::error(
            format!("No image for machine '{name}': {error}"),
            "spinney images lists those there are",
        )
    };
    let image = name.as_str().parse().map_err(|error: ValueError| unknown(&error)).and_then(|image| {
        Store::system().find(&image).map_err(|error| match error {
            image::Error::NoImage { .. } => Refusal::error(
                format!("No image for machine '{name}'."),
                "spinney images lists those there are; --directory= gives one that is no image",
            ),
            other => unknown(&other),
        })
    })?;
    let read_only = Properties::of(&image).is_ok_and(|properties| properties.read_only);
    if let Some(key) = keys::known("files.read-only").filter(|_| read_only && !wish.ephemeral) {
        wish.assignments.push(Assignment::of_option(key, key.option, "yes"));
    }
    Ok(image.path)
}

/// What systemd-nspawn does otherwise than we, once it is known what runs.
fn as_nspawn(settings: &mut MachineSettings, has_parameters: bool) {
    if let Payload::Command { argv, .. } = &mut settings.payload {
        if !has_parameters {
            *argv = SHELL.map(OsString::from).to_vec();
        } else if settings.chdir.is_none() {
            // A shell begins in its home directory, a command in the root.
            settings.chdir = Some("/".into());
        }
        // Nobody asks a command whether it can end.
        settings.kill_signal.get_or_insert(SignalNumber(libc::SIGKILL));
    }
}

fn refuse_combinations(settings: &MachineSettings) -> Result<(), Refusal> {
    let users = settings.private_users != PrivateUsers::No;
    if users && settings.knobs.api_file_systems == ApiFileSystems::Writable {
        return Err(Refusal::error(
            "Cannot combine --private-users with read-write API VFS mounts.",
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 gives the host's kernel to the container's root, who is none then",
        ));
    }
    Ok(())
}

fn with_random_suffix(name: &MachineName) -> Result<MachineName, Refusal> {
    let random = crate::sys::random()
        .map_err(|error| Refusal::error(format!("cannot make a name: {error}"), "--machine= gives one"))?;
    name.with_suffix(&format!("{random:016x}")).map_err(|error| of_value(&error))
}

/// The tree's whole path. One that is not there is the supervisor's to complain about.
#[allow(clippy::disallowed_methods, reason = "the user's own path, only to be shown")]
fn shown(tree: &Path) -> String {
    std::fs::canonicalize(tree).unwrap_or_else(|_| tree.to_owned()).display().to_string()
}

fn of_settings(error: &SettingsError) -> Refusal {
    Refusal::Error {
        message: crate::cli::refusal::Message::new(crate::sys::in_words(error)),
        hint: error.hint().map(str::to_owned),
    }
}

fn of_value(error: &ValueError) -> Refusal {
    Refusal::error(error.to_string(), error.hint())
}
