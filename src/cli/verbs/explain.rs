//! `spinney explain`: how a machine is made, and where each setting came from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::fail;
use crate::cli::explain::{ExplainFormat, Explanation, explain as print};
use crate::cli::invocation::{self, Invocation};
use crate::cli::output::Output;
use crate::cli::refusal::Refusal;
use crate::cli::run::{self, Prepared};
use crate::cli::{EXIT_FAILURE, is_root};
use crate::machine::{Error, MachineHandle, find_image};
use crate::settings::MachineName;

const EXAMPLES: &str = "\
Examples:
  spinney explain web          what is in force in web where it runs; else what spinney start web would do
  spinney explain ./trixie     what spinney run ./trixie would do
  spinney run --explain --memory-max=1G ./trixie
                               the same with options
  spinney explain --json web | jq '.settings[] | select(.source == \"file\")'

Files that have changed since a machine's start are marked. Others than root see no secrets, and nothing of machines \
that run.";

/// Show how a machine is made, and where each setting came from
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArguments {
    /// Machines by name, or trees by path
    #[arg(value_name = "NAME|TREE", required = true)]
    names: Vec<OsString>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb, gives the exit status. One fault does not stop the rest.
pub fn explain(arguments: &ExplainArguments) -> u8 {
    let output = Output::new(false);
    let mut status = 0;
    let mut explanations = Vec::new();
    for name in &arguments.names {
        match explained(name, output) {
            Ok((explanation, its_status)) => {
                explanations.push(explanation);
                status = if status == 0 { its_status } else { status };
            }
            Err(failed) => status = if status == 0 { failed } else { status },
        }
    }
    let format = if arguments.json { ExplainFormat::Json } else { ExplainFormat::Text };
    let several = arguments.names.len() > 1;
    if !explanations.is_empty()
        && let Err(error) = print(&explanations, several, format, output)
    {
        output.error(&error, Some("this is a fault in spinney"));
        return EXIT_FAILURE;
    }
    status
}

/// One machine; tells what is wrong with it.
fn explained(name: &OsString, output: Output) -> Result<(Explanation, u8), u8> {
    let is_path = name.as_encoded_bytes().contains(&b'/') || matches!(name.to_str(), Some("." | ".."));
    let machine: Option<MachineName> = name.to_str().filter(|_| !is_path).and_then(|name| name.parse().ok());
    let failed = |error: Error| fail(&error, output);
    let image = match &machine {
        Some(machine) => match MachineHandle::find(machine) {
            Ok(handle) => return in_force(&handle).map(|found| (found, 0)).map_err(failed),
            Err(Error::NotRunning { .. }) => image(machine, name).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        },
        None => None,
    };
    // What spinney start would ask for, or spinney run.
    let line: Vec<OsString> = match (&image, &machine) {
        (Some(tree), Some(machine)) => {
            vec!["--detach".into(), format!("--machine={machine}").into(), "--directory".into(), tree.into()]
        }
        // As an operand it may be a reference too.
        _ if !is_option(name) => vec![name.clone()],
        _ => vec!["--directory".into(), name.clone()],
    };
    let line: Vec<OsString> = ["spinney", "run"].map(OsString::from).into_iter().chain(line).collect();
    let prepared = match invocation::parse(line) {
        Ok(Invocation::Run(invocation)) if image.is_some() => {
            run::prepare_by_name(&invocation, Instant::now())
        }
        Ok(Invocation::Run(invocation)) => run::prepare(&invocation, Instant::now()),
        Err(Refusal::Error { message, hint }) => {
            output.error(&message, hint.as_deref());
            return Err(EXIT_FAILURE);
        }
        Ok(Invocation::Verb(_)) | Err(Refusal::Display(_)) => return Err(EXIT_FAILURE),
    };
    Ok(planned(prepared.map_err(failed)?, output))
}

fn is_option(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(b"-")
}

/// The tree of a machine; `None` for a name that is no image's, where there is a tree of this name here.
fn image(machine: &MachineName, name: &OsString) -> Result<Option<PathBuf>, Error> {
    match find_image::find(machine) {
        Ok(tree) => Ok(Some(tree)),
        Err(Error::NoImage { .. }) if Path::new(name).is_dir() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What would be done. Where the plan cannot be made, the settings are worth seeing all the same.
pub(in crate::cli) fn planned(prepared: Prepared, output: Output) -> (Explanation, u8) {
    let Prepared { request, warnings, .. } = prepared;
    warnings.iter().for_each(|warning| output.warning(warning));
    let (plan, status) = match crate::supervisor::explain(&request) {
        Ok(plan) => (Some(crate::runtime::describe::describe(&plan)), 0),
        Err(error) => {
            output.failure(&error, error.console(), error.hint().as_deref());
            (None, error.exit_status())
        }
    };
    let explanation = Explanation {
        name: crate::supervisor::name_of(&request.settings).ok().map(|name| name.to_string()),
        running: false,
        provenance: request.provenance,
        changed: Default::default(),
        plan,
        secrets: is_root(),
    };
    (explanation, status)
}

/// What a running machine was started with.
fn in_force(handle: &MachineHandle) -> Result<Explanation, Error> {
    let found = handle.in_force()?;
    let changed = found.provenance.changed_since_then();
    Ok(Explanation {
        name: Some(handle.name().to_string()),
        running: true,
        provenance: found.provenance,
        changed,
        plan: Some(found.plan),
        secrets: is_root(),
    })
}
