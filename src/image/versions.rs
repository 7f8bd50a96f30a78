//! Versions in names: which of two is newer (UAPI.10 Version Format), and which entry of a `.v` directory is meant
//! (systemd.v(7)).

use std::cmp::Ordering;

/// Compares two versions. Characters that no version has divide them.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left.as_bytes(), right.as_bytes());
    loop {
        a = skip_invalid(a);
        b = skip_invalid(b);
        // A pre-release comes before the release itself, and so before the end of the string.
        if a.first() == Some(&b'~') || b.first() == Some(&b'~') {
            match marked(&mut a, &mut b, b'~') {
                Ordering::Equal => continue,
                older => return older.reverse(),
            }
        }
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        // What goes on where the other one has a divider belongs to a newer one.
        if let Some(divider) =
            [b'-', b'^', b'.'].into_iter().find(|mark| starts(a, *mark) || starts(b, *mark))
        {
            match marked(&mut a, &mut b, divider) {
                Ordering::Equal => continue,
                with => return with.reverse(),
            }
        }
        let numeric = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let (of_a, of_b, order) = if numeric(a) || numeric(b) {
            let (x, y) = (leading(a, u8::is_ascii_digit), leading(b, u8::is_ascii_digit));
            // A number is newer than a word.
            let order = (!x.is_empty()).cmp(&!y.is_empty()).then_with(|| {
                let (x, y) = (without_zeroes(x), without_zeroes(y));
                x.len().cmp(&y.len()).then_with(|| x.cmp(y))
            });
            (x.len(), y.len(), order)
        } else {
            let (x, y) = (leading(a, u8::is_ascii_alphabetic), leading(b, u8::is_ascii_alphabetic));
            (x.len(), y.len(), x.cmp(y))
        };
        if order != Ordering::Equal {
            return order;
        }
        a = a.get(of_a..).unwrap_or_default();
        b = b.get(of_b..).unwrap_or_default();
    }
}

fn starts(text: &[u8], mark: u8) -> bool {
    text.first() == Some(&mark)
}

/// Steps over `mark` where both begin with it; otherwise `Greater` for the one that does.
fn marked(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Ordering {
    match (a.split_first(), b.split_first()) {
        (Some((x, rest_a)), Some((y, rest_b))) if *x == mark && *y == mark => {
            (*a, *b) = (rest_a, rest_b);
            Ordering::Equal
        }
        (Some((x, _)), _) if *x == mark => Ordering::Greater,
        _ => Ordering::Less,
    }
}

fn skip_invalid(text: &[u8]) -> &[u8] {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"~-^.".contains(byte);
    let skipped = text.iter().take_while(|byte| !valid(byte)).count();
    text.get(skipped..).unwrap_or_default()
}

fn leading(text: &[u8], of: impl Fn(&u8) -> bool) -> &[u8] {
    let length = text.iter().take_while(|byte| of(byte)).count();
    text.get(..length).unwrap_or_default()
}

fn without_zeroes(digits: &[u8]) -> &[u8] {
    let zeroes = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeroes..).unwrap_or_default()
}

/// The stem and the suffix of what a `.v` directory holds: `web.raw.v` has `web_VERSION.raw`, `web.v` has `web_VERSION`.
pub fn divide(directory: &str) -> Option<(&str, &'static str)> {
    let stem = directory.strip_suffix(".v")?;
    let divided = match stem.strip_suffix(".raw") {
        Some(bare) => (bare, ".raw"),
        None => match stem.strip_suffix(".mstack") {
            Some(bare) => (bare, ".mstack"),
            None => (stem, ""),
        },
    };
    (!divided.0.is_empty()).then_some(divided)
}

/// The newest entry for this architecture of those called `STEM_VERSION[_ARCHITECTURE][+LEFT[-DONE]]SUFFIX`; one whose
/// tries are used up only where there is no other. `architecture` is a name of systemd's (`x86-64`).
pub fn pick<'a>(
    (stem, suffix): (&str, &str),
    architecture: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let candidates = names.into_iter().filter_map(|name| {
        let rest = name.strip_prefix(stem)?.strip_prefix('_')?.strip_suffix(suffix)?;
        let (rest, tries) = rest.split_once('+').map_or((rest, None), |(rest, tries)| (rest, Some(tries)));
        let left = tries.map(|tries| tries.split_once('-').map_or(tries, |(left, _)| left).parse::<u32>());
        let used_up = match left {
            Some(Ok(left)) => left == 0,
            Some(Err(_)) => return None,
            None => false,
        };
        let version = match rest.rsplit_once('_') {
            Some((version, of)) if ARCHITECTURES.contains(&of) => {
                if of != architecture {
                    return None;
                }
                version
            }
            _ => rest,
        };
        (!version.is_empty()).then_some((used_up, version, name))
    });
    let newest = candidates.max_by(|(used_up, version, name), (other_used_up, other_version, other)| {
        other_used_up.cmp(used_up).then_with(|| compare(version, other_version)).then_with(|| name.cmp(other))
    });
    newest.map(|(_, _, name)| name)
}

/// Names of architectures as systemd has them (systemd.unit(5), "ConditionArchitecture=").
const ARCHITECTURES: [&str; 15] = [
    "x86",
    "x86-64",
    "arm",
    "arm-be",
    "arm64",
    "arm64-be",
    "ppc",
    "ppc64",
    "ppc64-le",
    "riscv32",
    "riscv64",
    "s390",
    "s390x",
    "loongarch64",
    "ia64",
];

/// The name of the architecture that this program is for.
pub fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86-64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64-le",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification (UAPI.10) and beyond.
    #[test]
    fn versions() {
        let ordered = [
            &[
                "~rc1",
                "",
                "122.1",
                "123~rc1-1",
                "123",
                "123-a",
                "123-a.1",
                "123-1",
                "123-1.1",
                "123^post1",
                "123.a-1",
                "123.1-1",
                "123a-1",
                "124-1",
            ] as &[&str],
            &["0", "1", "9", "10", "128"],
            &["a", "ab", "abb", "abc"],
            &["base", "base-1", "base.1"],
        ];
        for row in ordered {
            for (index, left) in row.iter().enumerate() {
                for (other, right) in row.iter().enumerate() {
                    assert_eq!(compare(left, right), index.cmp(&other), "{left:?} {right:?}");
                }
            }
        }
        for (left, right) in [("1", "01"), ("1_", "1"), ("1", "1"), ("_1", "1")] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left:?} {right:?}");
        }
    }

    #[test]
    fn picks() {
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            ("web.v", &["web_1", "web_10", "web_9"], Some("web_10")),
            ("web.v", &["web_1", "web_2.raw", "other_9", "web", "web_"], Some("web_2.raw")),
            ("web.raw.v", &["web_1.raw", "web_2", "web_2.raw.tmp"], Some("web_1.raw")),
            ("web.raw.v", &["web_1_x86-64.raw", "web_2_arm64.raw"], Some("web_1_x86-64.raw")),
            ("web.v", &["web_1+3", "web_2+0-3"], Some("web_1+3")),
            ("web.v", &["web_1+0", "web_2+0-3"], Some("web_2+0-3")),
            ("web.v", &["web_2+x"], None),
            ("web.v", &[], None),
            ("web.mstack.v", &["web_7.mstack", "web_8"], Some("web_7.mstack")),
        ];
        for (directory, names, expected) in rows {
            let of = divide(directory).unwrap();
            assert_eq!(pick(of, "x86-64", names.iter().copied()), *expected, "{directory} {names:?}");
        }
        assert_eq!((divide("web"), divide(".v"), divide(".raw.v")), (None, None, None));
    }
}
