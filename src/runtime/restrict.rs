//! What takes privileges away from a process of the guest, and its exec: the leader's, and those of whoever joins the
//! machine later. Both are to have exactly the same, so it is written down once.

use std::ffi::{CStr, CString};

use rustix::io::Errno;

use crate::settings::Capability;
use crate::sys::process::{close_on_exec_from, die_with_parent, execute, keep_on_exec, set_ids};
use crate::sys::seccomp::{SockFilter, install_filter};
use crate::sys::signal::{SignalSet, reset_for_exec};
use crate::sys::{SysError, SysResult, sys};

use super::capability::CapabilityPlan;
use super::environment::DEFAULT_PATH;
use super::plan::{ProcessPlan, UserPlan};

/// What a process of the guest is confined by.
#[derive(Debug, Clone, Copy)]
pub struct Restrictions<'a> {
    /// Who it runs as.
    pub user: &'a UserPlan,
    /// Its capabilities.
    pub capabilities: &'a CapabilityPlan,
    /// Its system call filter; empty for none.
    pub seccomp: &'a [SockFilter],
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Fds from 3 on that it keeps.
    pub listen_fds: u32,
}

impl ProcessPlan {
    /// What the payload is confined by.
    pub fn restrictions(&self) -> Restrictions<'_> {
        Restrictions {
            user: &self.user,
            capabilities: &self.capabilities,
            seccomp: &self.seccomp,
            no_new_privileges: self.no_new_privileges,
            listen_fds: self.listen_fds,
        }
    }
}

impl Restrictions<'_> {
    /// Takes them on, last before exec: bounding set, ids, capabilities, system calls. From here on we die with our
    /// parent.
    ///
    /// # Errors
    /// When the kernel refuses: then nothing of the guest may be executed.
    pub fn apply(&self) -> SysResult<()> {
        let plan = self.capabilities;
        (3..3 + self.listen_fds).try_for_each(keep_on_exec)?;
        close_on_exec_from(3 + self.listen_fds)?;
        reset_for_exec(&SignalSet::empty())?;
        plan.before_user()?;
        // A filter needs CAP_SYS_ADMIN (or no_new_privs, seccomp(2)): where the payload has none, it comes before the
        // ids, else last, where it is in nobody's way.
        let early = plan.effective & Capability::SYS_ADMIN.bit() == 0;
        let filter = || if self.seccomp.is_empty() { Ok(()) } else { install_filter(self.seccomp) };
        if early {
            filter()?;
        }
        set_ids(self.user.uid, self.user.gid, &self.user.groups)?;
        plan.after_user()?;
        // setresuid(2) cleared it.
        die_with_parent()?;
        if self.no_new_privileges {
            sys("prctl", rustix::thread::set_no_new_privs(true), || "PR_SET_NO_NEW_PRIVS".to_owned())?;
        }
        if early { Ok(()) } else { filter() }
    }
}

/// A program of the guest, on its way to exec.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// What is executed: a path, or a name that is looked for in the PATH of `environment` as execvp(3) does.
    pub file: &'a [u8],
    /// Its arguments, its own name first.
    pub argv: &'a [Vec<u8>],
    /// `NAME=value`.
    pub environment: &'a [Vec<u8>],
}

impl Program<'_> {
    /// Executes it; comes back to say why not. `check` may refuse a file before it is executed.
    pub fn execute(&self, check: impl Fn(&CStr) -> SysResult<()>) -> SysError {
        let strings = |list: &[Vec<u8>]| -> Option<Vec<CString>> {
            list.iter().map(|bytes| CString::new(bytes.as_slice()).ok()).collect()
        };
        let (Some(argv), Some(environment)) = (strings(self.argv), strings(self.environment)) else {
            return SysError::new("execve", "a string with a NUL byte", Errno::INVAL);
        };
        let attempt = |file: &[u8]| match CString::new(file) {
            Ok(file) => match check(&file) {
                Ok(()) => execute(&file, &argv, &environment),
                Err(error) => error,
            },
            Err(_) => SysError::new("execve", "a name with a NUL byte", Errno::INVAL),
        };
        if self.file.contains(&b'/') {
            return attempt(self.file);
        }
        let path = self.environment.iter().find_map(|variable| variable.strip_prefix(b"PATH="));
        let path = path.unwrap_or(DEFAULT_PATH.as_bytes());
        let shown = String::from_utf8_lossy(self.file).into_owned();
        let mut error = SysError::new("execve", format!("{shown:?}"), Errno::NOENT);
        if self.file.is_empty() {
            return error;
        }
        for directory in path.split(|byte| *byte == b':') {
            let this = attempt(&[directory, b"/", self.file].concat());
            // As execvp(3): one that may not be executed is worth more than one that is not there.
            if !matches!(this.errno(), Errno::NOENT | Errno::NOTDIR) {
                error = this;
            }
        }
        error
    }
}

/// The exit status of a command that could not be executed, as shells have it.
pub fn exec_status(error: &SysError) -> i32 {
    match error.errno() {
        Errno::NOENT | Errno::NOTDIR => 127,
        _ => 126,
    }
}
