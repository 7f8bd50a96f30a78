//! The parser of utmp(5).

use rustix::fs::SeekFrom;

use super::MAX_FILE;
use crate::sys::files::read_all;
use crate::sys::in_root::{Metadata, Root};

/// Sizes of a record: with 32-bit times (x86, x86-64, POWER, ...) and with 64-bit times (arm64, riscv64, ...). The fields
/// that are read here are at the same places in both.
const SIZES: [u64; 2] = [384, 400];

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What it records.
    pub kind: RecordKind,
    /// The process; of a runlevel record, the runlevel and the one before it in the two low bytes.
    pub pid: i32,
    /// The id of the inittab entry or terminal.
    pub id: [u8; 4],
}

/// `ut_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// RUN_LVL
    RunLevel,
    /// BOOT_TIME
    Boot,
    /// INIT_PROCESS
    Init,
    /// LOGIN_PROCESS
    Login,
    /// USER_PROCESS
    User,
    /// DEAD_PROCESS
    Dead,
    /// Another number.
    Other(i16),
}

impl Record {
    /// Reads a utmp file. A record that is cut off is left out.
    pub fn parse_all(contents: &[u8]) -> Vec<Self> {
        let size = usize::try_from(record_size(contents.len() as u64)).unwrap_or(usize::MAX);
        contents.chunks_exact(size).filter_map(Self::parse).collect()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let kind = match i16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) {
            1 => RecordKind::RunLevel,
            2 => RecordKind::Boot,
            5 => RecordKind::Init,
            6 => RecordKind::Login,
            7 => RecordKind::User,
            8 => RecordKind::Dead,
            other => RecordKind::Other(other),
        };
        Some(Self {
            kind,
            pid: i32::from_ne_bytes(bytes.get(4..8)?.try_into().ok()?),
            id: bytes.get(40..44)?.try_into().ok()?,
        })
    }

    /// The runlevel, of a record of one.
    pub fn runlevel(&self) -> Option<char> {
        let [level, ..] = self.pid.to_le_bytes();
        (self.kind == RecordKind::RunLevel && level.is_ascii_graphic()).then_some(char::from(level))
    }
}

/// The runlevel that the guest recorded last in /run/utmp.
pub fn last_runlevel(guest: &Root) -> Option<char> {
    // Not /var/run/utmp: where that is not /run it may be on disk, with what the last boot recorded.
    let contents = guest.read("/run/utmp", MAX_FILE).ok()?;
    Record::parse_all(&contents).iter().rev().find_map(Record::runlevel)
}

/// The runlevel that the guest logged last in /var/log/wtmp since it booted.
pub fn last_logged_runlevel(guest: &Root) -> Option<char> {
    /// Records at the end of the log that are looked at. The last runlevel is among the last few.
    const LAST: u64 = 64;
    let log = guest.open_regular("/var/log/wtmp").ok()?;
    let length = u64::try_from(Metadata::of(&log).ok()?.stat().st_size).ok()?;
    let size = record_size(length);
    let skipped = (length / size).saturating_sub(LAST) * size;
    rustix::fs::seek(&log, SeekFrom::Start(skipped)).ok()?;
    let contents = read_all(&log, usize::try_from(LAST * size).ok()?).ok()?;
    let records = contents.chunks_exact(usize::try_from(size).ok()?).rev().filter_map(Record::parse);
    records.take_while(|record| record.kind != RecordKind::Boot).find_map(|record| record.runlevel())
}

/// The size of the records in a file of this length.
fn record_size(length: u64) -> u64 {
    let [short, long] = SIZES;
    if !length.is_multiple_of(short) && length.is_multiple_of(long) { long } else { short }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(kind: i16, pid: i32, id: &str, size: usize) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.resize(4, 0);
        bytes.extend(pid.to_ne_bytes());
        bytes.resize(40, 0);
        bytes.extend(id.bytes());
        bytes.resize(size, 0);
        bytes
    }

    #[test]
    fn records() {
        let level = |level: char| i32::from(u8::try_from(level).unwrap()) + (i32::from(b'N') << 8);
        for size in SIZES.map(|size| usize::try_from(size).unwrap()) {
            // What sysvinit leaves after a boot.
            let mut file = record(8, 20, "si", size);
            file.extend(record(2, 0, "~~", size));
            file.extend(record(1, level('2'), "~~", size));
            file.extend(record(8, 120, "l2", size));
            file.extend(record(6, 130, "co", size));
            let records = Record::parse_all(&file);
            let found: Vec<_> = records.iter().map(|record| (record.kind, record.runlevel())).collect();
            assert_eq!(
                found,
                [
                    (RecordKind::Dead, None),
                    (RecordKind::Boot, None),
                    (RecordKind::RunLevel, Some('2')),
                    (RecordKind::Dead, None),
                    (RecordKind::Login, None)
                ],
                "size {size}"
            );
            assert_eq!((records[4].pid, &records[4].id), (130, b"co\0\0"));
        }
    }

    #[test]
    fn broken_files() {
        assert_eq!(Record::parse_all(b""), []);
        assert_eq!(Record::parse_all(&[0; 100]), []);
        assert_eq!(Record::parse_all(&record(1, 0, "", 384))[0].runlevel(), None);
        let mut cut = record(1, i32::from(b'6'), "~~", 384);
        cut.extend([0; 7]);
        assert_eq!(Record::parse_all(&cut)[0].runlevel(), Some('6'));
    }

    #[test]
    fn logs() {
        let boot = record(2, 0, "~~", 384);
        let [off, two, six] = [b'0', b'2', b'6'].map(|level| record(1, i32::from(level), "~~", 384));
        let shutdown = record(1, 0, "~~", 384);
        let logins = record(7, 99, "co", 384).repeat(200);
        let table = [
            ("finit, rebooting", vec![&boot, &two, &six, &shutdown], Some('6')),
            ("finit, powering off", vec![&boot, &two, &off, &shutdown], Some('0')),
            ("after many logins", vec![&boot, &two, &logins, &six, &shutdown], Some('6')),
            ("a reboot of the boot before", vec![&boot, &six, &shutdown, &boot], None),
            ("empty", vec![], None),
        ];
        for (name, records, expected) in table {
            let tree = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(tree.path().join("var/log")).unwrap();
            let records: Vec<u8> = records.into_iter().flatten().copied().collect();
            std::fs::write(tree.path().join("var/log/wtmp"), records).unwrap();
            assert_eq!(last_logged_runlevel(&Root::open(tree.path()).unwrap()), expected, "{name}");
        }
    }
}
