//! What README.md shows, typed on a fresh machine: a Debian booted by Spinney, with the package installed by apt. Each command is the
//! README's own, in its order, and what it prints is what the README shows, so that neither can drift.

use super::host::Host;
use super::shown::{Shown, check, commands, difference};
use super::{checkout, needs};
use crate::harness::{Context, Stop, TestResult};

/// What `# ` begins is typed at root's prompt.
const PROMPT: &str = "# ";

/// The variable of the README that names a tree, and where it is on the fresh machine: where the README says.
const TREE: &str = "/var/cache/spinney/trees/debian-13";

/// Commands that are run, and print something else here than on a host with a network.
const ELSEWHERE: [(&str, &str); 1] = [("spinney net doctor", "no name server is in reach")];

/// A block with one of these is typed at a terminal by a person, who leaves it again.
const INTERACTIVE: [&str; 2] = ["login.noauth", "rescue.target"];

/// What a host is told that is itself confined, or has its limits in cgroup v1, as some that run tests are.
const LACKS: [&str; 2] = [
    "spinney: warning: this process lacks CAP_SYS_RESOURCE",
    "spinney: warning: this host has no controller ",
];

/// The README is that of the package.
fn readme() -> Result<String, Stop> {
    Ok(std::fs::read_to_string(checkout()?.join("README.md"))?)
}

pub fn typed(context: &Context, tree: &str) -> TestResult {
    needs("dpkg-deb")?;
    check()?;
    let readme = readme()?;
    let blocks = commands(&readme, PROMPT);
    assert!(blocks.len() > 8, "{} blocks", blocks.len());
    let bind = format!("--bind-ro={}:{TREE}", context.tree("debian-13")?.display());
    let host = Host::start(context, tree, &[&bind])?;
    host.install(context, "0.1.0-1")?;
    let mut differences = Vec::new();
    let mut typed = 0;
    let interactive = |shown: &Shown| INTERACTIVE.iter().any(|word| shown.command.contains(word));
    for block in blocks.iter().filter(|block| !block.iter().any(interactive)) {
        for shown in block {
            typed += 1;
            if let Some(difference) = differs(context, &host, shown) {
                differences.push(format!("README.md:{}: {}\n{difference}", shown.line, shown.command));
            }
        }
    }
    println!("    {typed} commands of README.md");
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    host.does(context, "for name in $(spinney list --quiet); do spinney terminate $name; done")?;
    host.0.stop()?;
    Ok(())
}

/// Types it; what was printed otherwise than shown.
fn differs(context: &Context, host: &Host, shown: &Shown) -> Option<String> {
    let script = format!("cd /root; T={TREE}; exec 2>&1; {}", shown.command);
    let ended = host.try_to(context, &script);
    // `run --detach` prints the name where stdout is no terminal. What this host's own supervisor lacks is no machine's fault.
    let aside = |line: &&str| {
        ["web", "db", "crash"].contains(line) || LACKS.iter().any(|lacks| line.starts_with(lacks))
    };
    let lines: Vec<&str> = ended.stdout.lines().filter(|line| !aside(line)).collect();
    let elsewhere = ELSEWHERE.iter().any(|(command, _)| shown.command.starts_with(command));
    match elsewhere {
        true if lines.is_empty() => Some("it prints nothing".to_owned()),
        true => None,
        false => difference(&shown.output, &lines.join("\n")),
    }
}
