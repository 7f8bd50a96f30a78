//! What may come next on a command line, for shells: found in the definitions that the command line is parsed by, so that it is never
//! behind them.
//!
//! [`completed`] is pure: it says what kind of thing is wanted. Which machines and images there are is looked up by whoever asks.
//! The shells' own part is small: [`script`].

use clap::{Arg, Command};

#[cfg(test)]
mod tests;

/// What may stand where the cursor is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completed {
    /// Words that are known, each whole as it may stand there, with what it means.
    pub words: Vec<(String, String)>,
    /// What else is wanted there.
    pub kinds: Vec<Kind>,
    /// What each word of these kinds has before it: `--option=`, `USER@`.
    pub prefix: String,
}

/// Things that are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Machines that run.
    Machines,
    /// Images, and names of machines that can be started.
    Images,
    /// Files; the shell knows.
    Files,
}

/// Verbs whose NAME is an image's.
const OF_IMAGES: [&str; 15] = [
    "start",
    "enable",
    "disable",
    "images",
    "image-status",
    "show-image",
    "clone",
    "rename",
    "remove",
    "read-only",
    "snapshot",
    "rollback",
    "diff",
    "export",
    "commit",
];

/// Verbs that make something of this NAME.
const OF_NEW_THINGS: [&str; 6] = ["pull", "pull-tar", "pull-raw", "import", "import-tar", "import-raw"];

/// The script that has `shell` ask us; `None` for one that there is none for.
pub fn script(shell: &str) -> Option<&'static str> {
    match shell {
        "bash" => Some(include_str!("spinney.bash")),
        "zsh" => Some(include_str!("spinney.zsh")),
        "fish" => Some(include_str!("spinney.fish")),
        _ => None,
    }
}

/// What may stand in place of the last of `words`, the first being the program's name.
pub fn completed(root: &Command, words: &[String]) -> Completed {
    let Some((current, before)) = words.split_last() else { return Completed::default() };
    let (mut command, mut operands, mut value_of, mut only_operands) = (root, 0, None, false);
    for word in before.iter().skip(1) {
        if value_of.take().is_some() {
            continue;
        }
        if only_operands || !word.starts_with('-') || word == "-" {
            match command.find_subcommand(word).filter(|_| operands == 0 && !only_operands) {
                Some(verb) => command = verb,
                None => operands += 1,
            }
        } else if word == "--" {
            only_operands = true;
        } else {
            value_of = option(command, word).filter(|option| takes_next_word(option));
        }
    }
    let verb = command.get_name();
    if let Some(option) = value_of {
        return of_value(option, verb, current, "");
    }
    if !only_operands && current.starts_with('-') {
        if let Some((name, value)) = current.split_once('=') {
            let Some(option) = option(command, name) else { return Completed::default() };
            return of_value(option, verb, value, &format!("{name}="));
        }
        return Completed { words: options(command, current), ..Completed::default() };
    }
    let mut found = Completed::default();
    if operands == 0 && !only_operands {
        found.words = verbs(command, current);
    }
    let operand = command.get_positionals().nth(operands).or_else(|| command.get_positionals().last());
    if let Some(operand) = operand.filter(|_| !command.is_subcommand_required_set()) {
        let of_operand = of_value(operand, verb, current, "");
        found.words.extend(of_operand.words);
        (found.kinds, found.prefix) = (of_operand.kinds, of_operand.prefix);
    }
    found
}

/// The option that is called `word`: `-o` or `--option`.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut all = command.get_arguments();
    match word.strip_prefix("--") {
        Some(long) => all.find(|option| {
            option.get_long() == Some(long)
                || option.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
        }),
        // Of several in one word the last may take the next word.
        None => {
            let last = word.chars().next_back()?;
            all.find(|option| option.get_short() == Some(last))
        }
    }
}

fn takes_next_word(option: &Arg) -> bool {
    let values = option.get_num_args().map_or(1, |values| values.min_values());
    option.get_action().takes_values() && values > 0 && !option.is_require_equals_set()
}

/// Options that begin with `current`, with a `=` where a value has to follow.
fn options(command: &Command, current: &str) -> Vec<(String, String)> {
    let shown = command.get_arguments().filter(|option| !option.is_hide_set());
    let named = shown.filter_map(|option| {
        let end = if option.get_action().takes_values() && takes_next_word(option) { "=" } else { "" };
        let word = format!("--{}{end}", option.get_long()?);
        let help = option.get_help().map(|help| first_line(&help.to_string()));
        word.starts_with(current).then(|| (word, help.unwrap_or_default()))
    });
    named.collect()
}

/// Verbs that begin with `current`.
fn verbs(command: &Command, current: &str) -> Vec<(String, String)> {
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let named = shown.filter(|verb| verb.get_name().starts_with(current));
    let about = |verb: &Command| verb.get_about().map(|about| first_line(&about.to_string()));
    named.map(|verb| (verb.get_name().to_owned(), about(verb).unwrap_or_default())).collect()
}

/// What may stand as the value of an option, or as an operand.
fn of_value(value: &Arg, verb: &str, current: &str, prefix: &str) -> Completed {
    let name = value.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let known = value.get_possible_values().into_iter().filter(|word| !word.is_hide_set());
    let mut words: Vec<(String, String)> = known
        .map(|word| {
            let help = word.get_help().map(|help| first_line(&help.to_string()));
            (word.get_name().to_owned(), help.unwrap_or_default())
        })
        .collect();
    if name == "BOOL" {
        words.extend(["yes", "no"].map(|word| (word.to_owned(), String::new())));
    }
    words.retain(|(word, _)| word.starts_with(current));
    words.iter_mut().for_each(|(word, _)| word.insert_str(0, prefix));
    let mut prefix = prefix.to_owned();
    let kinds = match name {
        "NAME" if !value.is_positional() || OF_NEW_THINGS.contains(&verb) => vec![],
        "NAME" | "IMAGE" if OF_IMAGES.contains(&verb) => vec![Kind::Images],
        "NAME" | "OTHER" => vec![Kind::Machines],
        "[USER@]NAME" => {
            if let Some((user, _)) = current.split_once('@') {
                prefix = format!("{prefix}{user}@");
            }
            vec![Kind::Machines]
        }
        "NAME|TREE" => vec![Kind::Machines, Kind::Images, Kind::Files],
        "NAME|PATH" | "TREE" => vec![Kind::Images, Kind::Files],
        "PATH" | "FILE" | "DIR" | "SOURCE" | "SRC" | "DST" | "COMMAND" => vec![Kind::Files],
        _ => vec![],
    };
    Completed { words, kinds, prefix }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
