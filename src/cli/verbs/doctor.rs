//! `spinney doctor`

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::{Colour, Output, words};
use crate::machine::doctor::facts::Facts;
use crate::machine::doctor::machine_facts::MachineFacts;
use crate::machine::doctor::{Finding, Verdict, host_checks, machine_checks};
use crate::machine::{Error, MachineHandle};

const EXAMPLES: &str = "\
Examples:
  spinney doctor          what could keep machines from running here
  spinney doctor -q       only what is not as it should be
  spinney doctor web      what is odd about this machine";

/// Check this host, and what went wrong on it
///
/// With NAME, look at that machine. Exit status: 1 if there is a problem, 0 if there are warnings at most.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArguments {
    /// Machines to look at, in place of the host
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    telling: Telling,
}

/// How doctors tell what they found.
#[derive(Debug, clap::Args)]
pub(super) struct Telling {
    /// Leave out what is as it should be
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What was found, of a machine or of the host.
pub(super) type Found = (Option<String>, Vec<Finding>);

/// What a doctor exits with who found a problem.
const PROBLEM: u8 = 1;

/// Runs the verb, gives the exit status.
pub fn doctor(arguments: &DoctorArguments) -> u8 {
    let output = Output::new(false);
    let mut status = 0;
    let mut findings = Vec::new();
    if arguments.names.is_empty() {
        match Facts::look() {
            Ok(facts) => findings.push((None, host_checks::judge(&facts))),
            Err(error) => return fail(&error, output),
        }
    }
    for name in &arguments.names {
        match of_machine(name) {
            Ok(of_machine) => findings.push((Some(name.clone()), of_machine)),
            Err(error) => {
                let failed = fail(&error, output);
                status = if status == 0 { failed } else { status };
            }
        }
    }
    report(&findings, &arguments.telling, status, output)
}

/// Tells it, gives the exit status: `status` if something has failed already.
pub(super) fn report(found: &[Found], telling: &Telling, status: u8, output: Output) -> u8 {
    if telling.json {
        let all: Vec<_> = found
            .iter()
            .map(|(name, findings)| serde_json::json!({ "machine": name, "findings": findings }))
            .collect();
        if output.json(&all).is_err() {
            return EXIT_FAILURE;
        }
    } else {
        for (name, findings) in found {
            if let Some(name) = name.as_deref().filter(|_| found.len() > 1) {
                output.text(&format!("{}\n", output.in_colour(Colour::Bold, name)));
            }
            output.text(&text(findings, telling.quiet, output));
        }
    }
    let problem = found.iter().any(|(_, findings)| host_checks::worst(findings) == Verdict::Problem);
    if status == 0 && problem { PROBLEM } else { status }
}

fn of_machine(name: &str) -> Result<Vec<Finding>, Error> {
    let machine = MachineHandle::find(&named(name)?)?;
    Ok(machine_checks::judge(&MachineFacts::of(&machine, words::now())))
}

/// A line a finding, a hint below it, and a sum.
fn text(findings: &[Finding], quiet: bool, output: Output) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Finding { check, verdict, text: line, hint } in findings {
        let colour = match verdict {
            Verdict::Ok if quiet => continue,
            Verdict::Ok => Colour::Green,
            Verdict::Warning => Colour::Yellow,
            Verdict::Problem => Colour::Red,
        };
        let word = output.in_colour(colour, &format!("{:7}", verdict.word()));
        text.push_str(&format!("{word} {check:width$} {line}\n"));
        if let Some(hint) = hint {
            text.push_str(&format!("{:8}{:width$} hint: {hint}\n", "", ""));
        }
    }
    let count = |verdict: Verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    text + &sum(count(Verdict::Problem), count(Verdict::Warning))
}

fn sum(problems: usize, warnings: usize) -> String {
    let some = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    };
    let told: Vec<String> =
        [some(problems, "problem"), some(warnings, "warning")].into_iter().flatten().collect();
    if told.is_empty() { "All is well.\n".to_owned() } else { format!("{}.\n", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_as_text() {
        let finding = |check, verdict, hint: Option<&str>| Finding {
            check,
            verdict,
            text: "so it is".to_owned(),
            hint: hint.map(str::to_owned),
        };
        let findings =
            [finding("kernel", Verdict::Ok, None), finding("inotify", Verdict::Problem, Some("do this"))];
        let bad = "problem inotify so it is\n                hint: do this\n1 problem.\n";
        assert_eq!(text(&findings, false, Output::plain()), format!("ok      kernel  so it is\n{bad}"));
        assert_eq!(text(&findings, true, Output::plain()), bad);
    }

    #[test]
    fn sums() {
        for (problems, warnings, expected) in
            [(0, 0, "All is well.\n"), (1, 0, "1 problem.\n"), (2, 1, "2 problems, 1 warning.\n")]
        {
            assert_eq!(sum(problems, warnings), expected);
        }
    }
}
