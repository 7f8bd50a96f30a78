//! What is hidden of what clients say: times, process IDs and the like, which are never the same twice, and the names of the test's
//! own. Nothing else is, and columns stay where they are: names have one length, and what replaces them has the same.

use std::path::Path;

use spinney::manager::object_path::encode;

use super::steps::Hide;
use crate::command::Ended;
use crate::harness::TestResult;

/// Names that steps give to machines and images: variables of their command lines.
const WORDS: [&str; 9] = ["deb", "tiny", "one", "two", "three", "four", "raw", "raw2", "used"];

/// How long each of them is: the longest prefix of a test, and the longest word.
const LENGTH: usize = 24;

/// What is the test's own in what is said, and what stands for it in the record.
pub struct Names {
    prefix: String,
    replacements: Vec<(String, String)>,
}

impl Names {
    pub fn new(prefix: &str, directory: &Path, trees: &Path, port: u16) -> Self {
        let mut names = Self { prefix: prefix.to_owned(), replacements: Vec::new() };
        for word in WORDS {
            let (full, stands) = (names.of(word), format!("{word:.<LENGTH$}"));
            // As object paths have it, and as unit names do.
            names.replacements.push((encode(&full), format!("_{word}_")));
            names.replacements.push((full.replace('-', "\\x2d"), format!("\\{word}\\")));
            names.replacements.push((full, stands));
        }
        names.replacements.push((directory.display().to_string(), "DIRECTORY".to_owned()));
        names.replacements.push((trees.display().to_string(), "TREES".to_owned()));
        // All ports that a server is given have five digits (ip_local_port_range).
        names.replacements.push((format!("127.0.0.1:{port}"), "127.0.0.1:#####".to_owned()));
        names
    }

    /// The whole name for a word.
    pub fn of(&self, word: &str) -> String {
        let name = format!("{}-{word}", self.prefix);
        format!("{name:x<LENGTH$}")
    }

    /// Variables and names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, String)> {
        WORDS.iter().map(|word| (*word, self.of(word)))
    }

    /// Hides what is the test's own.
    pub fn hide(&self, mut ended: Ended) -> Ended {
        for text in [&mut ended.stdout, &mut ended.stderr] {
            for (own, stands) in &self.replacements {
                *text = text.replace(own, stands);
            }
        }
        ended
    }
}

/// Hides in `text` what `hide` says.
pub fn hide(text: &str, hide: &Hide) -> String {
    let by_line = |change: &dyn Fn(&str) -> Option<String>| -> String {
        text.lines().filter_map(change).map(|line| line + "\n").collect()
    };
    match *hide {
        Hide::After(beginning) => by_line(&|line| {
            let at = line.find(beginning).filter(|at| line[..*at].trim().is_empty());
            Some(at.map_or(line.to_owned(), |at| format!("{}#", &line[..at + beginning.len()])))
        }),
        Hide::Number(before) => by_line(&|line| {
            let Some((left, right)) = line.split_once(before) else { return Some(line.to_owned()) };
            Some(format!("{left}{before}#{}", right.trim_start_matches(|c: char| c.is_ascii_digit())))
        }),
        Hide::Shape(shape) => shaped(text, shape),
        Hide::Line(beginning) => {
            by_line(&|line| (!line.trim_start().starts_with(beginning)).then(|| line.to_owned()))
        }
        Hide::From(beginning) => {
            let kept = text.lines().take_while(|line| !line.trim_start().starts_with(beginning));
            kept.map(|line| format!("{line}\n")).collect()
        }
        Hide::Order => {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.iter().map(|line| format!("{line}\n")).collect()
        }
    }
}

/// Replaces each part of `text` that has the shape by as many `#`: `9` is a digit, `f` a hexadecimal one, `A` a letter, anything
/// else itself. What goes on with one more digit or letter has another shape.
fn shaped(text: &str, shape: &str) -> String {
    let (text, shape): (Vec<char>, Vec<char>) = (text.chars().collect(), shape.chars().collect());
    let fits = |(have, want): (&char, &char)| match want {
        '9' => have.is_ascii_digit(),
        'f' => have.is_ascii_hexdigit(),
        'A' => have.is_ascii_alphabetic(),
        other => have == other,
    };
    let word = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(char::is_ascii_alphanumeric);
    let mut out = String::new();
    let mut at = 0;
    while let Some(char) = text.get(at) {
        let end = at + shape.len();
        let there = text.get(at..end).is_some_and(|part| part.iter().zip(&shape).all(fits));
        if there && !word(at.checked_sub(1)) && !word(Some(end)) {
            out.extend(std::iter::repeat_n('#', shape.len()));
            at = end;
        } else {
            out.push(*char);
            at += 1;
        }
    }
    out
}

/// What is hidden, of what, and what is left.
pub fn table() -> TestResult {
    let rows = [
        (Hide::After("Since: "), "  Since: Sun; 2s ago\nSince\n", "  Since: #\nSince\n"),
        (Hide::After("Id="), "Id=12\nLeaderId=12\n", "Id=#\nLeaderId=12\n"),
        (Hide::Number("Leader: "), "   Leader: 4711 (init)\n", "   Leader: # (init)\n"),
        (Hide::Number("job "), "transfer job 12. Press\nno\n", "transfer job #. Press\nno\n"),
        (Hide::Shape("AAA 9999"), "Sun 2026 Sun 20261 ASun 2026\n", "######## Sun 20261 ASun 2026\n"),
        (Hide::Shape("ffff"), "(00af) x00af 00af0\n", "(####) x00af 00af0\n"),
        (Hide::Line("VSockCID="), "A=1\nVSockCID=2\nB=3\n", "A=1\nB=3\n"),
        (Hide::From("Unit: "), "A: 1\n  Unit: x\n  y\n", "A: 1\n"),
        (Hide::Order, "b\na\n", "a\nb\n"),
    ];
    for (rule, text, expected) in rows {
        assert_eq!(hide(text, &rule), expected, "{rule:?}");
    }
    let names = Names::new("rt12-3", Path::new("/var/tmp/d/rt12-3"), Path::new("/srv/trees"), 40123);
    let said = |stdout: &str| Ended { status: 0, stdout: stdout.to_owned(), stderr: String::new() };
    let one = names.of("one");
    assert_eq!(one, "rt12-3-onexxxxxxxxxxxxxx");
    let text = format!(
        "{one} machine-{}.scope {} /var/tmp/d/rt12-3/x 127.0.0.1:40123",
        one.replace('-', "\\x2d"),
        encode(&one)
    );
    let expected = "one..................... machine-\\one\\.scope _one_ DIRECTORY/x 127.0.0.1:#####";
    assert_eq!(names.hide(said(&text)).stdout, expected);
    Ok(())
}
