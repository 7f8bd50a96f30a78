//! Under which names checksums and signatures lie beside a file. Pure.

/// Files of checksums of all files of a directory: what importctl looks for, and what distributions call theirs (Debian,
/// Ubuntu: SHA256SUMS, SHA512SUMS; CentOS, AlmaLinux, Rocky: CHECKSUM; Arch: sha256sums.txt; Void: sha256sum.txt).
const LISTS: [&str; 5] = ["SHA256SUMS", "SHA512SUMS", "CHECKSUM", "sha256sums.txt", "sha256sum.txt"];

/// What a detached signature's name has more than that of the file.
const SIGNATURES: [&str; 5] = [".asc", ".gpg", ".sig", ".sign", ".minisig"];

/// Where the checksum of `name` may be, in the order in which to look.
pub(super) fn lists(name: &str) -> Vec<String> {
    let own = [".sha256", ".sha512", ".DIGESTS"].map(|suffix| format!("{name}{suffix}"));
    let [sha256, sha512, digests] = own;
    let mut all = vec![sha256];
    all.extend(LISTS.map(str::to_owned));
    all.extend([sha512, digests]);
    all
}

/// Where the signature of `name` may be, in the order in which to look.
pub(super) fn signatures(name: &str) -> Vec<String> {
    let mut all: Vec<String> = SIGNATURES.iter().map(|suffix| format!("{name}{suffix}")).collect();
    // signify(1): sha256sum.sig beside sha256sum.txt.
    if let Some(stem) = name.strip_suffix(".txt") {
        all.push(format!("{stem}.sig"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            lists("a.tar"),
            [
                "a.tar.sha256",
                "SHA256SUMS",
                "SHA512SUMS",
                "CHECKSUM",
                "sha256sums.txt",
                "sha256sum.txt",
                "a.tar.sha512",
                "a.tar.DIGESTS"
            ]
        );
        assert_eq!(signatures("S"), ["S.asc", "S.gpg", "S.sig", "S.sign", "S.minisig"]);
        assert_eq!(signatures("s.txt").last().map(String::as_str), Some("s.sig"));
    }
}
