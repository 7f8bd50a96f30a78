//! How much of the host a machine may have: the rest of `[resources]`, made of the table of limits.

use std::sync::LazyLock;

use super::key::{Key, Kind, Put, Trust};
use crate::settings::limits::keys::{KEYS as LIMITS, LimitKey};

/// A row for each limit, under its own name.
pub(super) static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| LIMITS.iter().map(key).collect());

fn key(limit: &'static LimitKey) -> Key {
    let kind = match limit.name {
        "allowed-cpus" | "allowed-memory-nodes" => Kind::Numbers,
        _ if limit.repeats => Kind::List,
        _ => Kind::Number,
    };
    Key {
        table: "resources",
        name: limit.name,
        // Once in the life of the process, for a table that lives as long.
        option: format!("--{}=", limit.name).leak(),
        nspawn: &[],
        kind,
        trust: Trust::Never,
        scope: super::Scope::Everywhere,
        secret: false,
        about: limit.help,
        default: if limit.repeats { "none" } else { "no limit of its own" },
        put: Put::Limit(limit),
        same: |_, _| false,
    }
}
