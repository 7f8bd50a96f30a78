//! The syntax of .nspawn files (systemd.syntax(7)): lines with a section, a key and a value.

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NspawnLine {
    /// Where it begins, from 1.
    pub number: usize,
    /// The section it stands in; empty before the first.
    pub section: String,
    /// Left of the `=`.
    pub key: String,
    /// Right of it, continued lines joined by spaces.
    pub value: String,
}

/// A line that says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OddLine {
    /// Which, from 1.
    pub number: usize,
    /// What is odd about it.
    pub problem: String,
}

/// Reads all lines of a file. What is no assignment is odd, never an error: systemd warns of it and goes on.
pub fn parse(text: &str) -> (Vec<NspawnLine>, Vec<OddLine>) {
    let mut found = Vec::new();
    let mut odd = Vec::new();
    let mut section = String::new();
    for (number, line) in logical_lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix('[') {
            match rest.strip_suffix(']') {
                Some(name) => section = name.to_owned(),
                None => odd.push(OddLine { number, problem: "a section without ']'".to_owned() }),
            }
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim_end().to_owned(), value.trim_start().to_owned());
            found.push(NspawnLine { number, section: section.clone(), key, value });
        } else {
            odd.push(OddLine { number, problem: "no '='".to_owned() });
        }
    }
    (found, odd)
}

/// Lines with their numbers, without empty ones and comments; a backslash at its end joins a line with the next, comments
/// in between left out (systemd.syntax(7)).
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let is_comment = line.trim_start().starts_with(['#', ';']);
        if is_comment {
            continue;
        }
        let (part, continues) = match line.strip_suffix('\\') {
            // An even number of backslashes is that many of them, not a continuation.
            Some(part) if !ends_escaped(part) => (part, true),
            _ => (line, false),
        };
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        whole.push_str(part);
        if continues {
            whole.push(' ');
            open = Some((number, whole));
        } else if !whole.trim().is_empty() {
            lines.push((number, whole));
        }
    }
    lines.extend(open.filter(|(_, whole)| !whole.trim().is_empty()));
    lines
}

/// Whether what stands before a backslash makes it an escaped one.
fn ends_escaped(part: &str) -> bool {
    part.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Words, with quotes where they hold spaces: `a "b c" 'd e'`. A backslash is itself, as in systemd's own lists of strings.
///
/// # Errors
/// A quote that is not closed: what is wrong, as a verb phrase.
pub fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in text.chars() {
        match (character, quote) {
            (character, Some(open)) if character == open => quote = None,
            (character, Some(_)) => word.get_or_insert_default().push(character),
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (character, None) if character.is_ascii_whitespace() => words.extend(word.take()),
            (character, None) => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("has a quote that is not closed");
    }
    words.extend(word);
    Ok(words)
}
