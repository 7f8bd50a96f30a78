//! Finding the name of a file in a text that names files: a list of checksums, a pointer file, the page of a directory.

use std::cmp::Ordering;

/// Far more names than any such text has.
const LIMIT: usize = 100_000;

/// The greatest name by version in `text` that looks like `pattern`, in which `*` stands for anything but a slash. What
/// has the pattern's last component behind slashes is taken whole, so that a pointer file can name a directory too.
pub fn newest<'text>(text: &'text str, pattern: &str) -> Option<&'text str> {
    text.split(|char: char| char.is_whitespace() || char.is_control() || "\"'<>()=*".contains(char))
        .take(LIMIT)
        .filter(|name| is_relative(name))
        .filter(|name| matches(pattern, name.rsplit('/').next().unwrap_or(name)))
        .max_by(|one, other| by_version(one, other))
}

/// Whether `name` stays below the directory of the text, and has nothing that an address reads otherwise.
fn is_relative(name: &str) -> bool {
    name.len() <= 300
        && name.chars().all(|char| char.is_ascii_alphanumeric() || "._+-/~:".contains(char))
        && name.split('/').all(|part| !part.is_empty() && part != ".." && !part.ends_with(':'))
}

/// Whether `name` is as `pattern` says.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = name.split_once(piece) else { return false };
        name = after;
    }
    name.ends_with(tail)
}

/// What the first `*` of `pattern` stands for in `name`.
pub fn star(pattern: &str, name: &str) -> Option<String> {
    let (head, rest) = pattern.split_once('*')?;
    let name = name.rsplit('/').next().unwrap_or(name).strip_prefix(head)?;
    match rest.split_once('*') {
        Some((piece, _)) => name.split_once(piece).map(|(star, _)| star.to_owned()),
        None => name.strip_suffix(rest).map(str::to_owned),
    }
}

/// Runs of digits count as numbers, all else by its bytes: `1.10` is above `1.9`.
pub fn by_version(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        let (first, second) = (digits(one), digits(other));
        if first > 0 && second > 0 {
            let (left, right) = (number(&one[..first]), number(&other[..second]));
            match left.len().cmp(&right.len()).then_with(|| left.cmp(right)) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
            (one, other) = (&one[first..], &other[second..]);
            continue;
        }
        match (one.split_first(), other.split_first()) {
            (Some((left, one_rest)), Some((right, other_rest))) => match left.cmp(right) {
                Ordering::Equal => (one, other) = (one_rest, other_rest),
                unequal => return unequal,
            },
            (left, right) => return left.is_some().cmp(&right.is_some()),
        }
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn number(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds() {
        let sums = "SHA256 (void-x86_64-ROOTFS-20240314.tar.xz) = 5ca5\n\
                    SHA256 (void-x86_64-ROOTFS-20250202.tar.xz) = 3f48\n\
                    SHA256 (void-x86_64-musl-ROOTFS-20250202.tar.xz) = 9a1c\n";
        let gnu = "ab12 *Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2\nab13  x-1.10.tar\nab14  x-1.9.tar\n";
        let page =
            "<a href=\"stage3-amd64-systemd-20261115T170101Z.tar.xz\">stage3-amd64-systemd-2026..&gt;</a>";
        let pointer =
            "# ts=1763226000\n20261115T170101Z/stage3-amd64-openrc-20261115T170101Z.tar.xz 291237892\n";
        let rows = [
            (sums, "void-x86_64-ROOTFS-*.tar.xz", Some("void-x86_64-ROOTFS-20250202.tar.xz")),
            (sums, "void-x86_64-musl-ROOTFS-*.tar.xz", Some("void-x86_64-musl-ROOTFS-20250202.tar.xz")),
            (sums, "void-aarch64-ROOTFS-*.tar.xz", None),
            (
                gnu,
                "Fedora-Cloud-Base-Generic-44-*.x86_64.qcow2",
                Some("Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2"),
            ),
            (gnu, "x-*.tar", Some("x-1.10.tar")),
            (page, "stage3-amd64-systemd-*.tar.xz", Some("stage3-amd64-systemd-20261115T170101Z.tar.xz")),
            (
                pointer,
                "stage3-amd64-openrc-*.tar.xz",
                Some("20261115T170101Z/stage3-amd64-openrc-20261115T170101Z.tar.xz"),
            ),
            ("../../x-1.tar /x-2.tar http://h/x-3.tar a//x-4.tar x-5.tar?q", "x-*.tar", None),
            ("", "*", None),
            ("x", "*", Some("x")),
        ];
        for (text, pattern, expected) in rows {
            assert_eq!(newest(text, pattern), expected, "{pattern} in {text}");
        }
    }

    #[test]
    fn patterns() {
        let rows = [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("ab*ba", "aba", false),
            ("*x*", "axb", true),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn stars() {
        let rows = [
            ("Fedora-44-*.x86_64.qcow2", "Fedora-44-1.7.x86_64.qcow2", Some("1.7")),
            ("a-*.tar", "dir/a-2.tar", Some("2")),
            ("a*b*", "a1b2", Some("1")),
            ("a", "a", None),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(star(pattern, name).as_deref(), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn versions() {
        let rows = [
            ("1.9", "1.10", Ordering::Less),
            ("1.09", "1.9", Ordering::Equal),
            ("20250202", "20240314", Ordering::Greater),
            ("1", "1.1", Ordering::Less),
            ("", "", Ordering::Equal),
            ("a2", "a10", Ordering::Less),
        ];
        for (one, other, expected) in rows {
            assert_eq!(by_version(one, other), expected, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_stays_below(text in "([a-z/.:*<>\"' -]|\\PC)*", pattern in "[a-z*.]{0,6}") {
            if let Some(found) = newest(&text, &pattern) {
                prop_assert!(!found.starts_with('/') && !found.split('/').any(|part| part == ".."));
            }
        }

        #[test]
        fn versions_have_an_order(one in "[a-c0-9.]{0,6}", two in "[a-c0-9.]{0,6}", three in "[a-c0-9.]{0,6}") {
            prop_assert_eq!(by_version(&one, &two), by_version(&two, &one).reverse());
            if by_version(&one, &two).is_le() && by_version(&two, &three).is_le() {
                prop_assert!(by_version(&one, &three).is_le());
            }
        }
    }
}
