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

/// The file at the end of an address, without query and fragment.
pub fn file_of(address: &str) -> &str {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
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
            (".tar", ".tar"),
        ];
        for (address, expected) in rows {
            assert_eq!(image_name(file_of(address)), expected, "{address}");
        }
    }
}
