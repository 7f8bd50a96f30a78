//! Logs that are lines of text: what a syslog daemon wrote, the console's output, what our supervisor said.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::stamps;
use crate::guest::log_files::{ROTATED_SYSLOG, open_stored};
use crate::sys::SysResult;
use crate::sys::in_root::Root;

/// One read(2).
const CHUNK: usize = 64 << 10;

/// A longer line is several: a file without newlines must not take our memory.
const LINE_MAX: usize = 64 << 10;

/// Whose log it is, and so how it is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A syslog daemon's: `.1` by logrotate(8), `.0` by busybox. What is compressed is left out.
    Syslog,
    /// The console's: `.1`.
    Console,
    /// Our own.
    Supervisor,
}

impl Kind {
    /// What the file before the current one is called, after its name.
    fn rotated(self) -> &'static [&'static str] {
        match self {
            Self::Syslog => &ROTATED_SYSLOG,
            Self::Console | Self::Supervisor => &[".1"],
        }
    }
}

/// A line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// It, as it was written.
    pub bytes: Vec<u8>,
    /// When it was written, in microseconds since 1970, if it says so.
    pub written: Option<i64>,
}

/// A log, and a place in it.
#[derive(Debug)]
pub struct TextLog {
    directory: Root,
    name: String,
    /// The oldest first; those before the current one are read to their end and dropped.
    parts: Vec<Part>,
    /// What was read and not given out: a line that is not whole yet, at the least.
    read: Vec<u8>,
    taken: usize,
    reader: stamps::Reader,
}

#[derive(Debug)]
struct Part {
    file: File,
    key: (u64, u64),
    position: u64,
}

impl Part {
    fn open(directory: &Root, name: &str) -> Option<Self> {
        let (file, metadata) = open_stored(directory, name)?;
        let stat = metadata.stat();
        Some(Self { file: file.into(), key: (stat.st_dev, stat.st_ino), position: 0 })
    }

    fn size(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl TextLog {
    /// Opens the log `name` in `directory`; `None` if there is none, or nothing in it.
    pub fn open(directory: &Root, name: &str, kind: Kind) -> Option<Self> {
        let before = kind.rotated().iter().find_map(|end| Part::open(directory, &format!("{name}{end}")));
        let parts: Vec<Part> = before.into_iter().chain(Part::open(directory, name)).collect();
        if parts.iter().all(|part| part.size() == 0) {
            return None;
        }
        Some(Self {
            directory: directory.try_clone().ok()?,
            name: name.to_owned(),
            parts,
            read: Vec::new(),
            taken: 0,
            reader: stamps::Reader::default(),
        })
    }

    /// Reads times as `reader` does.
    pub fn set_reader(&mut self, reader: stamps::Reader) {
        self.reader = reader;
    }

    /// Whether the current file of both is one.
    pub fn is_same(&self, other: &Self) -> bool {
        self.parts.last().map(|part| part.key) == other.parts.last().map(|part| part.key)
    }

    /// The directory to watch.
    pub fn directory(&self) -> &Root {
        &self.directory
    }

    /// Goes to where `count` lines follow, or to the beginning.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn seek_last(&mut self, count: usize) -> std::io::Result<()> {
        let mut left = count;
        for index in (0..self.parts.len()).rev() {
            let Some(part) = self.parts.get_mut(index) else { break };
            match start_of_last(&part.file, part.size(), &mut left)? {
                Some(position) => {
                    part.position = position;
                    self.parts.drain(..index);
                    break;
                }
                None => part.position = 0,
            }
        }
        Ok(())
    }

    /// The next line; `None` when there is none yet. A line that has no end yet is given out with `all`.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next_line(&mut self, all: bool) -> std::io::Result<Option<Line>> {
        let mut searched = 0;
        loop {
            let rest = self.read.get(self.taken..).unwrap_or_default();
            let end = rest.get(searched..).and_then(|new| new.iter().position(|byte| *byte == b'\n'));
            if let Some(end) = end {
                return Ok(Some(self.take(searched + end, 1)));
            }
            if rest.len() >= LINE_MAX {
                return Ok(Some(self.take(LINE_MAX, 0)));
            }
            searched = rest.len();
            if !self.fill()? {
                let last = self.parts.len() <= 1;
                // A file that another follows is at its end, and so is its last line.
                if searched > 0 && (all || !last) {
                    return Ok(Some(self.take(searched, 0)));
                }
                if last {
                    return Ok(None);
                }
                self.parts.remove(0);
            }
        }
    }

    /// Looks whether the file was replaced by a new one, which is then read after it.
    ///
    /// # Errors
    /// When the directory cannot be looked at.
    pub fn refresh(&mut self) -> SysResult<()> {
        if let Some(part) = self.parts.last_mut()
            && part.size() < part.position
        {
            // Cut short in place, as by logrotate's copytruncate.
            part.position = 0;
        }
        let Ok(metadata) = self.directory.symlink_metadata(&self.name) else { return Ok(()) };
        let key = (metadata.stat().st_dev, metadata.stat().st_ino);
        if self.parts.last().is_none_or(|part| part.key != key) {
            self.parts.extend(Part::open(&self.directory, &self.name));
        }
        Ok(())
    }

    fn take(&mut self, length: usize, end: usize) -> Line {
        let bytes = self.read.get(self.taken..self.taken + length).unwrap_or_default();
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes).to_vec();
        self.taken += length + end;
        let written = self.reader.read(&bytes);
        Line { bytes, written }
    }

    /// Reads on in the oldest file; false at its end.
    fn fill(&mut self) -> std::io::Result<bool> {
        self.read.drain(..self.taken);
        self.taken = 0;
        let Some(part) = self.parts.first_mut() else { return Ok(false) };
        let before = self.read.len();
        self.read.resize(before + CHUNK, 0);
        let room = self.read.get_mut(before..).unwrap_or_default();
        let count = match part.file.read_at(room, part.position) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
            Err(error) => {
                self.read.truncate(before);
                return Err(error);
            }
        };
        self.read.truncate(before + count);
        part.position += u64::try_from(count).unwrap_or(0);
        Ok(count > 0)
    }
}

/// Where the last `left` lines of `file` begin; `None` if it has fewer, which are taken off.
fn start_of_last(file: &File, size: u64, left: &mut usize) -> std::io::Result<Option<u64>> {
    if *left == 0 {
        return Ok(Some(size));
    }
    let mut end = size;
    let mut buffer = vec![0; CHUNK];
    while end > 0 {
        let start = end.saturating_sub(u64::try_from(CHUNK).unwrap_or(u64::MAX));
        let length = usize::try_from(end - start).unwrap_or(0);
        let chunk = buffer.get_mut(..length).unwrap_or_default();
        file.read_exact_at(chunk, start)?;
        for (index, byte) in chunk.iter().enumerate().rev() {
            let after = start + u64::try_from(index).unwrap_or(0) + 1;
            // The newline at the very end is the last line's own.
            if *byte == b'\n' && after < size {
                *left -= 1;
                if *left == 0 {
                    return Ok(Some(after));
                }
            }
        }
        end = start;
    }
    if size > 0 {
        *left -= 1;
        if *left == 0 {
            return Ok(Some(0));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn lines(log: &mut TextLog, all: bool) -> Vec<String> {
        std::iter::from_fn(|| log.next_line(all).unwrap())
            .map(|line| String::from_utf8(line.bytes).unwrap())
            .collect()
    }

    fn opened(directory: &tempfile::TempDir) -> TextLog {
        TextLog::open(&Root::open(directory.path()).unwrap(), "messages", Kind::Syslog).unwrap()
    }

    #[test]
    fn the_last_lines() {
        let long = "x".repeat(CHUNK * 2);
        let with_long = format!("a\n{long}\nb\n");
        type Row<'a> = (&'a str, Option<&'a str>, &'a str, usize, &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            ("one file", None, "a\nb\nc\n", 2, &["b", "c"]),
            ("all of it", None, "a\nb\nc\n", 3, &["a", "b", "c"]),
            ("more than there are", None, "a\nb\n", 9, &["a", "b"]),
            ("none", None, "a\nb\n", 0, &[]),
            ("no end", None, "a\nb", 1, &["b"]),
            ("empty lines", None, "a\n\n\n", 2, &["", ""]),
            ("carriage returns", None, "a\r\nb\r\n", 1, &["b"]),
            ("two files", Some("a\nb\n"), "c\n", 2, &["b", "c"]),
            ("two files, the old one whole", Some("a\nb\n"), "c\n", 9, &["a", "b", "c"]),
            ("two files, the new one", Some("a\nb\n"), "c\nd\n", 2, &["c", "d"]),
            ("the new one is empty", Some("a\nb\n"), "", 1, &["b"]),
            ("the old one has no end", Some("a\nb"), "c\n", 2, &["b", "c"]),
            ("long", None, &with_long, 1, &["b"]),
        ];
        for (name, old, new, count, expected) in rows {
            let directory = tempfile::tempdir().unwrap();
            if let Some(old) = old {
                fs::write(directory.path().join("messages.1"), old).unwrap();
            }
            fs::write(directory.path().join("messages"), new).unwrap();
            let mut log = opened(&directory);
            log.seek_last(*count).unwrap();
            assert_eq!(lines(&mut log, true), *expected, "{name}");
        }
    }

    #[test]
    fn a_line_is_followed_until_it_is_whole_and_through_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("messages");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"a\nb").unwrap();
        let mut log = opened(&directory);
        assert_eq!(lines(&mut log, false), ["a"]);
        file.write_all(b"b\nc").unwrap();
        assert_eq!(lines(&mut log, false), ["bb"]);
        fs::rename(&path, directory.path().join("messages.1")).unwrap();
        fs::write(&path, "d\n").unwrap();
        file.write_all(b"c\nlast").unwrap();
        log.refresh().unwrap();
        assert_eq!(lines(&mut log, false), ["cc", "last", "d"]);
        fs::write(&path, "e\n").unwrap();
        log.refresh().unwrap();
        assert_eq!(
            lines(&mut log, false),
            [] as [&str; 0],
            "of the same length: not to be told from the old"
        );
        fs::write(&path, "").unwrap();
        log.refresh().unwrap();
        fs::write(&path, "f\n").unwrap();
        assert_eq!(lines(&mut log, false), ["f"]);
    }

    #[test]
    fn nothing_is_no_log() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert!(TextLog::open(&root, "messages", Kind::Syslog).is_none());
        fs::write(directory.path().join("messages"), "").unwrap();
        assert!(TextLog::open(&root, "messages", Kind::Syslog).is_none());
        fs::write(directory.path().join("syslog"), "a\n").unwrap();
        std::os::unix::fs::symlink("syslog", directory.path().join("link")).unwrap();
        assert!(TextLog::open(&root, "link", Kind::Syslog).is_none());
    }

    #[test]
    fn a_file_without_lines_is_cut_into_some() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("messages"), vec![b'x'; LINE_MAX * 2 + 1]).unwrap();
        let lengths: Vec<usize> = lines(&mut opened(&directory), true).iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_MAX, LINE_MAX, 1]);
    }
}
