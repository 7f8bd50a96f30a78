//! One process per machine.
//!
//! Placeholder behind the names that the command line calls; the supervisor proper replaces it.
#![allow(missing_docs, reason = "placeholder")]

use crate::settings::MachineSettings;

pub mod fault;
pub mod gc;
pub mod registry;
pub mod resources;
pub mod state;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFormat {
    Text,
    Json,
}

#[derive(Debug)]
pub struct Request {
    pub settings: MachineSettings,
    pub quiet: bool,
    pub explain: Option<ExplainFormat>,
}

#[derive(Debug)]
pub struct Outcome {
    pub exit_status: u8,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot run {0}: the supervisor is not there yet")]
pub struct Error(String);

impl Error {
    pub fn exit_status(&self) -> u8 {
        125
    }

    pub fn hint(&self) -> Option<String> {
        None
    }
}

pub fn run(request: Request) -> Result<Outcome, Error> {
    Err(Error(request.settings.tree.display().to_string()))
}
