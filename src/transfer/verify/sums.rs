//! Files of checksums: as sha256sum(1) writes them, with `--tag` too (Fedora's and CentOS's CHECKSUM), and Gentoo's
//! DIGESTS. Pure.

use super::Error;

/// How something is hashed. The order is by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5 or SHA-1, or another that does not count.
    Weak,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// A checksum that a file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// How.
    pub algorithm: Algorithm,
    /// Which, in lower case.
    pub digits: String,
}

impl Algorithm {
    /// By how many hexadecimal digits it has.
    fn of_length(digits: usize) -> Option<Self> {
        match digits {
            32 | 40 | 56 | 96 => Some(Self::Weak),
            64 => Some(Self::Sha256),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// By its name; others than those we compute do not count.
    fn named(name: &str) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "SHA256" => Self::Sha256,
            "SHA512" => Self::Sha512,
            _ => Self::Weak,
        }
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weak => "checksum",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

/// One line of such a file.
struct Line<'text> {
    sum: Sum,
    /// `None`: the file has one checksum, and no name.
    name: Option<&'text str>,
}

/// The checksum of the file `name` in `text`, which messages call `file`: the strongest that there is.
///
/// # Errors
/// When there is none, only a weak one, or two that differ.
pub fn find(text: &[u8], name: &str, file: &str, signed: bool) -> Result<Sum, Error> {
    let text = std::str::from_utf8(text).map_err(|_| Error::NoList { file: file.to_owned() })?;
    let lines = lines(text);
    if lines.is_empty() {
        return Err(Error::NoList { file: file.to_owned() });
    }
    // A signature over digits alone says nothing of what they are of: another file's could be shown for this one.
    let nameless = lines.len() == 1 && !signed;
    let names = |line: &&Line<'_>| match line.name {
        Some(listed) => listed == name || listed.rsplit('/').next() == Some(name),
        None => nameless,
    };
    let found: Vec<&Sum> = lines.iter().filter(names).map(|line| &line.sum).collect();
    let Some(strongest) = found.iter().max_by_key(|sum| sum.algorithm) else {
        return Err(Error::NotListed { name: name.to_owned(), file: file.to_owned() });
    };
    if strongest.algorithm == Algorithm::Weak {
        return Err(Error::WeakList { name: name.to_owned(), file: file.to_owned() });
    }
    if found.iter().any(|sum| sum.algorithm == strongest.algorithm && sum.digits != strongest.digits) {
        return Err(Error::TwoSums { name: name.to_owned(), file: file.to_owned() });
    }
    Ok((*strongest).clone())
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut heading = None;
    let mut lines = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if let Some(comment) = line.strip_prefix('#') {
            // "# SHA512 HASH" (Gentoo) is of the lines below it; other comments end that.
            heading = comment.trim().strip_suffix(" HASH").map(Algorithm::named);
            continue;
        }
        if let Some(line) = tagged(line).or_else(|| plain(line, heading)) {
            lines.push(line);
        }
    }
    lines
}

/// `SHA256 (NAME) = DIGITS`.
fn tagged(line: &str) -> Option<Line<'_>> {
    let (algorithm, rest) = line.split_once(" (")?;
    let (name, digits) = rest.rsplit_once(") = ")?;
    let by_length = Algorithm::of_length(digits.len())?;
    let algorithm = Algorithm::named(algorithm);
    let fits = is_hex(digits) && (algorithm == by_length || algorithm == Algorithm::Weak);
    fits.then(|| Line { sum: Sum { algorithm, digits: digits.to_ascii_lowercase() }, name: Some(name) })
}

/// `DIGITS  NAME`, `DIGITS *NAME`, or `DIGITS`. A name that sha256sum had to escape is none of ours.
fn plain(line: &str, heading: Option<Algorithm>) -> Option<Line<'_>> {
    let (digits, name) = match line.find([' ', '\t']) {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let by_length = Algorithm::of_length(digits.len()).filter(|_| is_hex(digits))?;
    let algorithm = match heading {
        None => by_length,
        Some(named) if named == by_length => named,
        Some(_) => Algorithm::Weak,
    };
    let name = name.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    let sum = Sum { algorithm, digits: digits.to_ascii_lowercase() };
    Some(Line { sum, name: (!name.is_empty()).then_some(name) })
}

fn is_hex(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found() {
        let (a, b, long, weak) = ("a".repeat(64), "b".repeat(64), "c".repeat(128), "d".repeat(32));
        let found = |algorithm, digits: &str| Ok(Sum { algorithm, digits: digits.to_owned() });
        let sha256 = |digits: &str| found(Algorithm::Sha256, digits);
        let sha512 = |digits: &str| found(Algorithm::Sha512, digits);
        let refused = |text: &str| Err(text.to_owned());
        let not_listed = || refused("SUMS has no checksum of x.tar");
        let no_list = || refused("SUMS is no list of checksums");
        let rows = [
            ("one", a.clone(), sha256(&a)),
            ("one in capitals", a.to_uppercase(), sha256(&a)),
            ("one with its name", format!("{a}  x.tar\n"), sha256(&a)),
            ("binary", format!("{a} *x.tar\r\n"), sha256(&a)),
            ("with a directory", format!("{a}  ./d/x.tar\n"), sha256(&a)),
            ("among others", format!("{b}  y.tar\n{a}  x.tar\n{b}  x.tar.xz\n"), sha256(&a)),
            ("name with a space is another", format!("{a}  y x.tar\n"), not_listed()),
            ("tagged", format!("# x.tar: 1 bytes\nSHA256 (x.tar) = {a}\n"), sha256(&a)),
            ("tagged sha512", format!("SHA512 (x.tar) = {long}\nSHA256 (x.tar) = {a}\n"), sha512(&long)),
            ("sha512", format!("{long}  x.tar\n"), sha512(&long)),
            (
                "Gentoo",
                format!("# BLAKE2B HASH\n{}  x.tar\n# SHA512 HASH\n{long}  x.tar\n", "e".repeat(128)),
                sha512(&long),
            ),
            ("twice the same", format!("{a}  x.tar\n{a}  x.tar\n"), sha256(&a)),
            (
                "two",
                format!("{a}  x.tar\n{b}  d/x.tar\n"),
                refused("SUMS has two checksums of x.tar that differ"),
            ),
            ("another's", format!("{a}  y.tar\n"), not_listed()),
            (
                "weak",
                format!("{weak}  x.tar\n"),
                refused("SUMS has no sha256 or sha512 of x.tar, only weaker ones"),
            ),
            (
                "weak tag",
                format!("MD5 (x.tar) = {weak}\n"),
                refused("SUMS has no sha256 or sha512 of x.tar, only weaker ones"),
            ),
            ("tag that lies", format!("SHA512 (x.tar) = {a}\n"), no_list()),
            ("two without names", format!("{a}\n{b}\n"), not_listed()),
            ("empty", String::new(), no_list()),
            ("a web page", "<html>not found</html>\n".to_owned(), no_list()),
            ("cut off", format!("{}  x.tar\n", &a[1..]), no_list()),
            ("no digits", format!("{}  x.tar\n", "g".repeat(64)), no_list()),
        ];
        for (what, text, expected) in rows {
            let result = find(text.as_bytes(), "x.tar", "SUMS", false).map_err(|error| error.to_string());
            assert_eq!(result, expected, "{what}");
        }
        let digits = "7".repeat(64);
        let signed = find(digits.as_bytes(), "x.tar", "SUMS", true).map_err(|error| error.to_string());
        assert!(signed.is_err_and(|error| error.contains("x.tar")), "a signature over digits alone");
        let result = find(b"\xff", "x.tar", "SUMS", false).map_err(|error| error.to_string());
        assert_eq!(result, no_list());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text: Vec<u8>, name: String) {
            let _ = find(&text, &name, "SUMS", false);
        }
    }
}
