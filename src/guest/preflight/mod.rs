//! A look at a tree before it is booted: what it is, what cannot work, what will be in the way.
//!
//! Nothing is run and nothing is written. What is found is data: a verdict, and findings with what to do about each. Texts of
//! the tree are not yet fit to be printed.
//!
//! | file | what it owns |
//! |---|---|
//! | [`identity`] | what is baked in that each machine should have of its own |
//! | [`ownership`] | whose files they are, and who of the host reaches them |
//! | [`services`] | what starts and cannot work in a machine |

use serde::Serialize;

use super::architecture::Architecture;
use super::base::BaseDirectories;
use super::error::TreeError;
use super::executable::{Executable, Format};
use super::init::{DetectedInit, detect};
use super::machine_id::MachineIdState;
use super::tree;
use crate::sys::in_root::Root;

mod identity;
mod ownership;
mod services;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Good to know.
    Note,
    /// It boots, and something is wrong.
    Warning,
    /// It cannot boot.
    Fatal,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// By which a program knows it.
    pub id: &'static str,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    fn new(level: Level, id: &'static str, message: impl Into<String>, hint: &str) -> Self {
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        Self { level, id, message: message.into(), hint }
    }
}

/// Whether a tree can be booted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It can.
    Boots,
    /// It can, and something is wrong.
    BootsWithWarnings,
    /// It cannot.
    CannotBoot,
}

/// All that was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Preflight {
    /// Whether it can be booted.
    pub verdict: Verdict,
    /// `PRETTY_NAME=` of its os-release.
    pub os: Option<String>,
    /// `ID=`.
    pub os_id: Option<String>,
    /// `VERSION_ID=`.
    pub os_version: Option<String>,
    /// Which init.
    pub init: Option<String>,
    /// Its version.
    pub init_version: Option<String>,
    /// Where it is in the tree.
    pub init_path: Option<String>,
    /// What it is built for.
    pub architecture: Option<String>,
    /// How this host runs that: `native`, `emulated`, `no`.
    pub runs: Option<&'static str>,
    /// The C library: `glibc`, `musl`, `static`, or the dynamic linker's path.
    pub libc: Option<String>,
    /// `merged`: /bin is a link into /usr; `split`.
    pub usr: Option<&'static str>,
    /// `v2`, or `v1` of an init that knows no other: it gets what it needs.
    pub cgroups: Option<&'static str>,
    /// What /etc/machine-id says: `set`, `uninitialized`, `empty`, `missing`, `invalid`.
    pub machine_id: &'static str,
    /// What is to be said of it, the worst first.
    pub findings: Vec<Finding>,
}

/// Looks at the tree `root`. `on_host`: it is a directory of the host, which others may reach.
///
/// # Errors
/// When it cannot be looked into.
pub fn inspect(root: &Root, on_host: bool) -> Result<Preflight, TreeError> {
    let mut findings = Vec::new();
    let base = told(BaseDirectories::inspect(root), "base-directory", &mut findings)?;
    let init = match base {
        // What the base directories lack says less than that there is nothing.
        None => None,
        Some(_) => told(detect(root, None), "init", &mut findings)?,
    };
    let os_release = tree::os_release(root)?;
    let machine_id = tree::machine_id(root)?;
    if os_release.is_none() && init.is_some() {
        findings.push(Finding::new(
            Level::Warning,
            "no-os-release",
            "there is no /etc/os-release and no /usr/lib/os-release",
            "systemd-nspawn refuses such a tree; nobody can tell what it is",
        ));
    }
    let runs = init.as_ref().map(|init| runs(init.architecture));
    if let (Some(init), Some("no")) = (&init, runs) {
        let host = Architecture::host().unwrap_or(init.architecture);
        let error =
            TreeError::ForeignArchitecture { program: init.path.clone(), tree: init.architecture, host };
        findings.push(fatal(&error, "architecture"));
    }
    if runs == Some("emulated") {
        findings.push(Finding::new(
            Level::Note,
            "emulated",
            "its programs are run by an emulator (binfmt_misc), which is slow",
            "",
        ));
    }
    if init.is_some() {
        findings.extend(identity::look(root, machine_id));
        findings.extend(services::look(root, init.as_ref()));
        findings.extend(ownership::look(root, on_host)?);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let verdict = match findings.first().map(|finding| finding.level) {
        Some(Level::Fatal) => Verdict::CannotBoot,
        Some(Level::Warning) => Verdict::BootsWithWarnings,
        _ => Verdict::Boots,
    };
    Ok(Preflight {
        verdict,
        os: os_release.as_ref().map(|os| os.pretty_name().to_owned()),
        os_id: os_release.as_ref().map(|os| os.id().to_owned()),
        os_version: os_release.as_ref().and_then(|os| os.version_id()).map(str::to_owned),
        init: init.as_ref().map(|init| init.kind.to_string()),
        init_version: init.as_ref().and_then(|init| Some(init.version.as_ref()?.text.clone())),
        init_path: init.as_ref().map(|init| init.path.to_string_lossy().into_owned()),
        architecture: init.as_ref().map(|init| init.architecture.to_string()),
        runs,
        libc: init.as_ref().and_then(|init| libc(root, init)),
        usr: base.map(|base| if base.merged_usr { "merged" } else { "split" }),
        cgroups: init.as_ref().map(|init| if init.needs_legacy_cgroups() { "v1" } else { "v2" }),
        machine_id: match machine_id {
            MachineIdState::Set(_) => "set",
            MachineIdState::Uninitialized => "uninitialized",
            MachineIdState::Empty => "empty",
            MachineIdState::Missing => "missing",
            MachineIdState::Invalid => "invalid",
        },
        findings,
    })
}

/// A fault of the tree is a finding; that it cannot be looked into is none.
fn told<T>(
    result: Result<T, TreeError>,
    id: &'static str,
    findings: &mut Vec<Finding>,
) -> Result<Option<T>, TreeError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ TreeError::Sys(_)) => Err(error),
        Err(error) => {
            findings.push(fatal(&error, id));
            Ok(None)
        }
    }
}

fn fatal(error: &TreeError, id: &'static str) -> Finding {
    Finding { level: Level::Fatal, id, message: error.to_string(), hint: error.hint() }
}

fn runs(architecture: Architecture) -> &'static str {
    match Architecture::host() {
        Some(host) if architecture.runs_on(host) => "native",
        None => "native",
        Some(_) if tree::emulated(architecture) => "emulated",
        Some(_) => "no",
    }
}

/// The C library, by the dynamic linker that the init asks for: of a script, its interpreter's.
fn libc(root: &Root, init: &DetectedInit) -> Option<String> {
    let mut program = Executable::inspect(root, &init.path).ok()??;
    if let Format::Script(interpreter) = &program.format {
        program = Executable::inspect(root, interpreter).ok()??;
    }
    let Format::Elf(linkage) = &program.format else { return None };
    let Some(linker) = &linkage.interpreter else { return Some("static".to_owned()) };
    let name = linker.rsplit('/').next().unwrap_or(linker);
    Some(match name {
        _ if name.starts_with("ld-musl") => "musl".to_owned(),
        _ if name.starts_with("ld-linux") || name.starts_with("ld64") || name == "ld.so.1" => {
            "glibc".to_owned()
        }
        _ => linker.clone(),
    })
}

#[cfg(test)]
mod tests;
