//! `spinney net rules`

use crate::cli::output::table::{Cell, Table};
use crate::cli::output::{Colour, Output};
use crate::cli::verbs::{fail, named};
use crate::cli::{EXIT_FAILURE, require_root};
use crate::machine::MachineHandle;
use crate::network::rules::listing::{self, ChainRule, Does, Line, Listing, Other, State};
use crate::supervisor::printable;

const EXAMPLES: &str = "\
Examples:
  spinney net rules          what is in force for all machines
  spinney net rules web      what is in force for web
  spinney net rules --json | jq '.elements[] | select(.state != \"in-force\")'
  nft list table inet spinney  the same, where the nft program is there";

/// Show the rules for machines' packets that are in force
///
/// What is in our tables, as nft's language has it, and whose it is; rules of ours at the head of other firewalls' chains; and
/// chains of others that drop packets of machines all the same. It is read from the kernel: what should be there and is not, is
/// shown too.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RulesArguments {
    /// The machine (default: all, and the rules that are about none in particular)
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// JSON
    #[arg(long)]
    json: bool,

    /// No headings
    #[arg(long)]
    no_legend: bool,
}

/// Runs the verb, gives the exit status.
pub(super) fn rules(arguments: &RulesArguments) -> u8 {
    let output = Output::new(false);
    if !require_root("net rules", "sudo spinney net rules", output) {
        return EXIT_FAILURE;
    }
    if let Some(name) = &arguments.name
        && let Err(error) = named(name).and_then(|name| MachineHandle::find(&name))
    {
        return fail(&error, output);
    }
    let listing = match listing::look(arguments.name.as_deref()) {
        Ok(listing) => listing,
        Err(error) => {
            output.error(&error, error.hint().as_deref());
            return EXIT_FAILURE;
        }
    };
    if arguments.json {
        return if output.json(&listing).is_ok() { 0 } else { EXIT_FAILURE };
    }
    show(&listing, !arguments.no_legend, output);
    0
}

fn show(listing: &Listing, heading: bool, output: Output) {
    let Listing { in_force, elements, chains, others } = listing;
    if elements.is_empty() && chains.is_empty() {
        output.text("No rules: there are no machines with a network of ours.\n");
        return;
    }
    let word = match in_force {
        true => output.in_colour(Colour::Green, "in force"),
        false => output.in_colour(Colour::Red, "not all in force, or not ours alone"),
    };
    output.text(&format!("Rules of inet spinney and bridge spinney: {word}\n\n"));
    output.table(&of_machines(elements), heading, false);
    if !others.is_empty() {
        output.text("\n");
        output.table(&of_others(others), heading, false);
    }
    if !chains.is_empty() {
        output.text("\n");
        output.table(&of_chains(chains), heading, false);
    }
}

/// What others have named.
fn safe(text: &str) -> Cell {
    printable::line(text.as_bytes()).into()
}

fn of_machines(lines: &[Line]) -> Table {
    let mut table = Table::new(&["OF", "TABLE", "SET", "ELEMENT", "MEANING"]);
    let mut lines: Vec<&Line> = lines.iter().collect();
    // What is of one machine stands together; within it, as the tables have it.
    lines.sort_by_key(|line| line.of.clone());
    for line in lines {
        let meaning = match line.state {
            State::InForce => Cell::from(line.meaning.as_str()),
            State::Missing => Cell::new("missing", Some(Colour::Red)),
            State::NotOurs => Cell::new("somebody else has put it there", Some(Colour::Red)),
        };
        table.add(vec![
            safe(line.of.as_deref().unwrap_or_default()),
            line.table.as_str().into(),
            safe(&line.set),
            line.element.as_str().into(),
            meaning,
        ]);
    }
    table
}

fn of_others(others: &[Other]) -> Table {
    let mut table = Table::new(&["OTHERS", "CHAIN", "INTERFACE", "PACKETS"]);
    for other in others {
        let does = match other.does {
            Does::LetsPassForUs => Cell::new("pass, by a rule of ours at its head", Some(Colour::Green)),
            Does::DropsFrom => Cell::new("from there are dropped", Some(Colour::Red)),
            Does::DropsTo => Cell::new("to there are dropped", Some(Colour::Red)),
        };
        table.add(vec![safe(&other.table), safe(&other.chain), safe(&other.interface), does]);
    }
    table
}

fn of_chains(chains: &[ChainRule]) -> Table {
    let mut table = Table::new(&["TABLE", "CHAIN", "RULE"]);
    for ChainRule { table: of, chain, rule } in chains {
        table.add(vec![of.as_str().into(), chain.as_str().into(), rule.as_str().into()]);
    }
    table
}
