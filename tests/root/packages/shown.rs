//! What a document shows of a command, compared with what the command prints: the words are to be the same; times, sizes and addresses
//! differ from run to run. Pure.

/// A command of a document, with what is shown of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Of the document, from 1.
    pub line: usize,
    pub command: String,
    pub output: Vec<String>,
}

/// What stands for lines, or the rest of one, that are left out.
const LEFT_OUT: &str = "…";

/// Words that stand for one another.
const UNITS: [&[&str]; 3] = [
    &["ms", "s", "min"],
    &["B", "KiB", "MiB", "GiB"],
    &["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
];

/// The commands of the blocks in `document` in which somebody types at root's prompt, block by block; of those that begin with
/// `prompt`. What follows a command is its output, to the next one.
pub fn commands(document: &str, prompt: &str) -> Vec<Vec<Shown>> {
    let mut blocks: Vec<Vec<Shown>> = Vec::new();
    let mut inside = false;
    for (number, line) in document.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside;
            if inside {
                blocks.push(Vec::new());
            }
            continue;
        }
        let Some(block) = blocks.last_mut().filter(|_| inside) else { continue };
        match (line.strip_prefix(prompt), block.last_mut()) {
            (Some(command), _) => {
                block.push(Shown { line: number + 1, command: command.to_owned(), output: Vec::new() });
            }
            (None, Some(shown)) => shown.output.push(line.to_owned()),
            // A block that does not begin with a command is none of those.
            (None, None) => inside = false,
        }
        if !inside {
            blocks.pop();
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// Whether `printed` is what is shown; `None` if so, else what is wrong with it.
pub fn difference(shown: &[String], printed: &str) -> Option<String> {
    let printed: Vec<&str> = printed.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let shown: Vec<&str> = shown.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect();
    match follow(&shown, &printed) {
        true => None,
        false => Some(format!("shown:\n{}\nprinted:\n{}", shown.join("\n"), printed.join("\n"))),
    }
}

fn follow(shown: &[&str], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == LEFT_OUT => {
            (0..=printed.len()).any(|from| follow(rest, &printed[from..]))
        }
        Some((first, rest)) => {
            printed.split_first().is_some_and(|(line, others)| is_line(first, line) && follow(rest, others))
        }
    }
}

/// A line, word for word; columns may be wider.
fn is_line(shown: &str, printed: &str) -> bool {
    // The only word of a line, and a whole number: an exit status, or what somebody counts.
    let number = |text: &str| text.trim().parse::<u32>().is_ok();
    if number(shown) {
        return shown.trim() == printed.trim();
    }
    let (mut shown, mut printed) = (words(shown).into_iter(), words(printed).into_iter());
    loop {
        match (shown.next(), printed.next()) {
            (Some(LEFT_OUT), _) | (None, None) => return true,
            (Some(shown), Some(printed)) if is_word(shown, printed) => {}
            _ => return false,
        }
    }
}

/// Words of a line; a second ago is now.
fn words(line: &str) -> Vec<&str> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if let [.., ago, "ago"] = &mut words[..]
        && ago.strip_suffix('s').is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    {
        words.truncate(words.len() - 2);
        words.extend(["just", "now"]);
    }
    words
}

fn is_word(shown: &str, printed: &str) -> bool {
    if let Some((start, "")) = shown.split_once(LEFT_OUT) {
        return printed.starts_with(start);
    }
    // What is a second in one run is milliseconds in another.
    let unit = UNITS.iter().any(|units| units.contains(&shown) && units.contains(&printed));
    shown == printed || unit || (has_digit(shown) && shape(shown) == shape(printed))
}

fn has_digit(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
}

/// `text` without what differs from run to run.
fn shape(text: &str) -> String {
    // Digits of a MAC or IPv6 address, or of a machine's ID.
    let is_hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '/' | '-'));
    let text = text.trim_end_matches(',');
    if has_digit(text) && is_hex(text) && (text.contains(':') || text.len() > 8) {
        return "HEX".to_owned();
    }
    let mut shape = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() || (c == '.' && shape.ends_with('0')) { '0' } else { c };
        if c != '0' || !shape.ends_with('0') {
            shape.push(c);
        }
    }
    shape
}

/// What is wrong with this very comparison. There are no unit tests in this tier: it is asked before it is relied upon.
pub fn check() -> Result<(), String> {
    let table = [
        ("web is ready after 348 ms", "web is ready after 1.2 s", true),
        ("web is ready after 348 ms", "web is off after 348 ms", false),
        ("3", "3", true),
        ("3", "4", false),
        ("13.7", "13.2", true),
        ("web  a.b 10.213.3.178 +2 just now", "web a.b 10.0.3.17 +2 just now", true),
        ("fe:38:c6:95:1d:f9 x", "12:38:c6:95:1d:00 x", true),
        ("fd16:53f0:c712::1de db", "fd00:1::2 db", true),
        ("fd16:53f0:c712::1de db", "none db", false),
        ("is web-1 there", "is web-20 there", true),
        ("… rest", "anything at all", true),
        ("bind-ro=… here", "bind-ro=/x/y here", true),
        ("one two", "one", false),
        ("web +2 just now", "web +2 3s ago", true),
    ];
    for (shown, printed, same) in table {
        if difference(&[shown.to_owned()], printed).is_none() != same {
            return Err(format!("{shown:?} and {printed:?}: not {same}"));
        }
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let table = [
        ("a\n  …\nc", "a\nb\nb\nc", true),
        ("a\n  …", "a", true),
        ("a\n  …\nc", "a\nb", false),
        ("", "a", false),
    ];
    for (shown, printed, same) in table {
        if difference(&lines(shown), printed).is_none() != same {
            return Err(format!("{shown:?} and {printed:?}: not {same}"));
        }
    }
    let document = "x\n```\n# a\n1\n2\n# b\n```\n```\n$ c\n```\n```\nd\n# e\n```\n";
    let found = commands(document, "# ");
    let shown = |line, command: &str, output: &[&str]| Shown {
        line,
        command: command.to_owned(),
        output: output.iter().map(ToString::to_string).collect(),
    };
    match found == [[shown(3, "a", &["1", "2"]), shown(6, "b", &[])]] {
        true => Ok(()),
        false => Err(format!("{found:?}")),
    }
}
