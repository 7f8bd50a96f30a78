//! The command line as a whole: which verb, which tree, which command; options before and after the tree.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches};

use super::arguments::{Arguments, RunArguments};
use super::refusal::Refusal;
use super::settings::{GivenOption, given_in_order};
use super::verb::Verb;

/// What was asked for.
#[derive(Debug)]
pub enum Invocation {
    /// `spinney run`
    Run(Box<RunInvocation>),
    /// Any other verb.
    Verb(Box<Verb>),
}

/// `spinney run`, as it was said.
#[derive(Debug)]
pub struct RunInvocation {
    /// The options.
    pub options: RunArguments,
    /// `TREE` or `--directory=`.
    pub tree: PathBuf,
    /// It was given as `TREE`, not by an option.
    pub operand: bool,
    /// It was not given: it is the image that has the machine's name.
    pub by_name: bool,
    /// It was given as `TREE` and without a slash: where there is no such directory it names an image.
    pub may_be_image: bool,
    /// The command, or the init's arguments.
    pub command: Vec<OsString>,
    /// The options that give settings, in the order given: for mounts it counts.
    pub given: Vec<GivenOption>,
}

/// Parses a whole command line, program name included.
pub fn parse(arguments: Vec<OsString>) -> Result<Invocation, Refusal> {
    if arguments.len() < 2 {
        return Err(Refusal::error("no command given", "spinney run TREE boots a tree; see spinney --help"));
    }
    if arguments[1] == "run" {
        return parse_run(arguments);
    }
    // clap has a verb help, and no help for it.
    let arguments = match arguments.as_slice() {
        [program, help, option] if help == "help" && (option == "--help" || option == "-h") => {
            vec![program.clone(), help.clone()]
        }
        _ => arguments,
    };
    let matches = matches_of(&arguments)?;
    match Arguments::from_arg_matches(&matches).map_err(|error| Refusal::of(&error, None))?.verb {
        // Not reached while `run` has no alias; harmless if it gets one.
        Verb::Run(_) => parse_run(arguments),
        verb => Ok(Invocation::Verb(Box::new(verb))),
    }
}

/// `spinney run` takes options before and after TREE, and the command with or without `--` before it.
///
/// clap ends options at the first operand, as getopt does for systemd-nspawn, so with `--directory=` the operands are
/// the command. Without it the first operand is TREE; when an option follows it, the line is read once more without it.
fn parse_run(mut arguments: Vec<OsString>) -> Result<Invocation, Refusal> {
    let after_dashes = arguments.iter().position(|argument| argument == "--").map(|at| {
        let command = arguments.split_off(at + 1);
        arguments.truncate(at);
        command
    });
    let mut matches = matches_of(&arguments)?;
    let (mut options, mut operands) = options_and_operands(&matches)?;
    let mut tree = None;
    let by_option = options.directory.is_some() || options.image.is_some() || options.mstack.is_some();
    if !by_option && !operands.is_empty() {
        tree = Some(PathBuf::from(operands.remove(0)));
        if operands.first().is_some_and(|next| is_option(next)) {
            arguments.remove(arguments.len() - operands.len() - 1);
            matches = matches_of(&arguments)?;
            (options, operands) = options_and_operands(&matches)?;
        }
    }
    let operand = tree.is_some();
    let may_be_image = tree.as_ref().is_some_and(|tree| !tree.as_os_str().as_encoded_bytes().contains(&b'/'));
    let by_name = !by_option && !operand && options.machine.is_some();
    let tree = one_tree(&mut options, tree)?;
    let command = match after_dashes {
        None => operands,
        Some(command) if operands.is_empty() => command,
        // The command began before the dashes: they are its own.
        Some(rest) => operands.into_iter().chain([OsString::from("--")]).chain(rest).collect(),
    };
    let given = given_in_order(run_matches(&matches)?);
    Ok(Invocation::Run(Box::new(RunInvocation {
        options,
        tree,
        operand,
        by_name,
        may_be_image,
        command,
        given,
    })))
}

/// What is to be run, said in one of the ways there are.
fn one_tree(options: &mut RunArguments, operand: Option<PathBuf>) -> Result<PathBuf, Refusal> {
    let operand = operand.map(|tree| (tree.display().to_string(), tree));
    let by_option = [
        ("--directory=", options.directory.take()),
        ("--image=", options.image.take()),
        ("--mstack=", options.mstack.take()),
    ];
    let by_option = by_option.into_iter().filter_map(|(option, tree)| Some((option.to_owned(), tree?)));
    let mut given: Vec<(String, PathBuf)> = operand.into_iter().chain(by_option).collect();
    if let [(one, _), (other, _), ..] = given.as_slice() {
        return Err(Refusal::error(format!("two trees given: {one} and {other}"), "give one of them"));
    }
    let (option, tree) = match (given.pop(), &options.machine) {
        (Some(given), _) => given,
        // As systemd-nspawn does it.
        (None, Some(machine)) => ("--machine=".to_owned(), PathBuf::from(machine)),
        (None, None) => {
            return Err(Refusal::error(
                "no tree given",
                "spinney run TREE, where TREE is the root directory of a Linux system, or an image",
            ));
        }
    };
    // The directory that we are in is ".": an empty one is a script's variable that was never set.
    if tree.as_os_str().is_empty() {
        return Err(Refusal::error(
            if option.is_empty() {
                "the tree is an empty string".to_owned()
            } else {
                format!("{option} is empty")
            },
            "spinney run TREE; . is the directory that we are in",
        ));
    }
    if option == "--mstack=" && !tree.as_os_str().as_encoded_bytes().ends_with(b".mstack") {
        return Err(Refusal::error(
            format!("--mstack={} is no layered image by its name", tree.display()),
            "a directory whose name ends in .mstack (systemd.mstack(7))",
        ));
    }
    Ok(tree)
}

fn is_option(argument: &OsStr) -> bool {
    argument.len() > 1 && argument.as_encoded_bytes().starts_with(b"-")
}

fn matches_of(arguments: &[OsString]) -> Result<ArgMatches, Refusal> {
    let mut command = match arguments.get(1) {
        // The definitions of all the other verbs take longer to make than its own to match.
        Some(verb) if verb == "run" => {
            clap::Command::new("spinney").subcommand(RunArguments::augment_args(clap::Command::new("run")))
        }
        _ => Arguments::command(),
    };
    let matches = command.try_get_matches_from_mut(arguments);
    matches.map_err(|error| {
        // `net capture` is one of verbs below a verb.
        let (mut verb, mut names) = (&command, Vec::new());
        for word in arguments.iter().skip(1) {
            let Some(below) = verb.find_subcommand(word) else { break };
            names.push(below.get_name());
            verb = below;
        }
        Refusal::of(&error, Some(names.join(" ").as_str()).filter(|names| !names.is_empty()))
    })
}

fn run_matches(matches: &ArgMatches) -> Result<&ArgMatches, Refusal> {
    matches.subcommand_matches("run").ok_or_else(|| Refusal::error("no command given", "see spinney --help"))
}

fn options_and_operands(matches: &ArgMatches) -> Result<(RunArguments, Vec<OsString>), Refusal> {
    let mut options = RunArguments::from_arg_matches(run_matches(matches)?)
        .map_err(|error| Refusal::of(&error, Some("run")))?;
    let operands = std::mem::take(&mut options.operands);
    Ok((options, operands))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Result<RunInvocation, String> {
        let words = ["spinney", "run"].iter().chain(line).map(OsString::from).collect();
        match parse(words) {
            Ok(Invocation::Run(invocation)) => Ok(*invocation),
            Ok(Invocation::Verb(verb)) => Err(format!("{verb:?}")),
            Err(Refusal::Display(text)) => Err(text),
            Err(Refusal::Error { message, .. }) => Err(message.to_string()),
        }
    }

    #[test]
    fn definitions_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn trees_and_commands() {
        let rows: &[(&[&str], &str, &[&str])] = &[
            (&["/t"], "/t", &[]),
            (&["-D", "/t"], "/t", &[]),
            (&["-i", "/t.raw", "ls"], "/t.raw", &["ls"]),
            (&["--mstack=/t.mstack", "-x", "ls"], "/t.mstack", &["ls"]),
            (&["-D/t", "ls", "-l", "/"], "/t", &["ls", "-l", "/"]),
            (&["--directory=/t", "--", "ls", "-l"], "/t", &["ls", "-l"]),
            (&["/t", "--", "ls", "-l"], "/t", &["ls", "-l"]),
            (&["/t", "ls", "-x"], "/t", &["ls", "-x"]),
            (&["-x", "/t", "-q", "ls", "-x"], "/t", &["ls", "-x"]),
            (&["/t", "-q", "--", "-x"], "/t", &["-x"]),
            (&["/t", "sh", "-c", "x", "--", "-y"], "/t", &["sh", "-c", "x", "--", "-y"]),
            (&["/t", "--", "sh", "--", "y"], "/t", &["sh", "--", "y"]),
            (&["/t", "--"], "/t", &[]),
            (&["-M", "web"], "web", &[]),
            (&["--machine=web", "--", "ls"], "web", &["ls"]),
            (&["t", "--help-me", "--"], "", &[]),
            (&["/t", "-q", "-"], "/t", &["-"]),
        ];
        for (line, tree, command) in rows {
            match parsed(line) {
                Ok(invocation) => {
                    assert_eq!(invocation.tree, PathBuf::from(tree), "{line:?}");
                    assert_eq!(invocation.command, *command, "{line:?}");
                }
                Err(message) => assert_eq!((*tree, message.as_str()), ("", "unknown option --help-me")),
            }
        }
    }

    #[test]
    fn options_before_and_after_the_tree() {
        for line in [
            &["-x", "-M", "web", "/t", "--", "ls"] as &[&str],
            &["/t", "-x", "-M", "web", "--", "ls"],
            &["-x", "/t", "-Mweb", "ls"],
            &["--machine", "web", "-D", "/t", "--ephemeral", "ls"],
        ] {
            let invocation = parsed(line).unwrap();
            assert_eq!(invocation.options.ephemeral.as_deref(), Some("yes"), "{line:?}");
            assert_eq!(invocation.options.machine.as_deref(), Some("web"), "{line:?}");
            assert_eq!((invocation.tree, invocation.command), ("/t".into(), vec!["ls".into()]), "{line:?}");
        }
        let payloads_own = parsed(&["/t", "ls", "-x"]).unwrap();
        assert_eq!(payloads_own.options.ephemeral, None);
    }

    #[test]
    fn the_last_one_wins() {
        let options = parsed(&["-M", "a", "-M", "b", "-E", "A=1", "-E", "B=2", "/t"]).unwrap().options;
        assert_eq!(options.machine.as_deref(), Some("b"));
        assert_eq!(options.setenv, ["A=1", "B=2"]);
        let options = parsed(&["--private-users=no", "-U", "/t"]).unwrap().options;
        assert_eq!((options.private_users, options.private_users_pick), (None, true));
        let options = parsed(&["-U", "--private-users", "/t"]).unwrap().options;
        assert_eq!((options.private_users.as_deref(), options.private_users_pick), (Some("yes"), false));
        let options = parsed(&["-P", "--console=passive", "/t"]).unwrap().options;
        assert_eq!((options.console.as_deref(), options.pipe), (Some("passive"), false));
    }

    #[test]
    fn hints_are_of_the_verb() {
        let rows: &[(&[&str], &str)] = &[
            (&["stop", "--bogus", "web"], "see spinney stop --help"),
            (&["stop"], "see spinney stop --help"),
            (&["poweroff"], "see spinney stop --help"),
            (&["gc", "x"], "see spinney gc --help"),
            (&["net", "capture", "--bogus"], "see spinney net capture --help"),
            (&["net", "--bogus"], "see spinney net --help"),
            (&["run", "--bogus", "/t"], "see spinney run --help"),
            (&["--bogus"], "see spinney --help"),
            (&["quux"], "see spinney --help"),
            (&["lst"], "did you mean list?"),
            (&["help", "quux"], "see spinney --help"),
            (&["list", "-o", "yaml"], "one of: table, json"),
            (&["top", "--order=age"], "one of: name, cpu, memory, io, tasks, network"),
            (&["cancel-transfer", "x"], "see spinney cancel-transfer --help"),
            (
                &["set-limit", "web", "1G"],
                "disks of images have no limit here; spinney set changes limits of machines that run",
            ),
            (
                &["edit", "web"],
                "its settings are /etc/spinney/machines/NAME.toml, or /etc/systemd/nspawn/NAME.nspawn",
            ),
            (&["ps"], "spinney list"),
            (&["list", "-H", "far"], "spinney works on the host it runs on: ssh HOST spinney ..."),
            (
                &["start", "--runner=vmspawn", "web"],
                "machines are containers here; systemd-vmspawn(1) runs virtual ones",
            ),
            (
                &["run", "--bind-user=joe", "/t"],
                "systemd-nspawn has it; spinney nspawn --help says what is taken of its options",
            ),
            (&["sotp"], "did you mean stop?"),
        ];
        for (line, expected) in rows {
            let words = ["spinney"].iter().chain(*line).map(OsString::from).collect();
            let Err(Refusal::Error { hint, .. }) = parse(words) else { panic!("{line:?}") };
            assert_eq!(hint.as_deref(), Some(*expected), "{line:?}");
        }
    }

    #[test]
    fn refusals() {
        let rows: &[(&[&str], &str)] = &[
            (&[], "no tree given"),
            (&["-x"], "no tree given"),
            (&["--", "ls"], "no tree given"),
            (&["/t", "-D", "/u"], "two trees given: /t and --directory="),
            (&["/t", "-i", "/u"], "two trees given: /t and --image="),
            (&[""], "the tree is an empty string"),
            (&["-x", "-M", "web", "", "--", "ls"], "the tree is an empty string"),
            (&["-D", "/t", "--mstack=/u.mstack"], "two trees given: --directory= and --mstack="),
            (&["--mstack=/u"], "--mstack=/u is no layered image by its name"),
            (&["--nonsense", "/t"], "unknown option --nonsense"),
            (&["/t", "--nonsense"], "unknown option --nonsense"),
            (&["-y", "/t"], "unknown option -y"),
            (&["--network-vlan", "/t"], "unknown option --network-vlan"),
            (&["/t", "--machine"], "--machine needs a value"),
            (&["/t", "--machine", "--", "ls"], "--machine needs a value"),
            (&["--quiet=yes", "/t"], "--quiet takes no value"),
        ];
        for (line, expected) in rows {
            assert_eq!(parsed(line).unwrap_err(), *expected, "{line:?}");
        }
    }

    #[test]
    fn other_verbs() {
        let rows: &[(&[&str], &str)] = &[
            (&["spinney"], "no command given"),
            (&["spinney", "rum"], "unknown command \"rum\""),
            (&["spinney", "gc", "x"], "unexpected argument \"x\""),
            (&["spinney", "list", "-o", "yaml"], "bad value for --output: \"yaml\" is not known"),
            (&["spinney", "cancel-transfer", "x"], "bad value for ID: \"x\" is no number of list-transfers"),
            (&["spinney", "read-only", "web", "x"], "bad value for BOOL: \"x\" is neither yes nor no"),
        ];
        for (line, expected) in rows {
            match parse(line.iter().map(OsString::from).collect()) {
                Err(Refusal::Error { message, .. }) => assert_eq!(message.to_string(), *expected),
                other => panic!("{line:?}: {other:?}"),
            }
        }
        let help = parse(vec!["spinney".into(), "help".into(), "--help".into()]);
        assert!(matches!(&help, Err(Refusal::Display(text)) if text.contains("list-transfers")), "{help:?}");
        // What machinectl's users are used to say, and there is nothing to be done for.
        for line in [
            &["spinney", "--no-pager", "gc"] as &[&str],
            &["spinney", "gc", "--no-pager", "--no-ask-password", "--system"],
            &["spinney", "import-tar", "-N", "-m", "web.tar"],
        ] {
            let verb = parse(line.iter().map(OsString::from).collect());
            assert!(matches!(verb, Ok(Invocation::Verb(_))), "{line:?}: {verb:?}");
        }
        let gc = parse(vec!["spinney".into(), "gc".into()]);
        assert!(matches!(&gc, Ok(Invocation::Verb(verb)) if matches!(**verb, Verb::Gc(_))), "{gc:?}");
    }
}
