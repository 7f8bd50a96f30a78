//! `spinney run --explain`: prints the plan of a machine.

use super::output::Output;
use crate::runtime::plan::MachinePlan;

/// How the plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints `plan` to stdout.
pub fn explain(plan: &MachinePlan, format: ExplainFormat, output: Output) -> serde_json::Result<()> {
    match format {
        ExplainFormat::Text => {
            output.text(&format!("{plan:#?}\n"));
            Ok(())
        }
        ExplainFormat::Json => output.json(&format!("{plan:?}")),
    }
}
