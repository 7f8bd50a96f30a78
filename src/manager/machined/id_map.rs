//! IDs of a machine on the host, and the other way round: by the maps of its leader's user namespace (user_namespaces(7)).

use rustix::fs::CWD;

use crate::manager::problem::{Kind, Problem};
use crate::sys::files::read_at;

/// More rows than the kernel takes (340) do not fit.
const LIMIT: usize = 64 << 10;

/// IDs below are the host's own, which no machine has (systemd's UIDS-GIDS).
pub const HOST_IDS: u32 = 0x10000;

/// Which IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Of users.
    Users,
    /// Of groups.
    Groups,
}

impl Ids {
    fn file(self) -> &'static str {
        match self {
            Self::Users => "uid_map",
            Self::Groups => "gid_map",
        }
    }

    /// The word for one.
    pub fn word(self) -> &'static str {
        match self {
            Self::Users => "user",
            Self::Groups => "group",
        }
    }

    /// How it is called that there is no such mapping.
    pub fn missing(self) -> Kind {
        match self {
            Self::Users => Kind::NoSuchUserMapping,
            Self::Groups => Kind::NoSuchGroupMapping,
        }
    }
}

/// A range: the first ID inside, the first outside, how many.
type Row = (u32, u32, u32);

/// The map of a process.
#[derive(Debug, PartialEq, Eq)]
pub struct IdMap(Vec<Row>);

impl IdMap {
    /// That of `leader`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn of(leader: i32, ids: Ids) -> Result<Self, Problem> {
        let text = read_at(CWD, format!("/proc/{leader}/{}", ids.file()), LIMIT);
        let text = text.map_err(|error| Problem::of(Kind::Failed, &error, None))?;
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    fn parse(text: &str) -> Self {
        let row = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        };
        Self(text.lines().filter_map(row).collect())
    }

    /// What `id` of the machine is on the host.
    pub fn to_host(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|(inside, outside, count)| moved(id, *inside, *outside, *count))
    }

    /// What `id` of the host is in the machine.
    pub fn to_machine(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|(inside, outside, count)| moved(id, *outside, *inside, *count))
    }

    /// Whether all IDs are the host's.
    pub fn is_hosts(&self) -> bool {
        self.0 == [(0, 0, u32::MAX)]
    }

    /// Where its IDs begin on the host, if they are one range from 0 up.
    pub fn shift(&self) -> Option<u32> {
        match self.0.as_slice() {
            [(0, outside, _)] => Some(*outside),
            _ => None,
        }
    }
}

fn moved(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
    let offset = id.checked_sub(from).filter(|offset| *offset < count)?;
    to.checked_add(offset)
}

/// Whether `id` is one at all: -1 says "none", in 16 bits too.
pub fn is_valid(id: u32) -> bool {
    id != u32::MAX && id != 0xFFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        let map = IdMap::parse("         0     524288      65536\n     70000    1000 1\nbroken\n1 2\n");
        let table = [
            (0, Some(524_288)),
            (65_535, Some(589_823)),
            (65_536, None),
            (70_000, Some(1000)),
            (70_001, None),
            (u32::MAX, None),
        ];
        for (inside, outside) in table {
            assert_eq!(map.to_host(inside), outside, "{inside}");
            if let Some(outside) = outside {
                assert_eq!(map.to_machine(outside), Some(inside), "{outside}");
            }
        }
        assert_eq!((map.to_machine(0), map.shift(), map.is_hosts()), (None, None, false));
        let host = IdMap::parse("0 0 4294967295\n");
        assert_eq!((host.shift(), host.is_hosts(), host.to_host(7)), (Some(0), true, Some(7)));
        assert_eq!(IdMap::parse("0 65536 65536\n").shift(), Some(65_536));
        assert_eq!((is_valid(0), is_valid(0xFFFF), is_valid(u32::MAX)), (true, false, false));
    }
}
