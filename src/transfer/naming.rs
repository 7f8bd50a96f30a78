//! What an image is called that nobody gave a name: as the file it comes from, without what tells its format.

use super::compression::Compression;

/// Endings of archives and disks.
const ENDINGS: [&str; 7] = [".tar", ".raw", ".qcow2", ".img", ".disk", ".rootfs", ".bin"];

/// The name of an image from a file called `file`: `debian-13.tar.xz` gives `debian-13`.
pub fn image_name(file: &str) -> String {
    let mut name = Compression::of_name(file).1;
    // A disk may say twice what it is: disk.raw.img, rootfs.tar.
    for _ in 0..2 {
        let shorter = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
        match shorter.filter(|shorter| !shorter.is_empty()) {
            Some(shorter) => name = shorter.to_owned(),
            None => break,
        }
    }
    name
}

/// The file at the end of an address, without query and fragment, and as it is called there: `debian%2013.tar` is
/// `debian 13.tar`. What would be more than a name stays as it is written.
pub fn file_of(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let written = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(written).decode_utf8().ok();
    let is_name = |name: &str| !name.chars().any(|char| char == '/' || char.is_control());
    match decoded.filter(|name| address.contains("://") && is_name(name)) {
        Some(name) => name.into_owned(),
        None => written.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let rows = [
            ("https://example.org/images/debian-13.tar.xz", "debian-13"),
            ("https://example.org/root.tgz?token=a/b", "root"),
            ("/srv/Fedora-41.raw.xz", "Fedora-41"),
            ("disk.qcow2", "disk"),
            ("trixie.rootfs.tar.zst", "trixie"),
            ("web/", "web"),
            ("plain", "plain"),
            ("https://example.org/debian%2d13%2Etar.xz", "debian-13"),
            ("https://example.org/a%2fb.tar", "a%2fb"),
            ("https://example.org/a%00.tar", "a%00"),
            ("https://example.org/a%ff.tar", "a%ff"),
            ("a%2d.tar", "a%2d"),
            (".tar", ".tar"),
        ];
        for (address, expected) in rows {
            assert_eq!(image_name(&file_of(address)), expected, "{address}");
        }
    }
}
