//! One page, section by section.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::SECTION;
use super::prose::{self, Block};

/// How the `roff` crate has apostrophes come out as such.
const APOSTROPHES: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The page of `command` in the language of man(7).
pub(super) fn render(command: &Command, name: &str, typed: &str) -> String {
    let whole = name == typed;
    let man = Man::new(command.clone());
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render_name_section(&mut bytes);
    let _ = man.render_synopsis_section(&mut bytes);
    // No date: the day it was made would make each build another one.
    let title = name.to_uppercase().replace('-', "\\-");
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(".TH {title} {SECTION} \"\" \"spinney {version}\" \"User Commands\"\n");
    text += &String::from_utf8_lossy(&bytes);

    let blocks = prose::blocks(command);
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    if whole {
        paragraphs(&mut roff, prose::WHOLE);
        verbs(&mut roff, command);
    }
    describe(&mut roff, &blocks);
    text += &roff.to_roff();
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        let mut options = Vec::new();
        let _ = man.render_options_section(&mut options);
        text += &below_one_heading(&String::from_utf8_lossy(&options));
    }

    let mut roff = Roff::new();
    if !whole && command.has_subcommands() {
        roff.control("SH", ["COMMANDS"]);
        verbs(&mut roff, command);
    }
    if whole {
        roff.control("SH", ["FILES"]);
        pairs(&mut roff, prose::FILES.iter().copied());
        roff.control("SH", ["ENVIRONMENT"]);
        pairs(&mut roff, prose::ENVIRONMENT.iter().copied());
    }
    examples(&mut roff, &blocks, whole);
    roff.control("SH", ["EXIT STATUS"]);
    let statuses: Vec<&String> = blocks.iter().filter_map(Block::exit_status).collect();
    match statuses.as_slice() {
        [] => paragraphs(&mut roff, &[prose::EXIT_STATUS]),
        found => found.iter().for_each(|text| paragraphs(&mut roff, &[text.as_str()])),
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(see_also(name, command));
    text += &roff.to_roff();
    // Each section that clap_mangen writes brings it: once is enough.
    let (head, rest) = text.split_once(APOSTROPHES).unwrap_or((&text, ""));
    [head, APOSTROPHES, &rest.replace(APOSTROPHES, "")].concat()
}

/// Groups of options, each a section for clap_mangen, as parts of one.
fn below_one_heading(options: &str) -> String {
    const OPTIONS: &str = ".SH OPTIONS\n";
    let parts = options.replace(OPTIONS, "").replace(".SH ", ".SS ");
    let (head, rest) = parts.split_once(APOSTROPHES).unwrap_or(("", &parts));
    [head, APOSTROPHES, OPTIONS, rest].concat()
}

fn paragraphs(roff: &mut Roff, texts: &[&str]) {
    for text in texts {
        roff.control("PP", []);
        roff.text([roman(*text)]);
    }
}

fn describe(roff: &mut Roff, blocks: &[Block]) {
    for block in blocks {
        match block {
            Block::Text(text) => paragraphs(roff, &[text.as_str()]),
            Block::List { heading, rows } if !block.is_examples() => {
                roff.control("SS", [heading.as_str()]);
                pairs(roff, rows.iter().map(|(term, text)| (term.as_str(), text.as_str())));
            }
            Block::List { .. } | Block::ExitStatus(_) => {}
        }
    }
}

fn examples(roff: &mut Roff, blocks: &[Block], whole: bool) {
    let found = blocks.iter().filter(|block| block.is_examples());
    let rows: Vec<(String, String)> = match whole {
        true => prose::EXAMPLES.iter().map(|(term, text)| ((*term).to_owned(), (*text).to_owned())).collect(),
        false => found
            .filter_map(|block| match block {
                Block::List { rows, .. } => Some(rows.clone()),
                _ => None,
            })
            .flatten()
            .collect(),
    };
    if !rows.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        pairs(roff, rows.iter().map(|(term, text)| (term.as_str(), text.as_str())));
    }
}

/// Terms, each with what it means.
fn pairs<'a>(roff: &mut Roff, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    for (term, text) in rows {
        roff.control("TP", []);
        roff.text([bold(term)]);
        if !text.is_empty() {
            roff.text([roman(text)]);
        }
    }
}

fn verbs(roff: &mut Roff, command: &Command) {
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    let rows: Vec<(String, String)> = shown
        .map(|verb| {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let names: Vec<&str> =
                std::iter::once(verb.get_name()).chain(verb.get_visible_aliases()).collect();
            (names.join(", "), about)
        })
        .collect();
    pairs(roff, rows.iter().map(|(term, text)| (term.as_str(), text.as_str())));
}

fn see_also(name: &str, command: &Command) -> Vec<Inline> {
    let mut names = prose::related(name);
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    names.extend(verbs.map(|verb| (format!("{name}-{}", verb.get_name()), SECTION)));
    let mut words = Vec::new();
    for (place, (name, section)) in names.into_iter().enumerate() {
        if place > 0 {
            words.push(roman(", "));
        }
        words.extend([bold(name), roman(format!("({section})"))]);
    }
    words
}
