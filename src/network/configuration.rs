//! `/etc/spinney/network.toml`: what networks this host gives to machines. It is about the host and not about machines, whose
//! `[network]` is in their own files.
//!
//! ```toml
//! [pool]
//! ipv4 = ["10.213.0.0/16"]     # zones and pairs get their networks out of these
//! ipv6 = "fd12:3456:789a::/48" # by default one that follows from the host's machine ID
//!
//! [zone.lab]
//! ipv4 = "192.168.50.0/24"     # this zone has this network
//! ipv6 = "fd12:3456:789a:50::/64"
//!
//! [names]
//! hosts-file = true            # the host knows machines by its /etc/hosts
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use serde::Deserialize;

use super::pool::{Pool, ZoneNetworks};
use super::subnet::Subnet;
use crate::settings::network::ZoneName;
use crate::sys::SysError;
use crate::sys::files::read_at;

/// The file.
pub const FILE: &str = "/etc/spinney/network.toml";

/// Far more than it ever has.
const LIMIT: usize = 1 << 20;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: SysError,
    },
    /// Something in it is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

impl ConfigurationError {
    /// The right form.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "it is a text that root alone writes",
            Self::Line { .. } => {
                "[pool] with ipv4 = [\"10.213.0.0/16\"] and ipv6 = \"fd12:3456:789a::/48\", [zone.NAME] with ipv4 and ipv6"
            }
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    pool: PoolTable,
    zone: BTreeMap<ZoneName, ZoneTable>,
    names: NamesTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct NamesTable {
    hosts_file: bool,
}

impl Default for NamesTable {
    fn default() -> Self {
        Self { hosts_file: true }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PoolTable {
    ipv4: Vec<Subnet>,
    ipv6: Option<Subnet>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ZoneTable {
    ipv4: Option<Subnet>,
    ipv6: Option<Subnet>,
}

/// The pool of this host: of [`FILE`], where that is there.
///
/// # Errors
/// When the file is there and is not right.
pub fn pool() -> Result<Pool, ConfigurationError> {
    let path = Path::new(FILE);
    match read_at(CWD, path, LIMIT) {
        Ok(text) => parse(path, &String::from_utf8_lossy(&text)),
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(Pool::default()),
        Err(source) => Err(ConfigurationError::Read { path: path.to_owned(), source }),
    }
}

/// Whether the host knows machines by its hosts file. Where [`FILE`] is not right, [`pool`] says so.
pub fn has_hosts_file() -> bool {
    read_at(CWD, FILE, LIMIT).map_or(true, |text| hosts_file(&String::from_utf8_lossy(&text)))
}

fn hosts_file(text: &str) -> bool {
    toml::from_str(text).map_or(true, |file: File| file.names.hosts_file)
}

fn parse(path: &Path, text: &str) -> Result<Pool, ConfigurationError> {
    /// Smallest networks that have room for the host and a machine.
    const LONGEST: (u8, u8) = (30, 126);
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let file: File = toml::from_str(text).map_err(|error| ConfigurationError::Line {
        path: path.to_owned(),
        line: line_of(error.span().map_or(0, |span| span.start)),
        problem: error.message().lines().next().unwrap_or("not TOML").to_owned(),
    })?;
    let wrong = |subnet: &Subnet, ipv4: bool| {
        let longest = if ipv4 { LONGEST.0 } else { LONGEST.1 };
        let problem = match subnet {
            _ if subnet.is_ipv4() != ipv4 && ipv4 => "is not a network of IPv4",
            _ if subnet.is_ipv4() != ipv4 => "is not a network of IPv6",
            _ if subnet.prefix() > longest => "has no room for the host and a machine",
            _ if subnet.prefix() == 0 => "is all that there is",
            _ => return None,
        };
        let text_of = subnet.to_string();
        let line = line_of(text.find(&text_of).unwrap_or(0));
        Some(ConfigurationError::Line {
            path: path.to_owned(),
            line,
            problem: format!("{text_of} {problem}"),
        })
    };
    let zones = || file.zone.values();
    let fours = file.pool.ipv4.iter().chain(zones().filter_map(|zone| zone.ipv4.as_ref()));
    let sixes = file.pool.ipv6.iter().chain(zones().filter_map(|zone| zone.ipv6.as_ref()));
    let fault =
        fours.filter_map(|net| wrong(net, true)).chain(sixes.filter_map(|net| wrong(net, false))).next();
    if let Some(error) = fault {
        return Err(error);
    }
    let zones =
        file.zone.into_iter().map(|(name, zone)| (name, ZoneNetworks { ipv4: zone.ipv4, ipv6: zone.ipv6 }));
    Ok(Pool { ipv4: file.pool.ipv4, ipv6: file.pool.ipv6, zones: zones.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let rows = [
            ("", true),
            ("[names]\n", true),
            ("[names]\nhosts-file = true", true),
            ("[names]\nhosts-file = false", false),
            ("[names]\nhosts-file = \"no\"", true),
        ];
        for (text, expected) in rows {
            assert_eq!(hosts_file(text), expected, "{text}");
        }
    }

    #[test]
    fn files() {
        let path = Path::new("/n");
        let pool = parse(
            path,
            "[pool]\nipv4 = ['10.9.0.0/16']\nipv6 = 'fd00:9::/48'\n[zone.lab]\nipv4 = '10.8.0.0/24'\n",
        );
        let pool = pool.unwrap();
        assert_eq!(pool.ipv4, ["10.9.0.0/16".parse().unwrap()]);
        assert_eq!(pool.ipv6, "fd00:9::/48".parse().ok());
        assert_eq!(pool.zones[&"lab".parse().unwrap()].ipv4, "10.8.0.0/24".parse().ok());
        assert_eq!(parse(path, "").unwrap(), Pool::default());
        for (text, expected) in [
            ("[pool\n", "/n:1: "),
            ("[pol]\n", "/n:1: unknown field `pol`"),
            ("[pool]\nipv4 = ['10.9.0.1/16']\n", "/n:2: \"10.9.0.1/16\" is an address in a network"),
            ("[pool]\nipv4 = ['fd00::/48']\n", "/n:2: fd00::/48 is not a network of IPv4"),
            ("[pool]\nipv6 = '10.0.0.0/8'\n", "/n:2: 10.0.0.0/8 is not a network of IPv6"),
            (
                "\n[zone.lab]\nipv4 = '10.0.0.0/31'\n",
                "/n:3: 10.0.0.0/31 has no room for the host and a machine",
            ),
            ("[pool]\nipv4 = ['0.0.0.0/0']\n", "/n:2: 0.0.0.0/0 is all that there is"),
            ("[zone.LAB]\n", "/n:1: \"LAB\" is not a zone"),
        ] {
            let error = parse(path, text).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
