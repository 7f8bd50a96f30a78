//! Running from a sealed copy of our own program (memfd_create(2), file seals of fcntl(2)).
//!
//! A process of ours that a hostile root can look at shows it our program as /proc/PID/exe. Where that root is the host's,
//! as in a machine without a user namespace, it could open that for writing once nobody executes it any more (runc's
//! CVE-2019-5736). A sealed file in memory cannot be written by anybody.

use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use super::files::open_at;
use super::{FdPath, SysError, SysResult, sys};

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// What sendfile(2) copies in one call, at most.
const MOST: usize = 1 << 30;

/// Goes on as a new process image of the same program, with the same arguments, executed from a sealed copy. Comes back at
/// once where that has happened already.
///
/// # Errors
/// When there is no memory for the copy, or /proc is missing.
pub fn execute_from_sealed_copy() -> SysResult<()> {
    let program = open_at(CWD, "/proc/self/exe", OFlags::RDONLY, Mode::empty())?;
    // Of a file that knows no seals it is EINVAL.
    if rustix::fs::fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SEALS)) {
        return Ok(());
    }
    let copy = sealed_copy(&program)?;
    let strings = |list: Vec<OsString>| -> Vec<CString> {
        list.into_iter().filter_map(|text| CString::new(text.into_vec()).ok()).collect()
    };
    let argv = strings(std::env::args_os().collect());
    let environment = strings(
        std::env::vars_os()
            .map(|(name, value)| [name, "=".into(), value].into_iter().collect::<OsString>())
            .collect(),
    );
    let path = CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap_or_default();
    Err(super::process::execute(&path, &argv, &environment))
}

fn sealed_copy(program: &OwnedFd) -> SysResult<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match rustix::fs::memfd_create("spinney", flags | MemfdFlags::EXEC) {
        // Linux before 6.3 does not know MFD_EXEC, which is its default.
        Err(Errno::INVAL) => rustix::fs::memfd_create("spinney", flags),
        made => made,
    };
    let copy = sys("memfd_create", made, || "\"spinney\"".to_owned())?;
    loop {
        match rustix::fs::sendfile(&copy, program, None, MOST) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(SysError::new("sendfile", FdPath::of(program).to_string(), errno));
            }
        }
    }
    sys("fcntl", rustix::fs::fcntl_add_seals(&copy, SEALS), || {
        format!("{}, F_ADD_SEALS", FdPath::of(&copy))
    })?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_cannot_be_written() {
        let mut original = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut original, b"a program").unwrap();
        std::io::Seek::rewind(&mut original).unwrap();
        let copy = sealed_copy(&original.into()).unwrap();
        let mut text = [0; 32];
        let length = rustix::io::pread(&copy, &mut text, 0).unwrap();
        assert_eq!(&text[..length], b"a program");
        assert_eq!(rustix::io::pwrite(&copy, b"x", 0), Err(Errno::PERM));
        assert!(rustix::fs::fcntl_get_seals(&copy).unwrap().contains(SEALS));
    }
}
