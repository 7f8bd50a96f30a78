//! References to images of the catalogue: `debian`, `debian:trixie`, `void:current/musl@arm64`.

use std::fmt;
use std::str::FromStr;

use super::architecture;
use super::error::Error;
use super::file::is_word;

/// What a user asks for: `DISTRO[:RELEASE][/VARIANT][@ARCHITECTURE]`, or as image servers write it,
/// `DISTRO/RELEASE[/VARIANT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The name of a distro, or another one of it.
    pub distro: String,
    /// The name of a release; `None` is the distro's default.
    pub release: Option<String>,
    /// The name of a variant; `None` is the distro's first.
    pub variant: Option<String>,
    /// The architecture, as we name it; `None` is this host's.
    pub architecture: Option<&'static str>,
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |problem| Error::Reference { text: text.to_owned(), problem };
        let (rest, architecture) = match text.split_once('@') {
            Some((_, "")) => return Err(refuse("no architecture behind @")),
            Some((rest, name)) if is_word(name) => (rest, Some(architecture::parse(name)?)),
            Some(_) => return Err(refuse("no architecture behind @")),
            None => (text, None),
        };
        let (rest, variant) = match rest.rsplit_once('/') {
            Some((rest, name)) if is_word(name) => (rest, Some(name.to_owned())),
            Some(_) => return Err(refuse("no variant behind /")),
            None => (rest, None),
        };
        let (distro, release) = match rest.split_once([':', '/']) {
            Some((distro, name)) if is_word(name) => (distro, Some(name.to_owned())),
            Some(_) => return Err(refuse("no release behind :")),
            None => (rest, None),
        };
        if !is_word(distro) {
            return Err(refuse("no name of a distro"));
        }
        Ok(Self { distro: distro.to_owned(), release, variant, architecture })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.distro)?;
        for (mark, part) in
            [(':', self.release.as_deref()), ('/', self.variant.as_deref()), ('@', self.architecture)]
        {
            if let Some(part) = part {
                write!(f, "{mark}{part}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        type Parts = (&'static str, Option<&'static str>, Option<&'static str>, Option<&'static str>);
        let rows: [(&str, Result<Parts, &str>); 14] = [
            ("debian", Ok(("debian", None, None, None))),
            ("debian:trixie", Ok(("debian", Some("trixie"), None, None))),
            ("ubuntu:24.04@aarch64", Ok(("ubuntu", Some("24.04"), None, Some("arm64")))),
            ("void/musl", Ok(("void", None, Some("musl"), None))),
            ("void:current/musl@amd64", Ok(("void", Some("current"), Some("musl"), Some("amd64")))),
            ("debian/trixie/cloud", Ok(("debian", Some("trixie"), Some("cloud"), None))),
            ("", Err("\"\" is no reference to an image: no name of a distro")),
            (":13", Err("\":13\" is no reference to an image: no name of a distro")),
            ("debian:", Err("\"debian:\" is no reference to an image: no release behind :")),
            ("debian@", Err("\"debian@\" is no reference to an image: no architecture behind @")),
            ("debian/", Err("\"debian/\" is no reference to an image: no variant behind /")),
            ("debian:$(id)", Err("\"debian:$(id)\" is no reference to an image: no release behind :")),
            ("--help", Err("\"--help\" is no reference to an image: no name of a distro")),
            ("debian@vax", Err("unknown architecture \"vax\"")),
        ];
        for (text, expected) in rows {
            let read = text.parse::<Reference>();
            if let Ok(reference) = &read {
                assert_eq!(reference.to_string().parse::<Reference>().unwrap(), *reference, "{text}");
            }
            let read = read.map_err(|error| error.to_string());
            let parts = read.as_ref().map(|read| {
                (read.distro.as_str(), read.release.as_deref(), read.variant.as_deref(), read.architecture)
            });
            assert_eq!(parts.map_err(String::as_str), expected, "{text}");
        }
    }
}
