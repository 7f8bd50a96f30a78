//! What the caller may say of members: whiteouts of layers among them.

use crate::archive::entry::Kind;

/// Asked about each member, by the components of its path: at least one, none of them `.` or `..`.
pub type Filter<'a> = &'a (dyn Fn(&[Vec<u8>], &Kind) -> Verdict + Sync);

/// What becomes of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Take,
    /// It is left out.
    Skip,
    /// In its place there is a file of this name that hides the one of lower layers: a character device 0/0
    /// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
    Whiteout(Vec<u8>),
    /// The directory in which it would be hides all that lower layers have in theirs.
    Opaque,
}

/// Whiteouts as OCI layers have them (image-spec, layer.md, "Whiteouts").
pub fn oci_whiteouts(path: &[Vec<u8>], _kind: &Kind) -> Verdict {
    const WHITEOUT: &[u8] = b".wh.";
    /// What aufs kept for itself, once.
    const OWN: &[u8] = b".wh..wh.";
    let Some(name) = path.last() else { return Verdict::Take };
    if name == b".wh..wh..opq" {
        return Verdict::Opaque;
    }
    if path.iter().any(|component| component.starts_with(OWN)) {
        return Verdict::Skip;
    }
    name.strip_prefix(WHITEOUT).map_or(Verdict::Take, |hidden| Verdict::Whiteout(hidden.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_of_layers() {
        let hides = |name: &str| Verdict::Whiteout(name.into());
        let rows = [
            ("etc/passwd", Verdict::Take),
            ("etc/.wh.passwd", hides("passwd")),
            (".wh.a", hides("a")),
            ("etc/.wh..wh..opq", Verdict::Opaque),
            (".wh..wh..opq", Verdict::Opaque),
            (".wh..wh.plnk/123.456", Verdict::Skip),
            (".wh..wh.aufs", Verdict::Skip),
            ("etc/x.wh.y", Verdict::Take),
            // Refused when it is made.
            ("etc/.wh.", hides("")),
            ("etc/.wh...", hides("..")),
        ];
        for (path, expected) in rows {
            let components: Vec<_> = path.split('/').map(|part| part.as_bytes().to_vec()).collect();
            assert_eq!(oci_whiteouts(&components, &Kind::Fifo), expected, "{path}");
        }
    }
}
