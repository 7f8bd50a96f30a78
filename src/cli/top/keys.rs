//! What was typed, out of the bytes of a terminal in raw mode.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A letter, digit or sign.
    Letter(char),
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// ^C, or the end of input.
    Interrupt,
    /// ^Z
    Suspend,
    /// ^L
    Redraw,
    /// Escape, alone.
    Escape,
}

/// The keys in `bytes`. An escape sequence that is none of ours is one key that does nothing.
pub fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            0x1b => match after.split_first() {
                Some((b'[' | b'O', sequence)) => {
                    // Parameters, then a final byte from @ to ~ (ECMA-48, 5.4).
                    let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte));
                    let Some(end) = end else { break };
                    match sequence[end] {
                        b'A' => keys.push(Key::Up),
                        b'B' => keys.push(Key::Down),
                        _ => {}
                    }
                    rest = &sequence[end + 1..];
                }
                _ => keys.push(Key::Escape),
            },
            0x03 | 0x04 => keys.push(Key::Interrupt),
            0x1a => keys.push(Key::Suspend),
            0x0c => keys.push(Key::Redraw),
            0x20..=0x7e => keys.push(Key::Letter(char::from(*first))),
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_terminals_send() {
        use Key::{Down, Escape, Interrupt, Letter, Redraw, Suspend, Up};
        for (bytes, expected) in [
            (&b"q"[..], vec![Letter('q')]),
            (b"c m", vec![Letter('c'), Letter(' '), Letter('m')]),
            (b"\x1b[A\x1bOB", vec![Up, Down]),
            (b"\x1b", vec![Escape]),
            (b"\x1b[1;5Ax", vec![Up, Letter('x')]),
            (b"\x1b[15~q", vec![Letter('q')]),
            (b"\x1b[", vec![]),
            (b"\x03\x1a\x0c", vec![Interrupt, Suspend, Redraw]),
            ("é\n".as_bytes(), vec![]),
            (b"", vec![]),
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }
}
