//! The last screen of a console, from the end of its log: for who attaches later.
//!
//! Texts, colours and movements of the cursor are given back as they were. Questions to a terminal are left out, as its answers would
//! be typed into the guest by a terminal that nobody had asked (console_codes(4), ECMA-48): device status and attributes, and all
//! strings (OSC, DCS, APC, PM, SOS), which set titles at best.

const ESCAPE: u8 = 0x1b;

/// Finals of control sequences (`ESC [ ... final`) that draw: cursor movement, erasing, scrolling, insertion, colours, modes.
const DRAWING: &[u8] = b"@ABCDEFGHJKLMPSTXZ`abdefghlmrsu";

/// What of `log`, the end of a console's output, fills a screen of so many lines: from the last time that it was cleared, if that is
/// later.
pub(super) fn last_screen(log: &[u8], lines: usize) -> Vec<u8> {
    if lines == 0 {
        return Vec::new();
    }
    // The line that the cursor is in is the last one.
    let mut newlines = log.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let by_lines = newlines.nth(lines - 1).map_or(0, |(at, _)| at + 1);
    let cleared = [b"\x1b[2J".as_slice(), b"\x1bc"]
        .into_iter()
        .filter_map(|clear| log.windows(clear.len()).rposition(|window| window == clear))
        .max()
        .unwrap_or(0);
    without_questions(log.get(by_lines.max(cleared)..).unwrap_or_default())
}

fn without_questions(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if first != ESCAPE {
            match (first, kept.last()) {
                // ENQ asks too.
                (0x05, _) => {}
                // C1 as UTF-8: one character for ESC and a letter (ECMA-48, 5.3), which xterm obeys. Looked for in what is
                // kept, lest what is left out between its bytes make one.
                (0x80..=0x9f, Some(0xc2)) => drop(kept.pop()),
                _ => kept.push(first),
            }
            rest = after;
            continue;
        }
        let (sequence, keep) = sequence(rest);
        if keep {
            kept.extend_from_slice(sequence);
        }
        rest = rest.get(sequence.len()..).unwrap_or_default();
    }
    kept
}

/// The escape sequence at the start of `text`, and whether it only draws.
fn sequence(text: &[u8]) -> (&[u8], bool) {
    let upto = |end: usize| text.get(..end).unwrap_or(text);
    match text.get(1) {
        None => (text, false),
        Some(b'[') => {
            let body = text.get(2..).unwrap_or_default();
            let length = body.iter().position(|byte| !(0x20..0x40).contains(byte));
            match length.map(|length| (length, body.get(length).copied().unwrap_or_default())) {
                // Cut by the end of the text.
                None => (text, false),
                Some((length, last)) => {
                    let parameters = body.get(..length).unwrap_or_default();
                    // `>`, `=`, `$` and the like begin questions and settings of terminals, `?` modes alone.
                    let plain = parameters
                        .iter()
                        .all(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':' | b'?'));
                    let asks_modes =
                        parameters.starts_with(b"?") && !matches!(last, b'h' | b'l' | b'J' | b'K');
                    (upto(length + 3), plain && !asks_modes && DRAWING.contains(&last))
                }
            }
        }
        // Strings end with BEL or ESC \.
        Some(b']' | b'P' | b'_' | b'^' | b'X') => {
            let end = text.iter().enumerate().skip(2).find_map(|(at, byte)| match byte {
                0x07 => Some(at + 1),
                b'\\' if text[at - 1] == ESCAPE => Some(at + 1),
                _ => None,
            });
            (end.map_or(text, upto), false)
        }
        // Character sets: one byte more.
        Some(b'(' | b')' | b'*' | b'+' | b'#' | b'%' | b' ') => (upto(3), text.len() > 2),
        Some(b'Z') => (upto(2), false),
        Some(0x20..0x7f) => (upto(2), true),
        // No sequence; the byte after is its own.
        Some(_) => (upto(1), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screens() {
        let rows: &[(&str, &[u8], usize, &[u8])] = &[
            ("nothing", b"", 24, b""),
            ("no lines wanted", b"a\r\nb", 0, b""),
            ("all of it", b"a\r\nb\r\n", 24, b"a\r\nb\r\n"),
            ("the prompt's line alone", b"a\r\nb\r\nlogin: ", 1, b"login: "),
            ("two", b"a\r\nb\r\nlogin: ", 2, b"b\r\nlogin: "),
            ("three", b"a\r\nb\r\nlogin: ", 3, b"a\r\nb\r\nlogin: "),
            ("from a clear screen", b"old\r\n\x1b[2Jnew\r\n", 24, b"\x1b[2Jnew\r\n"),
            ("from a reset", b"old\x1bcnew", 24, b"\x1bcnew"),
            ("the clear screen is too far up", b"\x1b[2Ja\r\nb\r\nc", 1, b"c"),
            (
                "colours and movements",
                b"\x1b[1;31mred\x1b[0m\x1b[5;1Hx",
                24,
                b"\x1b[1;31mred\x1b[0m\x1b[5;1Hx",
            ),
            ("modes", b"\x1b[?25l\x1b[?25hx", 24, b"\x1b[?25l\x1b[?25hx"),
            ("where is the cursor", b"a\x1b[6nb\x1b[?6nc", 24, b"abc"),
            ("what are you", b"a\x1b[cb\x1b[0cc\x1b[>0cd\x1bZe", 24, b"abcde"),
            ("how large", b"a\x1b[18tb", 24, b"ab"),
            ("which modes", b"a\x1b[?2026$pb", 24, b"ab"),
            ("titles and colours that are asked for", b"a\x1b]0;t\x07b\x1b]11;?\x1b\\c", 24, b"abc"),
            ("other strings", b"a\x1bP+q544e\x1b\\b", 24, b"ab"),
            ("enquiry", b"a\x05b", 24, b"ab"),
            (
                "controls of one character",
                b"a\xc2\x9b6n\xc2\x05\x9bc\xc2\x1b[6n\x9bc \xc2\xa0",
                24,
                b"a6ncc \xc2\xa0",
            ),
            ("cut off", b"a\x1b[3", 24, b"a"),
            ("cut off earlier", b"a\x1b", 24, b"a"),
            ("a string without an end", b"a\x1b]0;t", 24, b"a"),
            ("character sets", b"\x1b(0lqk\x1b(B", 24, b"\x1b(0lqk\x1b(B"),
        ];
        for (name, log, lines, expected) in rows {
            let got = last_screen(log, *lines);
            assert_eq!(got, *expected, "{name}: {}", String::from_utf8_lossy(&got));
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>, lines in 0_usize..50) {
            proptest::prop_assert!(last_screen(&bytes, lines).len() <= bytes.len());
        }
    }
}
