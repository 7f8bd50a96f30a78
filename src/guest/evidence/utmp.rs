//! The parser of utmp(5).

use crate::sys::in_root::Root;

use super::MAX_FILE;

/// Sizes of a record: with 32-bit times (x86, x86-64, POWER, ...) and with 64-bit times (arm64, riscv64, ...). The fields
/// that are read here are at the same places in both.
const SIZES: [usize; 2] = [384, 400];

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
        let fits = |size: &&usize| contents.len().is_multiple_of(**size);
        let size = SIZES.iter().find(fits).or(SIZES.first()).copied().unwrap_or(1);
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

/// The runlevel that the guest recorded last in /run/utmp, or at `utmp` if `guest` is the root of its /run.
pub fn last_runlevel(guest: &Root) -> Option<char> {
    let contents =
        ["/run/utmp", "/var/run/utmp", "utmp"].iter().find_map(|path| guest.read(path, MAX_FILE).ok())?;
    Record::parse_all(&contents).iter().rev().find_map(Record::runlevel)
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
        for size in SIZES {
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
}
