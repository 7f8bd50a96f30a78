//! The error of a failed system call: reads like a line of strace.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The result of a system call wrapper.
pub type SysResult<T> = Result<T, SysError>;

/// A system call that failed: `openat2(7</srv/tree>, "etc/os-release")`, with the errno as its source.
#[derive(Debug, thiserror::Error)]
#[error("{call}({arguments})")]
pub struct SysError {
    call: &'static str,
    arguments: String,
    #[source]
    errno: Errno,
}

impl SysError {
    /// An error of `call`, whose `arguments` are already rendered.
    pub fn new(call: &'static str, arguments: impl Into<String>, errno: Errno) -> Self {
        Self { call, arguments: arguments.into(), errno }
    }

    /// The errno of the call.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Whether a call on another file would fail as well: a full or failing disk, too many open files.
    pub fn ends_all(&self) -> bool {
        use Errno as E;
        matches!(self.errno, E::NOSPC | E::DQUOT | E::ROFS | E::IO | E::NFILE | E::MFILE | E::NOMEM)
    }

    /// The name of the call.
    pub fn call(&self) -> &'static str {
        self.call
    }
}

/// Turns `result` into a [`SysResult`]; `arguments` is rendered only on failure.
pub fn sys<T>(
    call: &'static str,
    result: Result<T, Errno>,
    arguments: impl FnOnce() -> String,
) -> SysResult<T> {
    result.map_err(|errno| SysError::new(call, arguments(), errno))
}

/// An fd as strace -y shows it: `7</srv/tree>`.
#[derive(Debug)]
pub struct FdPath<'fd>(pub BorrowedFd<'fd>);

impl<'fd> FdPath<'fd> {
    /// Shows `fd`.
    pub fn of(fd: &'fd impl AsFd) -> Self {
        Self(fd.as_fd())
    }
}

impl fmt::Display for FdPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0.as_raw_fd();
        if number == libc::AT_FDCWD {
            return f.write_str("AT_FDCWD");
        }
        match std::fs::read_link(format!("/proc/self/fd/{number}")) {
            Ok(path) => write!(f, "{number}<{}>", Shown(&path.to_string_lossy())),
            Err(_) => write!(f, "{number}"),
        }
    }
}

/// `error` with its causes, in one line: `cannot read the tree: openat("/srv"): No such file or directory`.
pub fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A path as it may be printed: what of it would steer a terminal is escaped, since a guest may have named the file.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '"' | '\'' => write!(f, "{character}"),
            character => write!(f, "{}", character.escape_debug()),
        })
    }
}

/// Flags as strace shows them, `O_RDONLY|O_CLOEXEC`, of a type whose Debug form is `Type(A | B)`.
#[derive(Debug)]
pub struct Flags<T>(pub T);

impl<T: fmt::Debug> fmt::Display for Flags<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?}", self.0);
        let inner = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(&text);
        f.write_str(&inner.replace(" | ", "|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_like_strace() {
        use rustix::mount::OpenTreeFlags;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
        assert_eq!(Flags(flags).to_string(), "OPEN_TREE_CLONE|AT_RECURSIVE");
        assert_eq!(Flags(OpenTreeFlags::empty()).to_string(), "0x0");
    }

    #[test]
    fn paths_do_not_steer_the_terminal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ä's\x1b]0;x\x07\n\u{202e}");
        let file = std::fs::File::create(path).unwrap();
        let shown = FdPath::of(&file).to_string();
        assert!(shown.ends_with("/ä's\\u{1b}]0;x\\u{7}\\n\\u{202e}>"), "{shown}");
    }
}
