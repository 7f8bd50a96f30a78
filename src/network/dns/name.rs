//! Domain names as messages have them (RFC 1035, 3.1): labels of at most 63 bytes, 255 bytes in all.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the longest name, lengths of labels included (RFC 1035, 2.3.4).
const LONGEST: usize = 255;
/// Of the longest label.
const LONGEST_LABEL: usize = 63;

/// A name, with the letters as they came: who asks may have mixed upper and lower case to know the answer by
/// (draft-vixie-dnsext-dns0x20).
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    /// Uncompressed, with the root's empty label.
    wire: Vec<u8>,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self { wire: vec![0] }
    }

    /// Reads the name at `at` of a message, which must not be compressed; says where it ends.
    pub fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut end = at;
        loop {
            let length = usize::from(*message.get(end)?);
            end += 1 + length;
            if length > LONGEST_LABEL || end - at > LONGEST {
                return None;
            }
            if length == 0 {
                return Some((Self { wire: message.get(at..end)?.to_vec() }, end));
            }
        }
    }

    /// The end of the name at `at` of a message, compressed or not (RFC 1035, 4.1.4); where a pointer leads is not looked at.
    pub fn skip(message: &[u8], at: usize) -> Option<usize> {
        let mut end = at;
        loop {
            match *message.get(end)? {
                0 => return Some(end + 1),
                pointer if pointer >= 0xc0 => return (end + 2 <= message.len()).then_some(end + 2),
                length if usize::from(length) <= LONGEST_LABEL => end += 1 + usize::from(length),
                _ => return None,
            }
        }
    }

    /// Of text such as `web.spinney.internal`, with or without a dot at its end.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        let text = text.strip_suffix('.').unwrap_or(text);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            wire.push(length);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        (wire.len() <= LONGEST).then_some(Self { wire })
    }

    /// The name that addresses are looked up by (RFC 1035, 3.5; RFC 3596, 2.5).
    pub fn of_address(address: IpAddr) -> Self {
        let text = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let digits = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
                digits.map(|digit| format!("{digit:x}.")).collect::<String>() + "ip6.arpa"
            }
        };
        // Short enough, and without empty labels.
        Self::from_text(&text).unwrap_or_else(Self::root)
    }

    /// The address that this name stands for.
    pub fn address(&self) -> Option<IpAddr> {
        let labels: Vec<&[u8]> = self.labels().collect();
        let is = |label: &[u8], text: &str| label.eq_ignore_ascii_case(text.as_bytes());
        let (host, family) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
        let [family, arpa] = family else { return None };
        if !is(arpa, "arpa") {
            return None;
        }
        let text = |label: &&[u8]| std::str::from_utf8(label).ok().map(str::to_owned);
        if is(family, "in-addr") && host.len() == 4 {
            let octets: Option<Vec<String>> = host.iter().rev().map(text).collect();
            octets?.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        } else if is(family, "ip6") && host.len() == 32 {
            let mut number = 0_u128;
            for label in host.iter().rev() {
                let [digit] = label else { return None };
                number = number << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(number)))
        } else {
            None
        }
    }

    /// Its labels, from the first, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.wire.as_slice();
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (label, next) = after.split_at_checked(usize::from(length)).filter(|_| length > 0)?;
            rest = next;
            Some(label)
        })
    }

    /// Whether it is `other`, however the letters are written.
    pub fn is(&self, other: &Self) -> bool {
        self.wire.eq_ignore_ascii_case(&other.wire)
    }

    /// The labels before `domain`, if this is in it: none of them for itself.
    pub fn below(&self, domain: &Self) -> Option<Vec<&[u8]>> {
        let mut labels: Vec<&[u8]> = self.labels().collect();
        let domain: Vec<&[u8]> = domain.labels().collect();
        let at = labels.len().checked_sub(domain.len())?;
        let inside = labels[at..].iter().zip(domain).all(|(own, its)| own.eq_ignore_ascii_case(its));
        labels.truncate(at);
        inside.then_some(labels)
    }

    /// As messages have it.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }
}

/// As master files have it (RFC 1035, 5.1): what is not printed is `\DDD`.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wire.len() <= 1 {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            for byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                    byte if byte.is_ascii_graphic() => write!(f, "{}", char::from(*byte))?,
                    byte => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    #[test]
    fn names_are_read() {
        let long: Vec<u8> = [[&[63_u8][..], &[b'a'; 63]].concat().repeat(4), vec![0]].concat();
        let longest: Vec<u8> =
            [[&[63_u8][..], &[b'a'; 63]].concat().repeat(3), vec![61], vec![b'b'; 61], vec![0]].concat();
        let table: &[(&str, &[u8], Option<usize>)] = &[
            ("root", b"\0", Some(1)),
            ("one label", b"\x03web\0rest", Some(5)),
            ("two", b"\x03web\x03lan\0", Some(9)),
            ("as long as may be", &longest, Some(255)),
            ("longer", &long, None),
            ("no end", b"\x03web", None),
            ("half a label", b"\x05web", None),
            ("nothing", b"", None),
            ("compressed", b"\xc0\x0c", None),
            ("a label of a kind that is not", b"\x41a\0", None),
        ];
        for (what, bytes, expected) in table {
            assert_eq!(Name::read(bytes, 0).map(|(_, end)| end), *expected, "{what}");
        }
    }

    #[test]
    fn names_are_skipped() {
        let table: &[(&[u8], Option<usize>)] = &[
            (b"\0", Some(1)),
            (b"\x03web\xc0\x0c", Some(6)),
            (b"\xc0", None),
            (b"\x80\0", None),
            (b"\x03we", None),
            (b"", None),
        ];
        for (bytes, expected) in table {
            assert_eq!(Name::skip(bytes, 0), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn text() {
        let table = [
            ("web.spinney.internal", Some("web.spinney.internal")),
            ("web.", Some("web")),
            (".", Some(".")),
            ("", Some(".")),
            ("a..b", None),
            ("Web", Some("Web")),
            ("a b\u{7}", Some("a\\032b\\007")),
        ];
        for (text, expected) in table {
            assert_eq!(Name::from_text(text).map(|name| name.to_string()).as_deref(), expected, "{text:?}");
        }
        assert_eq!(Name::from_text(&"a".repeat(64)), None);
        assert_eq!(Name::from_text(&"a.".repeat(128)), None);
    }

    #[test]
    fn domains() {
        let below = |text: &str, domain: &str| {
            let name = name(text);
            name.below(&super::tests::name(domain)).map(|labels| labels.concat())
        };
        assert_eq!(below("web.Spinney.Internal", "spinney.internal"), Some(b"web".to_vec()));
        assert_eq!(below("spinney.internal", "spinney.internal"), Some(Vec::new()));
        assert_eq!(below("webspinney.internal", "spinney.internal"), None);
        assert_eq!(below("internal", "spinney.internal"), None);
        assert_eq!(below("web", "."), Some(b"web".to_vec()));
    }

    #[test]
    fn addresses() {
        for address in ["10.213.0.5", "127.0.0.1", "fd00:1234::5", "::1", "255.255.255.255"] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(Name::of_address(address).address(), Some(address));
        }
        assert_eq!(name("5.0.213.10.IN-ADDR.arpa").address(), Some(IpAddr::from([10, 213, 0, 5])));
        for none in
            ["0.213.10.in-addr.arpa", "x.0.213.10.in-addr.arpa", "01.0.213.10.in-addr.arpa", "arpa", "."]
        {
            assert_eq!(name(none).address(), None, "{none}");
        }
        let (six, _) = ("ab.".to_owned() + &"0.".repeat(31) + "ip6.arpa", ());
        assert_eq!(name(&six).address(), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(labels in proptest::collection::vec("[a-zA-Z0-9-]{1,20}", 0..8)) {
            let name = name(&labels.join("."));
            let (read, end) = Name::read(name.wire(), 0).expect("a name");
            proptest::prop_assert_eq!((&read, end), (&name, name.wire().len()));
            proptest::prop_assert_eq!(Name::skip(name.wire(), 0), Some(end));
        }

        #[test]
        fn anything_is_survived(bytes: Vec<u8>, at in 0_usize..40) {
            if let Some((name, end)) = Name::read(&bytes, at) {
                proptest::prop_assert!(end <= bytes.len());
                let _ = (name.to_string(), name.address(), name.below(&Name::root()));
            }
            proptest::prop_assert!(Name::skip(&bytes, at).is_none_or(|end| end <= bytes.len()));
        }
    }
}
