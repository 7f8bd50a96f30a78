//! Names of architectures: ours are Debian's (dpkg-architecture(1)), as image servers use them too.

use super::error::Error;
use crate::guest::architecture::Architecture;
use crate::settings::nearest;

/// Our names.
pub const ALL: [&str; 8] = ["amd64", "arm64", "armhf", "i386", "loong64", "ppc64el", "riscv64", "s390x"];

/// Names that others have for them: uname(2), the Go names of OCI, Arch, Alpine.
const OTHERS: [(&str, &str); 14] = [
    ("x86_64", "amd64"),
    ("x86-64", "amd64"),
    ("aarch64", "arm64"),
    ("arm64v8", "arm64"),
    ("armv7l", "armhf"),
    ("armv7", "armhf"),
    ("arm32v7", "armhf"),
    ("i686", "i386"),
    ("i586", "i386"),
    ("x86", "i386"),
    ("386", "i386"),
    ("loongarch64", "loong64"),
    ("ppc64le", "ppc64el"),
    ("powerpc64le", "ppc64el"),
];

/// Our name of the architecture that somebody calls `name`.
pub fn canonical(name: &str) -> Option<&'static str> {
    ALL.into_iter()
        .find(|ours| *ours == name)
        .or_else(|| OTHERS.iter().find(|(other, _)| *other == name).map(|(_, ours)| *ours))
}

/// As [`canonical`].
///
/// # Errors
/// [`Error::UnknownArchitecture`].
pub fn parse(name: &str) -> Result<&'static str, Error> {
    canonical(name).ok_or_else(|| Error::UnknownArchitecture {
        name: name.to_owned(),
        nearest: nearest(name, ALL.into_iter().chain(OTHERS.map(|(other, _)| other))).map(str::to_owned),
    })
}

/// That of this host; of a host that no distro is made for, none.
pub fn host() -> Option<&'static str> {
    Some(match Architecture::host()? {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
        Architecture::Arm => "armhf",
        Architecture::X86 => "i386",
        Architecture::Loongarch64 => "loong64",
        Architecture::Ppc64le => "ppc64el",
        Architecture::Riscv64 => "riscv64",
        Architecture::S390x => "s390x",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let rows = [
            ("amd64", Some("amd64")),
            ("x86_64", Some("amd64")),
            ("aarch64", Some("arm64")),
            ("armv7l", Some("armhf")),
            ("ppc64le", Some("ppc64el")),
            ("AMD64", None),
            ("", None),
        ];
        for (name, expected) in rows {
            assert_eq!(canonical(name), expected, "{name}");
        }
        for (_, ours) in OTHERS {
            assert!(ALL.contains(&ours), "{ours}");
        }
        assert_eq!(
            parse("amd46").unwrap_err().to_string(),
            "unknown architecture \"amd46\"; did you mean \"amd64\"?"
        );
    }
}
