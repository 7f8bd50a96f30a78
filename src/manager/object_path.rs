//! Names as elements of object paths.
//!
//! Bytes other than letters and digits are `_` and two hexadecimal digits, as is a digit in front; nothing at all is `_`. That is
//! how systemd's daemons escape them (sd_bus_path_encode(3)), so that paths which clients make themselves are right.

use std::fmt::Write;

/// `name` as one element of an object path.
pub fn encode(name: &str) -> String {
    if name.is_empty() {
        return "_".to_owned();
    }
    let mut element = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            element.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(element, "_{byte:02x}");
        }
    }
    element
}

/// The name that `element` stands for; `None` where [`encode`] makes no such element.
pub fn decode(element: &str) -> Option<String> {
    if element == "_" {
        return Some(String::new());
    }
    let mut name = Vec::with_capacity(element.len());
    let mut bytes = element.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'_' {
            name.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        name.push(u8::try_from(high * 16 + low).ok()?);
    }
    let name = String::from_utf8(name).ok()?;
    (!name.is_empty() && encode(&name) == element).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_elements() {
        let table = [
            ("web", "web"),
            ("", "_"),
            ("debian-12", "debian_2d12"),
            ("9lives", "_39lives"),
            ("a_b.c", "a_5fb_2ec"),
            (".host", "_2ehost"),
            ("ü", "_c3_bc"),
        ];
        for (name, element) in table {
            assert_eq!(encode(name), element, "{name:?}");
            assert_eq!(decode(element).as_deref(), Some(name), "{element:?}");
        }
        for element in ["", "_2", "_zz", "a-b", "_61", "_2D", "_ff"] {
            assert_eq!(decode(element), None, "{element:?}");
        }
    }
}
