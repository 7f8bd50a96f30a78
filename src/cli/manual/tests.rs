use super::prose::Block;
use super::*;
use crate::cli::arguments::definitions;

fn command() -> Command {
    Command::new("spinney").version("1").about("Boots").subcommand(
        Command::new("stop")
            .about("Power machines off")
            .long_about("Power machines off\n\nWith NAME, that one. Exit status: 1 if it fails.")
            .arg(clap::Arg::new("name").value_name("NAME").help("The machine.\nIt may hang"))
            .arg(clap::Arg::new("quiet").short('q').long("quiet").action(clap::ArgAction::SetTrue).help("Say nothing"))
            .after_help(
                "Examples:\n  spinney stop web    power it off\n  spinney stop -q a-long-name-of-a-machine\n                      \
                 the same\n\nNames:\n  .x  begins with a dot\n\n'It' is ended.",
            ),
    )
}

#[test]
fn sections_come_from_help() {
    let pages = pages(&command());
    assert_eq!(
        pages.iter().map(|page| page.file.as_str()).collect::<Vec<_>>(),
        ["spinney.1", "spinney-stop.1"]
    );
    let text = &pages[1].text;
    let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
    let expected =
        ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""];
    assert_eq!(sections, expected, "{text}");
    for part in [
        "spinney\\-stop \\- Power machines off",
        ".PP\nWith NAME, that one.",
        ".TP\n\\fBspinney stop web\\fR\npower it off",
        ".TP\n\\fBspinney stop \\-q a\\-long\\-name\\-of\\-a\\-machine\\fR\nthe same",
        ".SS Names\n.TP\n\\fB.x\\fR",
        ".SH \"EXIT STATUS\"\n.PP\n1 if it fails.",
        "\\fBspinney\\-start\\fR(1)",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn blocks_of_help() {
    let text = |text: &str| Block::Text(text.to_owned());
    let stop = command().find_subcommand("stop").cloned().unwrap();
    let blocks = prose::blocks(&stop);
    assert_eq!(blocks[..2], [text("Power machines off."), text("With NAME, that one.")]);
    assert_eq!(blocks[2], Block::ExitStatus("1 if it fails.".to_owned()));
    assert!(blocks[3].is_examples());
    assert_eq!(blocks[5], text("'It' is ended."));
}

/// Every verb has a page with all sections, and what pages point to is there.
#[test]
fn all_verbs_have_pages() {
    let all = pages(&definitions());
    let files: Vec<&str> = all.iter().map(|page| page.file.as_str()).collect();
    for file in ["spinney.1", "spinney-run.1", "spinney-copy-to.1", "spinney-net.1", "spinney-net-rules.1"] {
        assert!(files.contains(&file), "{file} {files:?}");
    }
    for hidden in ["spinney-pull-tar.1", "spinney-complete.1", "spinney-man.1", "spinney-help.1"] {
        assert!(!files.contains(&hidden), "{hidden}");
    }
    for Page { file, text } in &all {
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""]
        {
            assert!(text.contains(&format!(".SH {section}\n")), "{file}: {section}");
        }
        for (name, section) in prose::related(file.trim_end_matches(".1")) {
            let there = files.contains(&format!("{name}.{section}").as_str());
            assert!(there || name.starts_with("systemd") || name == "machinectl", "{file}: {name}");
        }
    }
    for verb in definitions().get_subcommands().filter(|verb| has_page(verb)) {
        let name = format!("spinney-{}", verb.get_name());
        assert!(prose::related(&name).len() > 2, "{name} belongs to no others");
    }
}
