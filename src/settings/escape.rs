//! The two escape syntaxes of systemd-nspawn(1): `\:` in colon-separated lists, C escapes in credentials.

use super::ValueError;

/// Splits `text` at colons. A backslash takes the next character as it is, so `\:` embeds a colon. Empty parts stay.
pub(super) fn split_at_colons(text: &str, hint: &'static str) -> Result<Vec<String>, ValueError> {
    let mut parts = Vec::new();
    let mut rest = Some(text);
    while let Some(spec) = rest {
        let (part, after) = first_of_colons(spec, text, hint)?;
        parts.push(part);
        rest = after;
    }
    Ok(parts)
}

/// The first part of a colon-separated list, unescaped, and what follows its colon as it stands.
/// `whole` is the value that an error shows.
pub(super) fn first_of_colons<'text>(
    text: &'text str,
    whole: &str,
    hint: &'static str,
) -> Result<(String, Option<&'text str>), ValueError> {
    let mut part = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => return Ok((part, Some(characters.as_str()))),
            '\\' => match characters.next() {
                Some(escaped) => part.push(escaped),
                None => return Err(ValueError::new(whole, "ends within an escape", hint)),
            },
            plain => part.push(plain),
        }
    }
    Ok((part, None))
}

/// Resolves C escapes to bytes: `\a \b \f \n \r \t \v \s \\ \" \'`, `\xHH`, `\OOO`, `\uHHHH`, `\UHHHHHHHH`.
///
/// `\s` is a space, as in systemd.syntax(7); `\x00` is allowed.
pub(super) fn unescape_c(text: &str, hint: &'static str) -> Result<Vec<u8>, ValueError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], &mut bytes)
            .ok_or_else(|| ValueError::new(text, "has a bad escape", hint))?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// Resolves the escape whose backslash came just before `text`; gives back what follows it.
fn escape<'text>(text: &'text str, bytes: &mut Vec<u8>) -> Option<&'text str> {
    let kind = text.chars().next()?;
    let after = &text[kind.len_utf8()..];
    let simple = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        's' => b' ',
        '\\' => b'\\',
        '"' => b'"',
        '\'' => b'\'',
        'x' => {
            let (value, after) = number(after, 2, 16)?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(after);
        }
        '0'..='7' => {
            let (value, after) = number(text, 3, 8)?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(after);
        }
        'u' | 'U' => {
            let (value, after) = number(after, if kind == 'u' { 4 } else { 8 }, 16)?;
            let mut buffer = [0; 4];
            bytes.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut buffer).as_bytes());
            return Some(after);
        }
        _ => return None,
    };
    bytes.push(simple);
    Some(after)
}

/// Exactly `digits` digits at the head of `text`, as a number, and what follows them.
fn number(text: &str, digits: usize, radix: u32) -> Option<(u32, &str)> {
    let head = text.get(..digits)?;
    if !head.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some((u32::from_str_radix(head, radix).ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons() {
        let rows: &[(&str, &[&str])] = &[
            ("", &[""]),
            ("a", &["a"]),
            ("a:b", &["a", "b"]),
            (":a::", &["", "a", "", ""]),
            (r"a\:b:c\\", &["a:b", r"c\"]),
            (r"\a", &["a"]),
        ];
        for (text, expected) in rows {
            assert_eq!(split_at_colons(text, "").unwrap(), *expected, "{text}");
        }
        assert_eq!(split_at_colons(r"a:b\", "").unwrap_err().to_string(), r#""a:b\" ends within an escape"#);
    }

    #[test]
    fn c_escapes() {
        let rows: &[(&str, &[u8])] = &[
            ("", b""),
            ("plain", b"plain"),
            (r"a\nb\tc\s", b"a\nb\tc "),
            (r"\x00\xff", b"\x00\xff"),
            (r"\101\000", b"A\0"),
            (r"\u00e4\U0001F333", "ä🌳".as_bytes()),
            (r#"\\\"\'"#, br#"\"'"#),
            ("ä", "ä".as_bytes()),
        ];
        for (text, expected) in rows {
            assert_eq!(unescape_c(text, "").unwrap(), *expected, "{text}");
        }
        for text in ["\\", r"\x1", r"\xg0", r"\9", r"\8", r"\400", r"\ud800", r"\ü", r"\x+1", r"\q"] {
            assert_eq!(unescape_c(text, "").unwrap_err().problem(), "has a bad escape", "{text}");
        }
    }
}
