//! The option syntax of mounts: `--bind=`, `--tmpfs=`, `--overlay=`, `--inaccessible=`, `--pivot-root=`.
//!
//! Paths of the guest come out absolute and without `..`. Relative paths of the host stay as they were given:
//! [`CustomMount::absolute`] joins them to the working directory, which no parser knows.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use super::escape::{first_of_colons, split_at_colons};
use super::{BindIds, CustomMount, PivotRoot, ValueError};

const BIND_HINT: &str =
    r"SOURCE[:TARGET[:OPTIONS]], for example /srv/data:/data:idmap ('\:' is a colon in a path)";
const TMPFS_HINT: &str = "TARGET[:OPTIONS], for example /var:mode=0755,size=1G";
const OVERLAY_HINT: &str =
    "LOWER:…:UPPER:TARGET, for example /srv/base:/srv/changes:/opt, or +/var::/var with an empty UPPER";
const PATH_HINT: &str = "an absolute path in the guest, for example /srv/data";
const PIVOT_HINT: &str = "NEW[:OLD], both absolute paths in the tree";

/// Mode of a `--tmpfs=` that has no options (systemd-nspawn(1)).
const TMPFS_DEFAULT_OPTIONS: &str = "mode=0755";

impl CustomMount {
    /// Parses `--bind=` (or, `read_only`, `--bind-ro=`): `[+]SOURCE[:TARGET[:OPTIONS]]`. An empty source is a temporary
    /// directory; without a target it is the source's own path.
    pub fn parse_bind(text: &str, read_only: bool) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, BIND_HINT);
        let parts = split_at_colons(text, BIND_HINT)?;
        let (given, target, options) = match parts.as_slice() {
            [source] => (source, None, None),
            [source, target] => (source, Some(target), None),
            [source, target, options] => (source, Some(target), Some(options)),
            _ => return Err(refused("has more than three parts")),
        };
        let source = Layer::parse(given, text, BIND_HINT)?;
        let target = match (target, &source) {
            (Some(target), _) => guest_path(target, text, BIND_HINT)?,
            (None, Some(layer)) if layer.path.is_absolute() => normal(&layer.path),
            (None, Some(layer)) => layer.path.clone(),
            (None, None) => return Err(refused("has neither source nor target")),
        };
        refuse_root(&target, text, BIND_HINT)?;
        let (recursive, ids) = bind_options(options.map_or("", String::as_str))?;
        let (source, source_in_guest) = match source {
            Some(Layer { path, in_guest }) => (Some(path), in_guest),
            None => (None, false),
        };
        Ok(Self::Bind { source, source_in_guest, target, read_only, recursive, ids })
    }

    /// Parses `--tmpfs=TARGET[:OPTIONS]`. Without options the mode is 0755.
    pub fn parse_tmpfs(text: &str) -> Result<Self, ValueError> {
        let (target, options) = first_of_colons(text, text, TMPFS_HINT)?;
        let target = guest_path(&target, text, TMPFS_HINT)?;
        refuse_root(&target, text, TMPFS_HINT)?;
        Ok(Self::Tmpfs { target, options: options.unwrap_or(TMPFS_DEFAULT_OPTIONS).to_owned() })
    }

    /// Parses `--overlay=` (or, `read_only`, `--overlay-ro=`): `LOWER:…:UPPER:TARGET`, or with two paths `LOWER:UPPER`,
    /// the upper's path being the target too. `+` marks a path of the tree; an empty upper is a temporary directory.
    pub fn parse_overlay(text: &str, read_only: bool) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, OVERLAY_HINT);
        let parts = split_at_colons(text, OVERLAY_HINT)?;
        let (layers, target) = match parts.as_slice() {
            [] | [_] => return Err(refused("has fewer than two paths")),
            [_, upper] => (parts.as_slice(), upper.strip_prefix('+').unwrap_or(upper)),
            [layers @ .., target] => (layers, target.as_str()),
        };
        let named_after_upper = parts.len() == 2;
        let target = if named_after_upper && !target.starts_with('/') && !target.is_empty() {
            PathBuf::from(target)
        } else {
            guest_path(target, text, OVERLAY_HINT)?
        };
        refuse_root(&target, text, OVERLAY_HINT)?;
        let layers = layers
            .iter()
            .map(|layer| Layer::parse(layer, text, OVERLAY_HINT))
            .collect::<Result<Vec<_>, _>>()?;
        let Some((upper, lower)) = layers.split_last() else {
            return Err(refused("has fewer than two paths"));
        };
        let pair = |layer: &Layer| (layer.path.clone(), layer.in_guest);
        let mut lower = lower
            .iter()
            .map(|layer| layer.as_ref().map(pair).ok_or_else(|| refused("has an empty lower path")))
            .collect::<Result<Vec<_>, _>>()?;
        let upper = match (read_only, upper) {
            (true, None) => return Err(refused("has an empty path, which nothing could be written to")),
            (true, Some(top)) => {
                lower.push(pair(top));
                None
            }
            (false, upper) => Some(upper.as_ref().map(pair)),
        };
        Ok(Self::Overlay { lower, upper, target })
    }

    /// Parses `--inaccessible=TARGET`.
    pub fn parse_inaccessible(text: &str) -> Result<Self, ValueError> {
        let target = guest_path(text, text, PATH_HINT)?;
        refuse_root(&target, text, PATH_HINT)?;
        Ok(Self::Inaccessible { target })
    }

    /// Joins relative paths of the host to `directory`, our working directory; a target that was named after such a
    /// path becomes its absolute path too.
    #[must_use]
    pub fn absolute(self, directory: &Path) -> Self {
        let host = |path: PathBuf, in_guest: bool| if in_guest { path } else { directory.join(path) };
        let guest = |path: PathBuf| if path.is_absolute() { path } else { normal(&directory.join(path)) };
        match self {
            Self::Bind { source, source_in_guest, target, read_only, recursive, ids } => Self::Bind {
                source: source.map(|path| host(path, source_in_guest)),
                source_in_guest,
                target: guest(target),
                read_only,
                recursive,
                ids,
            },
            Self::Overlay { lower, upper, target } => {
                let layer = |(path, in_guest)| (host(path, in_guest), in_guest);
                Self::Overlay {
                    lower: lower.into_iter().map(layer).collect(),
                    upper: upper.map(|upper| upper.map(layer)),
                    target: guest(target),
                }
            }
            other @ (Self::Tmpfs { .. } | Self::Inaccessible { .. }) => other,
        }
    }

    /// Where in the guest it is mounted.
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Overlay { target, .. }
            | Self::Inaccessible { target } => target,
        }
    }
}

impl FromStr for PivotRoot {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let parts = split_at_colons(text, PIVOT_HINT)?;
        let (new, old) = match parts.as_slice() {
            [new] => (new, None),
            [new, old] => (new, Some(old)),
            _ => return Err(ValueError::new(text, "has more than two paths", PIVOT_HINT)),
        };
        let new = guest_path(new, text, PIVOT_HINT)?;
        let old = old.map(|old| guest_path(old, text, PIVOT_HINT)).transpose()?;
        if old.as_ref() == Some(&new) {
            return Err(ValueError::new(text, "names the same directory twice", PIVOT_HINT));
        }
        Ok(Self { new, old })
    }
}

/// Parses an absolute path of the guest, as `--chdir=` and `--init=` take it.
pub fn parse_guest_path(text: &str) -> Result<PathBuf, ValueError> {
    guest_path(text, text, PATH_HINT)
}

/// A source path; empty ones are `None`.
struct Layer {
    path: PathBuf,
    in_guest: bool,
}

impl Layer {
    fn parse(given: &str, whole: &str, hint: &'static str) -> Result<Option<Self>, ValueError> {
        if given.is_empty() {
            return Ok(None);
        }
        match given.strip_prefix('+') {
            Some(path) => Ok(Some(Self { path: guest_path(path, whole, hint)?, in_guest: true })),
            None => Ok(Some(Self { path: given.into(), in_guest: false })),
        }
    }
}

/// `given` as an absolute path without `.` and doubled slashes. `..` is refused: what it means would depend on symlinks
/// of the tree.
fn guest_path(given: &str, whole: &str, hint: &'static str) -> Result<PathBuf, ValueError> {
    let path = Path::new(given);
    if !path.is_absolute() {
        return Err(ValueError::new(whole, "has a path in the guest that is not absolute", hint));
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(ValueError::new(whole, "has '..' in a path in the guest", hint));
    }
    Ok(normal(path))
}

/// Refuses `/` as a mount point: systemd-nspawn(1) sends the user to `--volatile=` for that.
fn refuse_root(target: &Path, whole: &str, hint: &'static str) -> Result<(), ValueError> {
    if target == Path::new("/") {
        return Err(ValueError::new(whole, "would hide the whole tree behind a mount on /", hint));
    }
    Ok(())
}

/// `path` without `.`, and with `..` taken back by name alone.
fn normal(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => result.push(component),
        }
    }
    result
}

/// The third part of `--bind=`.
fn bind_options(text: &str) -> Result<(bool, BindIds), ValueError> {
    let mut recursive = true;
    let mut ids = BindIds::NoIdmap;
    for option in text.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rbind" => recursive = true,
            "norbind" => recursive = false,
            "noidmap" => ids = BindIds::NoIdmap,
            "idmap" => ids = BindIds::Idmap,
            "rootidmap" => ids = BindIds::RootIdmap,
            "owneridmap" => ids = BindIds::OwnerIdmap,
            _ => {
                return Err(ValueError::new(
                    option,
                    "is not an option of a bind mount",
                    "one of: rbind, norbind, idmap, noidmap, rootidmap, owneridmap",
                ));
            }
        }
    }
    Ok((recursive, ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(
        source: Option<&str>,
        in_guest: bool,
        target: &str,
        recursive: bool,
        ids: BindIds,
    ) -> CustomMount {
        CustomMount::Bind {
            source: source.map(Into::into),
            source_in_guest: in_guest,
            target: target.into(),
            read_only: false,
            recursive,
            ids,
        }
    }

    #[test]
    fn binds() {
        use BindIds::{Idmap, NoIdmap, OwnerIdmap, RootIdmap};
        let rows = [
            ("/a", bind(Some("/a"), false, "/a", true, NoIdmap)),
            ("/a/./b//c/../d/", bind(Some("/a/./b//c/../d/"), false, "/a/b/d", true, NoIdmap)),
            ("/a:/b", bind(Some("/a"), false, "/b", true, NoIdmap)),
            ("+/a:/b", bind(Some("/a"), true, "/b", true, NoIdmap)),
            ("+/a", bind(Some("/a"), true, "/a", true, NoIdmap)),
            (":/b", bind(None, false, "/b", true, NoIdmap)),
            ("a/b", bind(Some("/work/a/b"), false, "/work/a/b", true, NoIdmap)),
            ("../a", bind(Some("/work/../a"), false, "/a", true, NoIdmap)),
            ("a:/b", bind(Some("/work/a"), false, "/b", true, NoIdmap)),
            ("/a:/b:norbind", bind(Some("/a"), false, "/b", false, NoIdmap)),
            ("/a:/b:idmap,norbind,rbind", bind(Some("/a"), false, "/b", true, Idmap)),
            ("/a:/b:rootidmap", bind(Some("/a"), false, "/b", true, RootIdmap)),
            ("/a:/b:idmap,owneridmap", bind(Some("/a"), false, "/b", true, OwnerIdmap)),
            ("/a:/b:", bind(Some("/a"), false, "/b", true, NoIdmap)),
            (r"/a\:x:/b\\", bind(Some("/a:x"), false, r"/b\", true, NoIdmap)),
        ];
        for (text, expected) in rows {
            let mount = CustomMount::parse_bind(text, false).unwrap();
            assert_eq!(mount.absolute(Path::new("/work")), expected, "{text}");
        }
        let rows = [
            ("", "has neither source nor target"),
            ("/", "would hide the whole tree behind a mount on /"),
            ("/a:/", "would hide the whole tree behind a mount on /"),
            ("/a:b", "has a path in the guest that is not absolute"),
            ("/a:", "has a path in the guest that is not absolute"),
            ("+a:/b", "has a path in the guest that is not absolute"),
            ("/a:/b/../c", "has '..' in a path in the guest"),
            ("/a:/b:ro", "is not an option of a bind mount"),
            ("/a:/b:rbind:x", "has more than three parts"),
            (r"/a\", "ends within an escape"),
        ];
        for (text, problem) in rows {
            assert_eq!(CustomMount::parse_bind(text, false).unwrap_err().problem(), problem, "{text}");
        }
    }

    #[test]
    fn read_only_binds() {
        let mount = CustomMount::parse_bind("/a", true).unwrap();
        assert!(matches!(mount, CustomMount::Bind { read_only: true, .. }));
    }

    #[test]
    fn tmpfs() {
        let rows = [
            ("/var", "/var", "mode=0755"),
            ("/var:", "/var", ""),
            ("/var:size=1G,mode=0700", "/var", "size=1G,mode=0700"),
            (r"/a\:b:mpol=bind:0", "/a:b", "mpol=bind:0"),
        ];
        for (text, target, options) in rows {
            let expected = CustomMount::Tmpfs { target: target.into(), options: options.into() };
            assert_eq!(CustomMount::parse_tmpfs(text), Ok(expected), "{text}");
        }
        for text in ["", "var", "/", ":size=1", "/a/../b"] {
            assert!(CustomMount::parse_tmpfs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn overlays() {
        type Layers<'a> = &'a [(&'a str, bool)];
        let owned = |layer: &(&str, bool)| (PathBuf::from(layer.0), layer.1);
        type Row<'a> = (&'a str, Layers<'a>, Option<(&'a str, bool)>, &'a str);
        let rows: &[Row] = &[
            ("/a:/b", &[("/a", false)], Some(("/b", false)), "/b"),
            ("a:b", &[("/work/a", false)], Some(("/work/b", false)), "/work/b"),
            ("/a:+/b", &[("/a", false)], Some(("/b", true)), "/b"),
            ("/a:/b:/c", &[("/a", false)], Some(("/b", false)), "/c"),
            ("/a:/b:/c:/d", &[("/a", false), ("/b", false)], Some(("/c", false)), "/d"),
            ("+/var::/var", &[("/var", true)], None, "/var"),
            (r"/a\:x:/b:/c", &[("/a:x", false)], Some(("/b", false)), "/c"),
        ];
        for (text, lower, upper, target) in rows {
            let mount = CustomMount::parse_overlay(text, false).unwrap().absolute(Path::new("/work"));
            let expected = CustomMount::Overlay {
                lower: lower.iter().map(owned).collect(),
                upper: Some(upper.as_ref().map(owned)),
                target: target.into(),
            };
            assert_eq!(mount, expected, "{text}");
        }
        assert_eq!(
            CustomMount::parse_overlay("/a:+/b:/c", true).unwrap(),
            CustomMount::Overlay {
                lower: vec![("/a".into(), false), ("/b".into(), true)],
                upper: None,
                target: "/c".into(),
            }
        );
        let rows = [
            ("", false, "has fewer than two paths"),
            ("/a", false, "has fewer than two paths"),
            ("/a:", false, "has a path in the guest that is not absolute"),
            (":/a:/b", false, "has an empty lower path"),
            ("/a:/b:c", false, "has a path in the guest that is not absolute"),
            ("/a:/b:/", false, "would hide the whole tree behind a mount on /"),
            ("/a::/b", true, "has an empty path, which nothing could be written to"),
        ];
        for (text, read_only, problem) in rows {
            let error = CustomMount::parse_overlay(text, read_only).unwrap_err();
            assert_eq!(error.problem(), problem, "{text}");
        }
    }

    #[test]
    fn inaccessible() {
        let mount = CustomMount::parse_inaccessible("/proc/x/").unwrap();
        assert_eq!(mount, CustomMount::Inaccessible { target: "/proc/x".into() });
        for text in ["", "x", "/", "/a/.."] {
            assert!(CustomMount::parse_inaccessible(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pivot_roots() {
        let rows = [
            ("/new", PivotRoot { new: "/new".into(), old: None }),
            ("/new:/old", PivotRoot { new: "/new".into(), old: Some("/old".into()) }),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "new", "/new:", "/new:old", "/a:/a", "/a:/b:/c", "/a/../b"] {
            assert!(text.parse::<PivotRoot>().is_err(), "{text}");
        }
    }
}
