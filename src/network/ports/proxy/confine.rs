//! What the process gives up before it serves anybody.

use std::mem::offset_of;

use crate::sys::SysResult;
use crate::sys::capability::{
    CapabilitySets, capabilities, clear_ambient_set, set_capabilities, set_keep_capabilities,
};
use crate::sys::fork::exit_now;
use crate::sys::process::{
    die_with_parent, resource_limit, set_ids, set_no_new_privileges, set_resource_limit,
};
use crate::sys::seccomp::{SockFilter, install_filter};

/// RLIMIT_NOFILE of getrlimit(2).
const OPEN_FILES: u32 = libc::RLIMIT_NOFILE;

/// As many fds as the proxy has use for, if it may.
const WANTED_FDS: u64 = 65_536;

/// Connections and sessions at once, at most. What comes later waits in the kernel's queues.
const MOST: u64 = 16_384;

/// Fds of a connection: two sockets, and for some a pipe of two ends.
const FDS_EACH: u64 = 3;

/// Fds for listeners and the rest: not more listeners than fit have we been given.
const OTHER_FDS: u64 = 2048;

/// CAP_DAC_OVERRIDE of capability(7): to connect to a socket of a user's takes the permission to write to it. Nothing else can
/// be done with it, since files cannot be opened.
const DAC_OVERRIDE: u64 = 1 << 1;

/// Raises the limit of fds as far as we may; gives how many connections there may be.
pub(super) fn more_fds() -> usize {
    let (_, hard) = resource_limit(0, OPEN_FILES).unwrap_or((1024, 1024));
    let wanted = hard.max(WANTED_FDS);
    // Beyond the hard limit it takes CAP_SYS_RESOURCE.
    let limit = match set_resource_limit(OPEN_FILES, wanted, wanted) {
        Ok(()) => wanted,
        Err(_) => {
            let _ = set_resource_limit(OPEN_FILES, hard, hard);
            hard
        }
    };
    let most = (limit.saturating_sub(OTHER_FDS.min(limit / 2)) / FDS_EACH).clamp(16, MOST);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Who the proxy is to the services that it connects to (SO_PEERCRED of unix(7)), and what it may.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    /// Its uid and its gid: never root's, who may be asked for anything.
    pub(super) id: u32,
    /// It connects to sockets of the file system, whoever may.
    pub(super) sockets: bool,
}

/// Gives up all privileges, and all system calls but those that serving takes.
pub(super) fn confine(identity: Identity) -> SysResult<()> {
    set_no_new_privileges()?;
    clear_ambient_set()?;
    let kept = capabilities()?.permitted & if identity.sockets { DAC_OVERRIDE } else { 0 };
    let parent = rustix::process::getppid();
    set_keep_capabilities(true)?;
    set_ids(identity.id, identity.id, &[])?;
    set_keep_capabilities(false)?;
    // Another effective uid has cleared it (PR_SET_PDEATHSIG of prctl(2)).
    die_with_parent()?;
    if rustix::process::getppid() != parent {
        exit_now(0);
    }
    set_capabilities(CapabilitySets { effective: kept, permitted: kept, inheritable: 0 })?;
    match filter(ARCHITECTURE) {
        Some(program) => install_filter(&program),
        None => Ok(()),
    }
}

/// AUDIT_ARCH_* of linux/audit.h; on others there is no filter.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xc000_00f3)
} else {
    None
};

/// What the loop, the allocator and the end of a process take.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_pipe2,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_socket,
    libc::SYS_splice,
    libc::SYS_write,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// A program for `architecture`: the calls above are let through, others fail with EPERM, those of another architecture kill.
fn filter(architecture: Option<u32>) -> Option<Vec<SockFilter>> {
    /// Classes and modes of linux/bpf_common.h: load a word of the data, jump if equal, return.
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let architecture = architecture?;
    let one = |code, jt, jf, k| SockFilter { code, jt, jf, k };
    let result = |k| one(RETURN, 0, 0, k);
    let offset = |offset: usize| u32::try_from(offset).unwrap_or(0);
    let mut program = vec![
        one(LOAD, 0, 0, offset(offset_of!(libc::seccomp_data, arch))),
        one(JUMP_IF_EQUAL, 1, 0, architecture),
        result(libc::SECCOMP_RET_KILL_PROCESS),
        one(LOAD, 0, 0, offset(offset_of!(libc::seccomp_data, nr))),
    ];
    for call in ALLOWED {
        program.push(one(JUMP_IF_EQUAL, 0, 1, u32::try_from(*call).unwrap_or(u32::MAX)));
        program.push(result(libc::SECCOMP_RET_ALLOW));
    }
    program.push(result(libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()));
    Some(program)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::io::Errno;
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::sys::fork::fork_from_test;

    #[test]
    fn root_is_given_up() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can become another");
            return;
        }
        for (sockets, expected) in [(true, "0000000000000002"), (false, "0000000000000000")] {
            let (mut said, say) = std::io::pipe().unwrap();
            let (heard, hear) = std::io::pipe().unwrap();
            let child = || {
                let done = confine(Identity { id: 524_288, sockets }).is_ok();
                let _ = rustix::io::write(&say, &[u8::from(done)]);
                let _ = rustix::io::read(&heard, &mut [0]);
                0
            };
            let pid = fork_from_test(child).expect("fork");
            let mut done = [0];
            said.read_exact(&mut done).unwrap();
            let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
            let of = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                line.split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let ids = "524288 524288 524288 524288";
            let found = ["Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:"].map(of);
            rustix::io::write(&hear, &[0]).unwrap();
            waitpid(Some(pid), WaitOptions::empty()).expect("wait");
            assert_eq!(
                (done, found.each_ref().map(String::as_str)),
                ([1], [ids, ids, "", expected, expected])
            );
        }
    }

    #[test]
    fn files_cannot_be_opened_and_programs_not_run() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can become another");
            return;
        }
        let child = || {
            let us = rustix::process::getpid();
            let identity = Identity { id: 65_534, sockets: true };
            let tried = [confine(identity).is_ok(), std::fs::File::open("/dev/null").is_err()];
            let allowed = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).is_ok();
            let forbidden = rustix::process::kill_process(us, rustix::process::Signal::KILL);
            i32::from(!(tried == [true, true] && allowed && forbidden == Err(Errno::PERM)))
        };
        let pid = fork_from_test(child).expect("fork");
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
        assert_eq!(status.exit_status(), Some(0));
    }
}
