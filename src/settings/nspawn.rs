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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(number: usize, section: &str, key: &str, value: &str) -> NspawnLine {
        NspawnLine { number, section: section.to_owned(), key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn lines() {
        let rows: &[(&str, &[NspawnLine])] = &[
            ("", &[]),
            ("[Exec]\nBoot=yes", &[line(2, "Exec", "Boot", "yes")]),
            ("\u{feff}[Exec]\r\nBoot = yes \r\n", &[line(2, "Exec", "Boot", "yes")]),
            ("# a\n; b\n  # c\n\n[Exec]\nBoot=\n", &[line(6, "Exec", "Boot", "")]),
            ("[A]\n[B]\na=b=c\n[A]\nd=e", &[line(3, "B", "a", "b=c"), line(5, "A", "d", "e")]),
            ("[A]\na=b\\\n  c\\\n# x\nd\ne=f", &[line(2, "A", "a", "b   c d"), line(6, "A", "e", "f")]),
            ("[A]\na=b\\\\\nc=d", &[line(2, "A", "a", "b\\\\"), line(3, "A", "c", "d")]),
            ("[A]\na=b\\", &[line(2, "A", "a", "b")]),
            ("a=b", &[line(1, "", "a", "b")]),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), (expected.to_vec(), Vec::new()), "{text:?}");
        }
        let odd = |number, problem: &str| OddLine { number, problem: problem.to_owned() };
        assert_eq!(parse("[A\nx\n"), (Vec::new(), vec![odd(1, "a section without ']'"), odd(2, "no '='")]));
    }

    #[test]
    fn quoted_words() {
        let rows: &[(&str, Result<&[&str], &str>)] = &[
            ("", Ok(&[])),
            ("  a\tb ", Ok(&["a", "b"])),
            (r#""a b" 'c "d"' e"f g"h"#, Ok(&["a b", r#"c "d""#, "ef gh"])),
            (r#""" x"#, Ok(&["", "x"])),
            (r"a\ b\n", Ok(&[r"a\", r"b\n"])),
            ("'a", Err("has a quote that is not closed")),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(words(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(\\PC|[\\[\\]=\\\\\n#;'\"])*") {
            let (lines, odd) = parse(&text);
            let numbers = lines.iter().map(|line| line.number).chain(odd.iter().map(|line| line.number));
            prop_assert!(numbers.max().unwrap_or(0) <= text.lines().count());
            let _ = words(&text);
        }

        #[test]
        fn what_is_written_is_read(
            given in prop::collection::vec(("[A-Z][a-z]{1,5}", "[A-Z][A-Za-z]{1,8}", "[!-Z^-~]([ -Z^-~]{0,10}[!-Z^-~])?"), 0..8)
        ) {
            let text: String = given.iter().map(|(section, key, value)| format!("[{section}]\n{key}={value}\n")).collect();
            let (lines, odd) = parse(&text);
            prop_assert_eq!(odd, Vec::new());
            let read: Vec<_> = lines.into_iter().map(|line| (line.section, line.key, line.value)).collect();
            prop_assert_eq!(read, given);
        }

        #[test]
        fn words_that_are_quoted_are_read(given in prop::collection::vec("[ -!#-~]{0,8}", 0..6)) {
            let text: Vec<String> = given.iter().map(|word| format!("\"{word}\"")).collect();
            prop_assert_eq!(words(&text.join(" ")), Ok(given));
        }
    }
}
