//! Versions: which of two is newer (UAPI.10, version format), and the newest of a `NAME.v/` directory (systemd.v(7)).

use std::cmp::Ordering;

/// Names of processors as unit files have them (systemd.unit(5), ConditionArchitecture=).
const ARCHITECTURES: [&str; 33] = [
    "x86",
    "x86-64",
    "ppc",
    "ppc-le",
    "ppc64",
    "ppc64-le",
    "ia64",
    "parisc",
    "parisc64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "mips",
    "mips-le",
    "mips64",
    "mips64-le",
    "alpha",
    "arm",
    "arm-be",
    "arm64",
    "arm64-be",
    "sh",
    "sh64",
    "m68k",
    "tilegx",
    "cris",
    "arc",
    "arc-be",
    "riscv32",
    "riscv64",
    "loongarch64",
    "nios2",
];

/// Those that this host runs, the native one first.
const NATIVE: &[&str] = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => &["x86-64", "x86"],
    b"aarch64" => &["arm64"],
    b"riscv64" => &["riscv64"],
    b"s390x" => &["s390x"],
    b"powerpc64" => &["ppc64-le", "ppc64"],
    b"loongarch64" => &["loongarch64"],
    _ => &[],
};

/// Which of two versions is newer.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), other.as_bytes());
    loop {
        (a, b) = (skip_separators(a), skip_separators(b));
        // A pre-release is older than the release: `1~rc1` before `1`.
        match (a.first() == Some(&b'~'), b.first() == Some(&b'~')) {
            (true, true) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        if a.is_empty() || b.is_empty() {
            return a.len().min(1).cmp(&b.len().min(1));
        }
        // These begin a release, a patch and a component: whoever goes on within the component is newer.
        let mut both = false;
        for mark in [b'-', b'^', b'.'] {
            match (a[0] == mark, b[0] == mark) {
                (true, true) => both = true,
                (true, false) => return Ordering::Less,
                (false, true) => return Ordering::Greater,
                (false, false) => continue,
            }
            (a, b) = (&a[1..], &b[1..]);
            break;
        }
        if both {
            continue;
        }
        let of: fn(&u8) -> bool = match a[0].is_ascii_digit() || b[0].is_ascii_digit() {
            true => u8::is_ascii_digit,
            false => u8::is_ascii_alphabetic,
        };
        let (first, second) = (prefix(a, of), prefix(b, of));
        let order = match a[0].is_ascii_digit() || b[0].is_ascii_digit() {
            true => number(first).len().cmp(&number(second).len()).then(number(first).cmp(number(second))),
            false => first.cmp(second),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[first.len()..], &b[second.len()..]);
    }
}

fn skip_separators(text: &[u8]) -> &[u8] {
    let of_versions = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    let start = text.iter().position(of_versions).unwrap_or(text.len());
    &text[start..]
}

fn prefix(text: &[u8], of: fn(&u8) -> bool) -> &[u8] {
    &text[..text.iter().position(|byte| !of(byte)).unwrap_or(text.len())]
}

/// Digits without leading zeros: the longer is the larger.
fn number(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len())..]
}

/// One entry of a directory of versions.
#[derive(Debug)]
struct Versioned<'a> {
    version: &'a str,
    /// It was tried as often as it may, and never said that it is well (Automatic Boot Assessment).
    tried_out: bool,
    /// Where its architecture is in [`NATIVE`].
    architecture: usize,
}

impl<'a> Versioned<'a> {
    /// What `entry` of `NAMESUFFIX.v/` is: `NAME_VERSION[_ARCHITECTURE][+LEFT[-DONE]]SUFFIX`. `None` for what is something
    /// else, or for other hosts.
    fn parse(entry: &'a str, name: &str, suffix: &str) -> Option<Self> {
        let rest = entry.strip_prefix(name)?.strip_prefix('_')?.strip_suffix(suffix)?;
        let (rest, tried_out) = match rest.rsplit_once('+').map(|(rest, tries)| (rest, tries_left(tries))) {
            Some((rest, Some(left))) => (rest, left == 0),
            _ => (rest, false),
        };
        let (version, architecture) = match rest.rsplit_once('_') {
            Some((version, name)) if ARCHITECTURES.contains(&name) => {
                (version, NATIVE.iter().position(|native| *native == name)?)
            }
            _ => (rest, 0),
        };
        (!version.is_empty()).then_some(Self { version, tried_out, architecture })
    }
}

/// `LEFT` of `LEFT[-DONE]`.
fn tries_left(text: &str) -> Option<u32> {
    let (left, done) = text.split_once('-').unwrap_or((text, "0"));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    number(done).and_then(|_: u32| number(left))
}

/// The newest of the `entries` of `NAMESUFFIX.v/` that this host can use.
pub fn newest<'a>(entries: impl IntoIterator<Item = &'a str>, name: &str, suffix: &str) -> Option<&'a str> {
    entries
        .into_iter()
        .filter_map(|entry| Some((entry, Versioned::parse(entry, name, suffix)?)))
        .max_by(|(first, a), (second, b)| {
            b.tried_out
                .cmp(&a.tried_out)
                .then_with(|| compare(a.version, b.version))
                .then_with(|| b.architecture.cmp(&a.architecture))
                .then_with(|| first.cmp(second))
        })
        .map(|(entry, _)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of examples in UAPI.10, and what Debian and Fedora write.
    #[test]
    fn order_of_versions() {
        let rising = [
            "~",
            "",
            "1~rc1",
            "1~rc2",
            "1",
            "1-1",
            "1-2",
            "1^patch",
            "1.0",
            "1.2",
            "1.10",
            "1a",
            "1b",
            "2",
            "10",
            "122.1~rc1",
            "122.1",
            "123",
            "A",
            "a",
            "ab",
        ];
        // Digits are newer than letters only as numbers; compare within the two groups.
        let groups = [&rising[..18], &rising[18..]];
        for group in groups {
            for (place, one) in group.iter().enumerate() {
                for (other_place, other) in group.iter().enumerate() {
                    assert_eq!(compare(one, other), place.cmp(&other_place), "{one:?} {other:?}");
                }
            }
        }
        for (one, other) in [("1", "01"), ("1.0", "1.00"), ("1_", "1"), ("a+b", "ab")] {
            let order = compare(one, other);
            assert_eq!(order, if one == "a+b" { Ordering::Less } else { Ordering::Equal }, "{one} {other}");
        }
    }

    #[test]
    fn newest_versions() {
        let native = NATIVE.first().copied().unwrap_or("x86-64");
        let foreign = if native == "arm64" { "x86-64" } else { "arm64" };
        // The example of systemd.v(7).
        let files = [
            "web_7.5.13.raw".to_owned(),
            format!("web_7.5.14_{native}.raw"),
            format!("web_7.6.0_{foreign}.raw"),
            format!("web_7.7.0_{native}+0-5.raw"),
            "web_9".to_owned(),
            "other_9.raw".to_owned(),
            ".web_9.raw".to_owned(),
        ];
        let all: Vec<&str> = files.iter().map(String::as_str).collect();
        assert_eq!(newest(all.iter().copied(), "web", ".raw"), Some(files[1].as_str()));
        assert_eq!(newest(all.iter().copied(), "web", ""), Some("web_9"));
        assert_eq!(newest([files[3].as_str()], "web", ".raw"), Some(files[3].as_str()));
        assert_eq!(newest([files[2].as_str()], "web", ".raw"), None);
        assert_eq!(newest(["web_1+3", "web_2+0"], "web", ""), Some("web_1+3"));
        assert_eq!(newest(["web_", "web", "web_+1"], "web", ""), None);
    }
}
