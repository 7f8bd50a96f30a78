//! docs/settings.md, and the manual page spinney.toml(5), say of every setting what the table of settings says.
//!
//! `SPINNEY_WRITE_DOCS=1 cargo test --lib documentation` writes their tables.

use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory;

use crate::cli::arguments::Arguments;
use crate::settings::keys::{self, Key, Scope, Trust};
use crate::settings::nspawn_layer::WITHOUT_EFFECT;

const BEGIN: &str = "<!-- settings: begin -->\n";
const END: &str = "<!-- settings: end -->\n";

/// What it does: as `spinney run --help` says it.
fn about(key: &Key) -> String {
    let mut command = Arguments::command();
    let run = command.find_subcommand_mut("run").unwrap();
    let long = key.option.trim_matches(['-', '=']);
    let argument = run.get_arguments().find(|argument| !long.is_empty() && argument.get_long() == Some(long));
    let help = argument.and_then(|argument| argument.get_help()).map(ToString::to_string);
    let words = if key.about.is_empty() { help.unwrap_or_default() } else { key.about.to_owned() };
    assert!(!words.is_empty(), "nothing says what {} does", key.path());
    // The default has a column of its own.
    let words = words
        .replace(" (the default)", "")
        .replace(" (default without a value)", "")
        .replace(" (default)", "");
    let words = match words.split_once(" (default: ") {
        Some((before, rest)) => format!("{before}{}", rest.split_once(')').map_or("", |(_, after)| after)),
        None => words,
    };
    words.replace('|', "\\|")
}

fn names(key: &Key) -> String {
    let several = |section: &str, names: &str| format!("[{section}] {names}");
    match key.nspawn {
        [] => String::new(),
        [only] => several(only.section, &format!("{}=", only.name)),
        [first, .., last] => several(first.section, &format!("{}= … {}=", first.name, last.name)),
    }
}

fn believed(key: &Key) -> &'static str {
    match key.trust {
        _ if key.nspawn.is_empty() => "",
        Trust::Free => "yes",
        Trust::Never => "no",
        Trust::OnlyYes => "all but no",
        Trust::OnlyDeny => "~ alone",
    }
}

fn tables() -> String {
    let mut text = String::new();
    for table in keys::tables() {
        write!(text, "\n### [{table}]\n\n").unwrap();
        text.push_str("| setting | what it does | TOML | default | option | .nspawn | untrusted |\n");
        text.push_str("|---|---|---|---|---|---|---|\n");
        for key in keys::all().filter(|key| key.table == table) {
            let option = if key.option.is_empty() { String::new() } else { format!("`{}`", key.option) };
            let machine = if key.scope == Scope::Machine { " ¹" } else { "" };
            let row = [
                format!("`{}`{machine}", key.name),
                about(key),
                key.kind.toml_type().to_owned(),
                key.default.to_owned(),
                option,
                names(key),
                believed(key).to_owned(),
            ];
            writeln!(text, "| {} |", row.join(" | ")).unwrap();
        }
    }
    text
}

/// For man(7): a hyphen that is typed, a backslash that is one, no request by accident.
fn roff(text: &str) -> String {
    let text = text.replace("\\|", "|").replace('\\', "\\\\").replace('-', "\\-").replace('…', "...");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

fn manual() -> String {
    let mut text = String::new();
    for table in keys::tables() {
        writeln!(text, ".SS [{table}]").unwrap();
        for key in keys::all().filter(|key| key.table == table) {
            let machine = if key.scope == Scope::Machine { ", one machine" } else { "" };
            writeln!(
                text,
                ".TP\n\\fB{}\\fR (\\fI{}{machine}\\fR)",
                roff(key.name),
                roff(key.kind.toml_type())
            )
            .unwrap();
            writeln!(text, "{}.", roff(about(key).trim_end_matches('.'))).unwrap();
            writeln!(text, "Default: {}.", roff(key.default)).unwrap();
        }
    }
    text
}

#[test]
fn every_setting_is_in_the_manual_page() {
    const BEGIN: &str = ".\\\" settings: begin\n";
    const END: &str = ".\\\" settings: end\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/man/spinney.toml.5");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    if std::env::var_os("SPINNEY_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", manual())).unwrap();
    } else {
        assert_eq!(written, manual(), "SPINNEY_WRITE_DOCS=1 cargo test --lib documentation writes it");
    }
}

#[test]
fn every_setting_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let expected = tables();
    if std::env::var_os("SPINNEY_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}\n{END}{after}")).unwrap();
    } else {
        assert_eq!(
            written.trim(),
            expected.trim(),
            "SPINNEY_WRITE_DOCS=1 cargo test --lib documentation writes it"
        );
    }
    for (_, name) in WITHOUT_EFFECT {
        assert!(text.contains(&format!("`{name}=`")), "{name}= is not documented");
    }
}

/// The examples of the page are right.
#[test]
fn examples_can_be_used() {
    use crate::settings::toml_layer::layer;
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md")).unwrap();
    let blocks: Vec<&str> =
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "{blocks:#?}");
    for block in blocks {
        let files = super::forms_tests::Files::new();
        let for_all = block.contains("spinney.toml");
        let path = if for_all { "spinney/spinney.toml" } else { "spinney/machines/m.toml" };
        let scope = if for_all { Scope::Everywhere } else { Scope::Machine };
        assert!(!layer(&Path::new("/x").into(), block, scope).unwrap().is_empty(), "{block}");
        files.write(path, block);
        files.asked("/m").unwrap();
    }
}
