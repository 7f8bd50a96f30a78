//! The machine's console output, kept in files: `console.log`, and the one before it as `console.log.1`.
//!
//! Everything the guest writes to its console goes in, byte for byte, whether a person watches or not: it is what
//! explains a boot that failed. Written straight through, without a buffer: what the guest said last is in the file even
//! if we are killed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::printable;
use crate::sys::files::read_at;
use crate::sys::{FdPath, SysResult, sys};

/// The current file's name.
pub const NAME: &str = "console.log";

/// The name of the one before.
pub const ROTATED_NAME: &str = "console.log.1";

/// Where a file ends and the next begins, in bytes. A verbose boot of a distribution prints some tens of KiB, so that
/// this holds dozens of boots; and with two files of it a hostile guest costs the host's /run, which is memory, 2 MiB.
pub const FILE_BYTES: u64 = 1 << 20;

/// How much of the end of a file is looked at for [`last_lines`]: enough for a hundred and sixty of the longest lines.
const TAIL_BYTES: u64 = 64 << 10;

/// The log, open for writing.
#[derive(Debug)]
pub struct ConsoleLog {
    directory: OwnedFd,
    file: OwnedFd,
    size: u64,
    limit: u64,
}

impl ConsoleLog {
    /// Opens the log in `directory` and goes on at its end; files are made with mode 0600, since passwords are typed and
    /// credentials printed on consoles.
    pub fn open(directory: OwnedFd) -> SysResult<Self> {
        Self::with_limit(directory, FILE_BYTES)
    }

    fn with_limit(directory: OwnedFd, limit: u64) -> SysResult<Self> {
        let file = open_file(&directory)?;
        let status = sys("fstat", rustix::fs::fstat(&file), || FdPath::of(&file).to_string())?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        Ok(Self { directory, file, size, limit })
    }

    /// Goes on in `directory`, where the file was removed; what was in it is taken along.
    pub fn restore(&mut self, directory: OwnedFd) -> SysResult<()> {
        if rustix::fs::fstat(&self.file).is_ok_and(|stat| stat.st_nlink > 0) {
            return Ok(());
        }
        // It is open for writing alone.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let before = read_at(rustix::fs::CWD, path, usize::try_from(self.limit).unwrap_or(usize::MAX));
        *self = Self::with_limit(directory, self.limit)?;
        self.append(&before.unwrap_or_default())
    }

    /// Appends `bytes`, into a new file if the current one would grow beyond [`FILE_BYTES`].
    pub fn append(&mut self, mut bytes: &[u8]) -> SysResult<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if !bytes.is_empty() && self.size > 0 && self.size.saturating_add(length) > self.limit {
            self.rotate()?;
        }
        while !bytes.is_empty() {
            match rustix::io::write(&self.file, bytes) {
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    self.size = self.size.saturating_add(u64::try_from(written).unwrap_or(0));
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return sys("write", Err(errno), || {
                        format!("{}, {length} bytes", FdPath::of(&self.file))
                    });
                }
            }
        }
        Ok(())
    }

    /// The last `count` lines, safe to print: see [`last_lines`].
    pub fn last_lines(&self, count: usize) -> SysResult<Vec<String>> {
        last_lines(&self.directory, count)
    }

    /// The last bytes of the current file, as they came from the guest: not for a terminal.
    pub fn tail(&self) -> SysResult<Vec<u8>> {
        Ok(tail(&self.directory, NAME)?.0)
    }

    /// A log whose disk is full.
    #[cfg(test)]
    pub(crate) fn failing_for_test(directory: OwnedFd) -> Self {
        let file = std::fs::File::options().write(true).open("/dev/full").expect("open");
        Self { directory, file: file.into(), size: 0, limit: FILE_BYTES }
    }

    fn rotate(&mut self) -> SysResult<()> {
        let result = rustix::fs::renameat(&self.directory, NAME, &self.directory, ROTATED_NAME);
        sys("renameat", result, || {
            let directory = FdPath::of(&self.directory);
            format!("{directory}, {NAME:?}, {directory}, {ROTATED_NAME:?}")
        })?;
        self.file = open_file(&self.directory)?;
        self.size = 0;
        Ok(())
    }
}

fn open_file(directory: &OwnedFd) -> SysResult<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys("openat", rustix::fs::openat(directory, NAME, flags, Mode::RUSR | Mode::WUSR), || {
        format!("{}, {NAME:?}, O_WRONLY|O_CREAT|O_APPEND|O_NOFOLLOW, 0600", FdPath::of(directory))
    })
}

/// The last `count` lines of the log in `directory` that are not blank, oldest first, without anything that could steer a
/// terminal ([`printable::last_lines`]). No log is no lines.
pub fn last_lines(directory: &impl AsFd, count: usize) -> SysResult<Vec<String>> {
    let (mut text, cut) = tail(directory, NAME)?;
    if !cut {
        let (mut before, before_cut) = tail(directory, ROTATED_NAME)?;
        before.append(&mut text);
        return Ok(printable::last_lines(&before, count, before_cut));
    }
    Ok(printable::last_lines(&text, count, cut))
}

/// The end of a file, and whether something comes before it.
fn tail(directory: &impl AsFd, name: &str) -> SysResult<(Vec<u8>, bool)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok((Vec::new(), false)),
        result => {
            sys("openat", result, || format!("{}, {name:?}, O_RDONLY|O_NOFOLLOW", FdPath::of(directory)))?
        }
    };
    let status = sys("fstat", rustix::fs::fstat(&file), || FdPath::of(&file).to_string())?;
    let size = u64::try_from(status.st_size).unwrap_or(0);
    let start = size.saturating_sub(TAIL_BYTES);
    let mut text = vec![0; usize::try_from(size - start).unwrap_or(0)];
    let mut filled = 0;
    while filled < text.len() {
        let offset = start + u64::try_from(filled).unwrap_or(0);
        match rustix::io::pread(&file, &mut text[filled..], offset) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(errno) => return sys("pread64", Err(errno), || FdPath::of(&file).to_string()),
        }
    }
    text.truncate(filled);
    Ok((text, start > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(temporary: &tempfile::TempDir) -> OwnedFd {
        std::fs::File::open(temporary.path()).expect("open").into()
    }

    fn content(temporary: &tempfile::TempDir, name: &str) -> Option<String> {
        std::fs::read_to_string(temporary.path().join(name)).ok()
    }

    #[test]
    fn files_rotate_at_the_limit() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let mut log = ConsoleLog::with_limit(directory(&temporary), 10).expect("open");
        let table: &[(&[u8], &str, Option<&str>)] = &[
            (b"12345", "12345", None),
            (b"67890", "1234567890", None),
            (b"a", "a", Some("1234567890")),
            (b"bigger than the limit", "bigger than the limit", Some("a")),
            (b"", "bigger than the limit", Some("a")),
            (b"z", "z", Some("bigger than the limit")),
        ];
        for (bytes, current, before) in table {
            log.append(bytes).expect("append");
            assert_eq!(content(&temporary, NAME).as_deref(), Some(*current));
            assert_eq!(content(&temporary, ROTATED_NAME).as_deref(), *before);
        }
    }

    #[test]
    fn opening_again_goes_on_at_the_end() {
        let temporary = tempfile::tempdir().expect("tempdir");
        for text in ["first", "second", "third"] {
            let mut log = ConsoleLog::with_limit(directory(&temporary), 11).expect("open");
            log.append(text.as_bytes()).expect("append");
        }
        assert_eq!(content(&temporary, NAME).as_deref(), Some("third"));
        assert_eq!(content(&temporary, ROTATED_NAME).as_deref(), Some("firstsecond"));
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let temporary = tempfile::tempdir().expect("tempdir");
        std::os::unix::fs::symlink("elsewhere", temporary.path().join(NAME)).expect("symlink");
        let error = ConsoleLog::open(directory(&temporary)).expect_err("a link");
        assert_eq!(error.errno(), Errno::LOOP);
        assert!(!temporary.path().join("elsewhere").exists());
    }

    #[test]
    fn last_lines_span_both_files() {
        let temporary = tempfile::tempdir().expect("tempdir");
        assert_eq!(last_lines(&directory(&temporary), 3).expect("no log"), [""; 0]);
        let mut log = ConsoleLog::with_limit(directory(&temporary), 24).expect("open");
        for text in ["one\r\n", "two\r\n", "\x1b[31mthr", "ee\r\nfo", "ur\r\n"] {
            log.append(text.as_bytes()).expect("append");
        }
        assert!(content(&temporary, ROTATED_NAME).is_some());
        assert_eq!(log.last_lines(3).expect("lines"), ["two", "three", "four"]);
        assert_eq!(log.last_lines(9).expect("lines"), ["one", "two", "three", "four"]);
    }

    #[test]
    fn only_the_end_of_a_big_file_is_read() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let mut log = ConsoleLog::open(directory(&temporary)).expect("open");
        for number in 0..20_000 {
            log.append(format!("line {number}\n").as_bytes()).expect("append");
        }
        let lines = log.last_lines(100_000).expect("lines");
        assert_eq!(lines.last().map(String::as_str), Some("line 19999"));
        assert_eq!(lines.len(), 5957);
    }
}
