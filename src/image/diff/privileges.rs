//! Privileges that files gained: set-id bits and file capabilities.

use serde::Serialize;

use super::change::Change;
use crate::settings::Capability;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const EXECUTE_BY_GROUP: u32 = 0o0010;

/// What a file gained.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Privilege {
    /// Its path in the tree, with a slash before it.
    pub path: String,
    /// `setuid`, `setgid`, or capabilities as `CAP_NET_RAW=ep`.
    pub gained: Vec<String>,
}

/// What the files of `changes` gained.
pub fn of(changes: &[Change]) -> Vec<Privilege> {
    let gained = |change: &Change| {
        let mut gained = Vec::new();
        if change.file == rustix::fs::FileType::RegularFile {
            let (old, new) = (change.modes.0.unwrap_or(0), change.modes.1.unwrap_or(0));
            let new_bits = new & !old;
            if new_bits & SET_USER != 0 {
                gained.push("setuid".to_owned());
            }
            // Without permission to execute it was a lock, not a privilege (chmod(2)).
            if new_bits & SET_GROUP != 0 && new & EXECUTE_BY_GROUP != 0 {
                gained.push("setgid".to_owned());
            }
            if let Some(value) =
                change.capabilities.1.as_ref().filter(|_| change.capabilities.0 != change.capabilities.1)
            {
                gained.push(capabilities(value));
            }
        }
        (!gained.is_empty())
            .then(|| Privilege { path: format!("/{}", super::change::shown(&change.path)), gained })
    };
    changes.iter().filter_map(gained).collect()
}

/// A value of security.capability in words (linux/capability.h, struct vfs_ns_cap_data): `CAP_NET_RAW=ep`.
fn capabilities(value: &[u8]) -> String {
    let word = |place: usize| -> u32 {
        let bytes = value.get(place * 4..place * 4 + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    let (permitted, inheritable) =
        (u64::from(word(1)) | u64::from(word(3)) << 32, u64::from(word(2)) | u64::from(word(4)) << 32);
    let effective = if word(0) & 1 == 1 { "e" } else { "" };
    let set = |mask: u64, flags: String| {
        let names: Vec<_> = (0..64_u8).filter(|bit| mask >> bit & 1 == 1).map(name).collect();
        (!names.is_empty()).then(|| format!("{}={flags}", names.join(",")))
    };
    let both = [set(permitted, format!("{effective}p")), set(inheritable, "i".to_owned())];
    both.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn name(bit: u8) -> String {
    let known = Capability::all().find(|capability| capability.number() == bit);
    known.map_or_else(|| format!("CAP_{bit}"), |capability| capability.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let rows: [(&[u8], &str); 3] = [
            (&[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "CAP_NET_RAW=ep"),
            (
                &[0, 0, 0, 2, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                "CAP_CHOWN,CAP_DAC_OVERRIDE=p CAP_NET_BIND_SERVICE=i",
            ),
            (b"x", ""),
        ];
        for (value, expected) in rows {
            assert_eq!(capabilities(value), expected);
        }
    }
}
