//! Text of a guest, made safe to print.
//!
//! Console output and status texts end up in error messages, in our manager's status and in tables. A guest is hostile:
//! nothing of it may steer the user's terminal. So: no escape sequences, no control characters (C0, C1), none of the
//! Unicode characters that reorder or hide text, always valid UTF-8, bounded lines. Pure functions over bytes.

use std::collections::VecDeque;

/// A line longer than this many characters is cut: it is an error message's part, not the log.
pub const LINE_CHARACTERS: usize = 400;

/// Stands for what was cut away.
const CUT: char = '…';

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;

/// One line (a newline in it becomes a space), at most [`LINE_CHARACTERS`] long.
pub fn line(bytes: &[u8]) -> String {
    clean_line(&without_escapes(bytes))
}

/// One line as by [`line()`], however long it is: for logs, which are shown whole.
pub fn whole_line(bytes: &[u8]) -> String {
    clean(&without_escapes(bytes))
}

/// The last `count` lines of console output that are not blank, oldest first, each as by [`line()`]. Where output went back
/// to the line's start (a progress bar), what was written last is taken.
///
/// `cut` says that `bytes` begins somewhere in the middle of the output: the rest of a line there is left out, unless
/// it is all there is.
pub fn last_lines(bytes: &[u8], count: usize, cut: bool) -> Vec<String> {
    let bytes = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) if cut && end + 1 < bytes.len() => &bytes[end + 1..],
        // A character cut in two begins with up to three bytes that continue it.
        _ if cut => &bytes[bytes.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count()..],
        _ => bytes,
    };
    let text = without_escapes(bytes);
    let mut lines = VecDeque::new();
    for raw in text.rsplit(|&byte| byte == b'\n') {
        if lines.len() == count {
            break;
        }
        let visible = raw.rsplit(|&byte| byte == b'\r').map(clean_line).find(|line| !line.is_empty());
        if let Some(visible) = visible {
            lines.push_front(visible);
        }
    }
    lines.into()
}

/// `bytes` without escape sequences (ECMA-48; console_codes(4)), and without the ESC of those that are not complete.
///
/// Strings (ESC followed by one of `]PX^_`) go up to BEL or ESC \. A newline ends them as well: it is no part of one, and
/// a guest must not be able to hide the rest of its output by opening one.
fn without_escapes(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += match (byte, bytes.get(at + 1)) {
            (ESC, Some(b'[')) => 2 + control_sequence(&bytes[at + 2..]),
            (ESC, Some(b']' | b'P' | b'X' | b'^' | b'_')) => 2 + string(&bytes[at + 2..]),
            (ESC, Some(_)) => 1 + plain_escape(&bytes[at + 1..]),
            (ESC, None) => 1,
            // C1 controls as UTF-8: CSI, then DCS, SOS, OSC, PM, APC.
            (0xc2, Some(0x9b)) => 2 + control_sequence(&bytes[at + 2..]),
            (0xc2, Some(0x90 | 0x98 | 0x9d..=0x9f)) => 2 + string(&bytes[at + 2..]),
            _ => {
                kept.push(byte);
                1
            }
        };
    }
    kept
}

/// Length of a control sequence after its introducer: parameters, intermediates, one final byte.
fn control_sequence(bytes: &[u8]) -> usize {
    let body = bytes.iter().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    body + usize::from(matches!(bytes.get(body), Some(0x40..=0x7e)))
}

/// Length of a string's content with its end.
fn string(bytes: &[u8]) -> usize {
    let content = bytes.iter().take_while(|byte| !matches!(**byte, BEL | ESC | CAN | SUB | b'\n')).count();
    content
        + match bytes.get(content..).unwrap_or_default() {
            [ESC, b'\\', ..] => 2,
            [BEL | CAN | SUB, ..] => 1,
            _ => 0,
        }
}

/// Length of an escape sequence after its ESC: intermediates, one final byte.
fn plain_escape(bytes: &[u8]) -> usize {
    let intermediates = bytes.iter().take_while(|byte| matches!(byte, 0x20..=0x2f)).count();
    intermediates + usize::from(matches!(bytes.get(intermediates), Some(0x30..=0x7e)))
}

fn clean_line(bytes: &[u8]) -> String {
    // Four bytes a character suffice, and keep the work on a line of a megabyte small.
    let (bytes, long) = match bytes.get(..LINE_CHARACTERS * 4) {
        Some(start) => (start, bytes.len() > start.len()),
        None => (bytes, false),
    };
    let mut clean = clean(bytes);
    let cut = clean.char_indices().nth(LINE_CHARACTERS).map(|(index, _)| index);
    if let Some(index) = cut {
        clean.truncate(index);
    }
    if cut.is_some() || (long && !clean.is_empty()) {
        clean.push(CUT);
    }
    clean
}

fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let visible =
        text.chars().map(|c| if matches!(c, '\t' | '\n') { ' ' } else { c }).filter(|&c| is_safe(c));
    let mut clean: String = visible.collect();
    clean.truncate(clean.trim_end().len());
    clean
}

/// Neither a control character nor one that changes the order or the visibility of its neighbours (Unicode's
/// bidirectional controls, line separators, zero-width and tag characters).
pub fn is_safe(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line() {
        let long = "é".repeat(LINE_CHARACTERS + 1);
        let long_cut = format!("{}…", "é".repeat(LINE_CHARACTERS));
        let huge = "x".repeat(1 << 20);
        let huge_cut = format!("{}…", "x".repeat(LINE_CHARACTERS));
        let table: &[(&str, &[u8], &str)] = &[
            ("plain", b"Welcome to Debian", "Welcome to Debian"),
            ("utf-8", "Grüße, 木".as_bytes(), "Grüße, 木"),
            ("colour", b"[\x1b[0;32m  OK  \x1b[0m] Started", "[  OK  ] Started"),
            ("cursor and erase", b"a\x1b[2J\x1b[1;1H\x1b[?25lb", "ab"),
            ("intermediates", b"a\x1b[0 qb\x1b(Bc\x1b7d\x1b=e", "abcde"),
            ("title by BEL", b"a\x1b]0;evil\x07b", "ab"),
            ("title by ST", b"a\x1b]0;evil\x1b\\b", "ab"),
            ("hyperlink", b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("device control", b"a\x1bPq#0\x1b\\b\x1b_x\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e", "abcde"),
            ("string that never ends", b"a\x1b]0;evil", "a"),
            ("string ended by the line's end", b"a\x1b]0;evil\nb", "a b"),
            ("string ended by another escape", b"a\x1b]0;evil\x1b[31mb", "ab"),
            ("sequence inside a sequence", b"a\x1b[\x1b[31mb", "ab"),
            ("stripping does not join a new one", b"a\x1b\x1b[0m[31mb", "a[31mb"),
            ("lone escape at the end", b"a\x1b", "a"),
            ("unfinished sequence", b"a\x1b[31", "a"),
            ("C1 as UTF-8", "a\u{9b}31mb\u{9d}0;evil\u{7}c\u{85}d".as_bytes(), "abcd"),
            ("C1 as bytes", b"a\x9b31mb", "a\u{fffd}31mb"),
            ("controls", b"a\x00b\x07c\x08d\x0ee\x7ff", "abcdef"),
            ("tab and newline", b"a\tb\nc", "a b c"),
            ("bidirectional", "a\u{202e}b\u{2066}c\u{200f}d\u{feff}e".as_bytes(), "abcde"),
            ("invalid UTF-8", b"a\xff\xfeb\xe6\x9c", "a\u{fffd}\u{fffd}b\u{fffd}"),
            ("spaces at the end", b"a  \r", "a"),
            ("long", long.as_bytes(), &long_cut),
            ("huge", huge.as_bytes(), &huge_cut),
            ("nothing", b"", ""),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(line(bytes), *expected, "{name}");
        }
        assert_eq!(whole_line(huge.as_bytes()), huge);
        assert_eq!(whole_line(b"[\x1b[0;32m  OK  \x1b[0m] a\tb \n"), "[  OK  ] a b");
    }

    #[test]
    fn several_lines() {
        type Row = (&'static str, &'static [u8], usize, bool, &'static [&'static str]);
        let table: &[Row] = &[
            ("all", b"one\r\ntwo\r\n", 5, false, &["one", "two"]),
            ("the last", b"one\ntwo\nthree\n", 2, false, &["two", "three"]),
            ("none asked", b"one\n", 0, false, &[]),
            ("no newline at the end", b"one\ntwo", 5, false, &["one", "two"]),
            ("blank ones do not count", b"one\n\n  \n\x1b[0m\ntwo\n\n", 2, false, &["one", "two"]),
            ("progress", b"10%\r20%\r100%\r\ndone\n", 5, false, &["100%", "done"]),
            ("progress wiped", b"working\r\x1b[K\ndone\n", 5, false, &["working", "done"]),
            ("a hidden string ends with its line", b"\x1b]0;a\nshown\n", 5, false, &["shown"]),
            ("cut in a line", b"f one\ntwo\n", 5, true, &["two"]),
            ("cut in the only line", b"f one", 5, true, &["f one"]),
            ("cut in the only line, ended", b"f one\n", 5, true, &["f one"]),
            ("cut in a character", b"\x9c\xa8 one", 5, true, &[" one"]),
            ("nothing", b"", 5, true, &[]),
        ];
        for (name, bytes, count, cut, expected) in table {
            assert_eq!(last_lines(bytes, *count, *cut), *expected, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_steers_a_terminal(bytes: Vec<u8>, text in "[\u{1b}\\[\\]0-9;m\u{9b}\u{7}a\u{202e}\n\r\\\\]{0,40}") {
            for input in [bytes.as_slice(), text.as_bytes()] {
                for line in last_lines(input, 100, true).iter().chain([&line(input)]) {
                    proptest::prop_assert!(line.chars().all(is_safe), "{:?}", line);
                    proptest::prop_assert!(line.chars().count() <= LINE_CHARACTERS + 1);
                }
            }
        }
    }
}
