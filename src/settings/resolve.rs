//! All layers to the settings of one machine.
//!
//! | layer, lowest first | file |
//! |---|---|
//! | what is built in | |
//! | defaults for all machines | `/etc/spinney/spinney.toml` |
//! | the `.nspawn` file: the first of these | `/etc/systemd/nspawn/NAME.nspawn`, `/run/systemd/nspawn/NAME.nspawn`, and beside the tree, not trusted, `NAME.nspawn` or `TREE.nspawn` |
//! | the machine's | `/etc/spinney/machines/NAME.toml` |
//! | its drop-ins, by name | `/etc/spinney/machines/NAME.toml.d/*.toml` |
//! | the command line | |
//!
//! With `--settings=override` the command line comes second.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::assignment::{Assignment, Change, Given, LayerNumber, Source};
use super::draft::Draft;
use super::files::{Reader, drop_ins};
use super::keys::{self, BadValue, Scope};
use super::merge::effective;
use super::provenance::Provenance;
use super::refused::SettingsError;
use super::surroundings::{Environment, Places};
use super::words::{Words, display_and_parse_by_word};
use super::{Autostart, MachineName, MachineSettings, Manner, nspawn_layer, nspawn_manner, toml_layer};

/// `--settings=`: whether files are read, and who wins (systemd-nspawn(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SettingsMode {
    /// Files are read, and the command line wins.
    #[default]
    Yes,
    /// No file is read.
    No,
    /// Files are read and win over the command line.
    Override,
    /// As `Yes`, and files beside trees are trusted.
    Trusted,
}

impl Words for SettingsMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("yes", Self::Yes), ("no", Self::No), ("override", Self::Override), ("trusted", Self::Trusted)];
}

display_and_parse_by_word!(SettingsMode);

/// What was asked for: a tree, a name, and what the command line says.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The tree.
    pub tree: PathBuf,
    /// The tree was found by the machine's name: in its `directory`, or among the images.
    pub by_name: bool,
    /// The machine's name; by default the tree's.
    pub machine: Option<MachineName>,
    /// Whether files are read.
    pub mode: SettingsMode,
    /// Which files, and how they and the command line are put together.
    pub manner: Manner,
    /// What the command line says, in order.
    pub assignments: Vec<Assignment>,
}

/// The settings of a machine.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What is in force.
    pub settings: MachineSettings,
    /// Where it came from.
    pub provenance: Provenance,
    /// What in files has no effect; each a line for the user.
    pub warnings: Vec<String>,
}

/// The settings of what was asked for, in `environment`. Reads files, changes nothing.
///
/// # Errors
/// When files or arguments are wrong: one line, and a hint.
pub fn machine_settings(asked: &Asked, environment: &Environment) -> Result<Resolved, SettingsError> {
    let tree = with_name(environment.directory.join(&asked.tree));
    let name = match &asked.machine {
        Some(name) => Some(name.clone()),
        // A tree without a usable name has no files of its own; the supervisor says what is wrong with it.
        None => MachineName::from_tree(&tree).ok(),
    };
    let mut reader = Reader::default();
    let mut warnings = Vec::new();
    let mut layers = Vec::new();
    let trusted = asked.mode == SettingsMode::Trusted;
    if asked.manner == Manner::Nspawn {
        let places = &environment.places.nspawn;
        let (file, more) = match asked.mode {
            SettingsMode::No => Default::default(),
            _ => nspawn(&mut reader, name.as_ref(), &tree, places, trusted)?,
        };
        warnings.extend(more);
        layers = nspawn_manner::layers(environment.on_terminal, file, asked.assignments.clone(), asked.mode);
    } else if asked.mode == SettingsMode::No {
        layers.push(asked.assignments.clone());
    } else {
        let spinney = &environment.places.spinney;
        layers.push(toml(&mut reader, &spinney.join("spinney.toml"), Scope::Everywhere)?);
        let (nspawn, more) = nspawn(&mut reader, name.as_ref(), &tree, &environment.places.nspawn, trusted)?;
        warnings.extend(more);
        let mut files = vec![nspawn];
        files.extend(machine_layers(&mut reader, name.as_ref(), spinney)?);
        if asked.mode == SettingsMode::Override {
            layers.push(asked.assignments.clone());
            layers.extend(files);
            overridden_command(&mut layers);
        } else {
            layers.extend(files);
            layers.push(asked.assignments.clone());
        }
    }
    for (number, layer) in layers.iter_mut().enumerate() {
        layer.iter_mut().for_each(|assignment| assignment.layer = LayerNumber(number));
        check(layer, environment)?;
    }
    let effective = effective(layers);
    let mut draft = Draft::built_in();
    for assignment in &effective {
        put(assignment, &mut draft, environment)?;
    }
    let settings = draft.finish(tree, asked.machine.clone(), &effective, environment)?;
    let mut provenance = Provenance::of(&effective, reader.seen);
    provenance.set_tree(&settings.tree, asked.by_name);
    Ok(Resolved { settings, provenance, warnings })
}

/// What the files of machine `name` alone say of it, with the defaults for all machines: where its tree is, and when it is
/// started.
///
/// # Errors
/// When the files are wrong.
pub fn files_of(name: &MachineName, places: &Places) -> Result<OfFiles, SettingsError> {
    let mut reader = Reader::default();
    let mut layers = vec![toml(&mut reader, &places.spinney.join("spinney.toml"), Scope::Everywhere)?];
    layers.extend(machine_layers(&mut reader, Some(name), &places.spinney)?);
    let environment = Environment {
        on_terminal: false,
        directory: PathBuf::new(),
        variable: |_| None,
        read: |_| Err(io::ErrorKind::Unsupported.into()),
        places: places.clone(),
    };
    let mut draft = Draft::built_in();
    for layer in &layers {
        check(layer, &environment)?;
    }
    let in_force = effective(layers);
    for assignment in &in_force {
        put(assignment, &mut draft, &environment)?;
    }
    let enabled = keys::known("autostart.enabled");
    let enabled_by = in_force.iter().find(|assignment| Some(assignment.key) == enabled);
    Ok(OfFiles {
        directory: draft.directory,
        autostart: draft.settings.autostart,
        enabled_by: enabled_by.and_then(|assignment| assignment.source.path()).map(Path::to_owned),
    })
}

/// What is known of a machine before it is decided whether it is started.
#[derive(Debug, Clone)]
pub struct OfFiles {
    /// `[machine] directory`
    pub directory: Option<PathBuf>,
    /// `[autostart]`
    pub autostart: Autostart,
    /// The file that says whether it is enabled.
    pub enabled_by: Option<PathBuf>,
}

/// `..` has no name to call the machine by. A tree that is not there is the supervisor's to complain about.
#[allow(clippy::disallowed_methods, reason = "the user's own path, before anything is opened")]
fn with_name(tree: PathBuf) -> PathBuf {
    if tree.file_name().is_some() {
        return tree;
    }
    std::fs::canonicalize(&tree).unwrap_or(tree)
}

fn toml(reader: &mut Reader, path: &Path, scope: Scope) -> Result<Vec<Assignment>, SettingsError> {
    match reader.read(path)? {
        Some((path, text)) => toml_layer::layer(&path, &text, scope),
        None => Ok(Vec::new()),
    }
}

/// The machine's own file and its drop-ins.
fn machine_layers(
    reader: &mut Reader,
    name: Option<&MachineName>,
    spinney: &Path,
) -> Result<Vec<Vec<Assignment>>, SettingsError> {
    let Some(name) = name else { return Ok(Vec::new()) };
    let machines = spinney.join("machines");
    let file = machines.join(format!("{name}.toml"));
    let mut layers = vec![toml(reader, &file, Scope::Machine)?];
    for drop_in in drop_ins(&machines.join(format!("{name}.toml.d")))? {
        layers.push(toml(reader, &drop_in, Scope::Machine)?);
    }
    Ok(layers)
}

/// The one .nspawn file that counts (systemd.nspawn(5)): an administrator's, else that beside the tree.
fn nspawn(
    reader: &mut Reader,
    name: Option<&MachineName>,
    tree: &Path,
    trusted: &[PathBuf],
    trust_all: bool,
) -> Result<(Vec<Assignment>, Vec<String>), SettingsError> {
    let machine = name.map(|name| format!("{name}.nspawn"));
    for directory in trusted {
        let Some(machine) = &machine else { break };
        if let Some((path, text)) = reader.read(&directory.join(machine))? {
            return nspawn_layer::layer(&path, &text, true);
        }
    }
    let with_suffix = |name: &OsStr| {
        let mut name = name.to_owned();
        name.push(".nspawn");
        name
    };
    let own = tree.file_name().map(with_suffix);
    // Beside web.raw and web.mstack it is web.nspawn (systemd.nspawn(5)).
    let is_image = tree.extension().is_some_and(|suffix| suffix == "raw" || suffix == "mstack");
    let of_image = tree.file_stem().filter(|_| is_image).map(with_suffix);
    let beside = |name: &OsStr| tree.parent().map(|parent| parent.join(name));
    let mut candidates: Vec<PathBuf> = machine
        .iter()
        .filter_map(|name| beside(name.as_ref()))
        .chain(of_image.and_then(|name| beside(&name)))
        .chain(own.and_then(|name| beside(&name)))
        .collect();
    candidates.dedup();
    for candidate in candidates {
        if let Some((path, text)) = reader.read(&candidate)? {
            return nspawn_layer::layer(&path, &text, trust_all);
        }
    }
    Ok((Vec::new(), Vec::new()))
}

/// A file that says whether to boot says it with its own parameters, or none: those of the command line were for what the
/// command line said (systemd-nspawn(1), `--settings=override`).
fn overridden_command(layers: &mut [Vec<Assignment>]) {
    let boot = keys::known("execution.boot");
    let parameters = keys::known("execution.parameters");
    let by_file =
        |assignment: &Assignment| Some(assignment.key) == boot && assignment.source.path().is_some();
    // spinney.toml, which is below the command line, is the first.
    if layers.iter().skip(1).flatten().any(by_file) {
        for layer in layers {
            layer.retain(|assignment| {
                Some(assignment.key) != parameters || !assignment.source.is_command_line()
            });
        }
    }
}

/// A wrong value is told even where another one would win.
fn check(layer: &[Assignment], environment: &Environment) -> Result<(), SettingsError> {
    let mut draft = Draft::built_in();
    layer.iter().try_for_each(|assignment| put(assignment, &mut draft, environment))
}

fn put(assignment: &Assignment, draft: &mut Draft, environment: &Environment) -> Result<(), SettingsError> {
    let Change::Give(raw) = &assignment.change else { return Ok(()) };
    let text = raw.to_string_lossy();
    let in_file = matches!(assignment.source, Source::File(_));
    let given = Given { text: &text, raw, directory: (!in_file).then_some(environment.directory.as_path()) };
    assignment
        .key
        .put(draft, &given)
        .map_err(|error: BadValue| SettingsError::value(&assignment.source, error))
}
