//! What /proc shows of this process's command line and environment.
//!
//! A process that is cloned and never execs keeps showing the command line of its parent: a guest would read ours, with
//! the secrets in it, in /proc/1/cmdline.

use std::ffi::CString;
use std::ptr::NonNull;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::files::{open_at, read_all};
use super::{SysError, SysResult, sys};

/// What we need of /proc/self/stat (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SelfStat {
    arguments: Region,
    environment: Region,
}

/// Addresses of memory, first to one past the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    start: usize,
    end: usize,
}

/// Shows `title` instead of our command line, nothing instead of our environment, and names this thread `title` as well
/// (PR_SET_NAME keeps 15 bytes). The title is cut to what the command line's memory holds.
///
/// Afterwards the program's own view of its arguments and of the variables that it was started with is empty too: copy
/// first what is still needed. For processes that keep running without exec, before anybody hostile can look.
pub fn replace(title: &str) -> SysResult<()> {
    let stat = self_stat()?;
    let title: Vec<u8> = title.bytes().filter(|&byte| byte != 0).collect();
    overwrite(stat.arguments, &title);
    overwrite(stat.environment, b"");
    let name = CString::new(title).unwrap_or_default();
    sys("prctl", rustix::thread::set_name(&name), || format!("PR_SET_NAME, {}", name.to_string_lossy()))
}

/// The number of threads of this process: /proc/self/task has a directory for each, and as any directory two links more
/// than it has directories (proc_task_getattr() in fs/proc/base.c). One call, where reading it would take five.
pub(super) fn thread_count() -> SysResult<u64> {
    let stat = sys("stat", rustix::fs::stat("/proc/self/task"), || "\"/proc/self/task\"".to_owned())?;
    Ok(stat.st_nlink.saturating_sub(2))
}

fn self_stat() -> SysResult<SelfStat> {
    /// Some fifty numbers and a name of 15 bytes.
    const STAT_LIMIT: usize = 4096;
    const PATH: &str = "/proc/self/stat";
    let file = open_at(rustix::fs::CWD, PATH, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    // In a guest's root anything may be at this path, and we write to the addresses that are in the file.
    let system = sys("fstatfs", rustix::fs::fstatfs(&file), || PATH.to_owned())?;
    if system.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(SysError::new("fstatfs", PATH, Errno::NODEV));
    }
    parse_stat(&read_all(file, STAT_LIMIT)?).ok_or_else(|| SysError::new("read", PATH, Errno::PROTO))
}

/// Reads the fields by their numbers in proc_pid_stat(5): 48-51 arg_start, arg_end, env_start, env_end.
/// The second field is a name in parentheses that may hold anything, parentheses and spaces too.
fn parse_stat(text: &[u8]) -> Option<SelfStat> {
    let after_name = text.iter().rposition(|&byte| byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&text[after_name..]).ok()?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let region = |number: usize| {
        let (start, end) = (field(number)?.parse().ok()?, field(number + 1)?.parse().ok()?);
        (start <= end).then_some(Region { start, end })
    };
    Some(SelfStat { arguments: region(48)?, environment: region(50)? })
}

/// Fills `region` with `text` and zeros. The last byte is a zero always: the kernel takes anything else for a title that
/// goes on in the environment (proc_pid_cmdline(5)).
fn overwrite(region: Region, text: &[u8]) {
    let (Some(start), length) = (NonNull::new(region.start as *mut u8), region.end - region.start) else {
        return;
    };
    let kept = text.len().min(length.saturating_sub(1));
    let bytes = text[..kept].iter().copied().chain(std::iter::repeat(0));
    for (offset, byte) in (0..length).zip(bytes) {
        // SAFETY: offset is below the region's length, so this stays inside what the kernel calls our arguments or
        // environment.
        let target = unsafe { start.add(offset) };
        // SAFETY: the kernel put these strings on our own stack when we were exec'd: private, writable, mapped for the
        // process's life. Only the argv and envp arrays point there, and their readers (std::env, getenv) copy; each
        // string still ends in a zero. Volatile, since nothing in this program reads the bytes again.
        unsafe { target.as_ptr().write_volatile(byte) };
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::super::fork::fork_from_test;
    use super::*;

    #[test]
    fn stat_lines() {
        let numbers: Vec<String> = (4..=52).map(|number| (number * 10).to_string()).collect();
        let line = |name: &str| format!("12 ({name}) S {}\n", numbers.join(" "));
        let expected = Some(SelfStat {
            arguments: Region { start: 480, end: 490 },
            environment: Region { start: 500, end: 510 },
        });
        let table = [
            ("plain", line("spinney"), expected),
            ("a name that looks like fields", line("a) S 1 2 (b"), expected),
            ("cut short", "12 (spinney) S 1 2".to_owned(), None),
            ("no name", "12".to_owned(), None),
            ("backwards", line("x").replace(" 490 ", " 3 "), None),
        ];
        for (name, text, expected) in table {
            assert_eq!(parse_stat(text.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn the_command_line_and_the_environment_disappear() {
        // A check fails with its own number.
        let pid = fork_from_test(|| {
            if replace("spinney-init").is_err() {
                return 1;
            }
            let read = |name: &str| std::fs::read(format!("/proc/self/{name}")).unwrap_or_default();
            let command_line = read("cmdline");
            let text: Vec<u8> = command_line.iter().copied().filter(|&byte| byte != 0).collect();
            match (text.as_slice(), read("comm").as_slice(), read("environ")) {
                (title, _, _) if title != b"spinney-init" => 2,
                (_, name, _) if name != b"spinney-init\n" => 3,
                (_, _, environment) if environment.iter().any(|&byte| byte != 0) => 4,
                _ => 0,
            }
        })
        .expect("fork");
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).expect("wait").expect("a child");
        assert_eq!(status.exit_status(), Some(0));
    }
}
