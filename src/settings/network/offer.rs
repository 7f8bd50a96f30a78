//! `--offer=`: what of the host's is offered inside of a machine, the reverse of a port.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::port::{Protocol, divide_address, port};
use crate::settings::ValueError;

const HINT: &str = "[tcp|udp:][ADDRESS:]PORT[:INSIDE] or /SOCKET[:INSIDE], where INSIDE is [ADDRESS:]PORT or /SOCKET: 5432, \
                    5432:15432, udp:53, /run/pg.sock or /run/pg.sock:5432";

/// Something of the host's that is offered inside of a machine: the reverse of a port. As with ports and binds the host's side
/// is said first: `HOST[:INSIDE]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Where it is in the machine: a port of its loopback, or a path.
    pub inside: Endpoint,
    /// What it leads to on the host.
    pub outside: Endpoint,
}

/// One side of an [`Offer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// A TCP port; the address is the loopback's where none is said.
    Tcp(Option<IpAddr>, u16),
    /// A UDP port.
    Udp(Option<IpAddr>, u16),
    /// A stream socket of the file system.
    Unix(PathBuf),
}

impl Endpoint {
    fn new(protocol: Protocol, address: Option<IpAddr>, port: u16) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp(address, port),
            Protocol::Udp => Self::Udp(address, port),
        }
    }

    /// The endpoint that `text` begins with, and what follows its colon.
    fn first(text: &str, protocol: Protocol) -> Result<(Self, Option<&str>), &'static str> {
        if text.starts_with('/') {
            let (path, rest) = text.split_once(':').map_or((text, None), |(path, rest)| (path, Some(rest)));
            return Ok((Self::Unix(socket(path)?), rest));
        }
        // A colon of what follows is no address's.
        let own = if text.starts_with('[') { text } else { first_two(text) };
        let (address, rest) = match divide_address(own) {
            Ok((Some(address), _)) => {
                let length = if text.starts_with('[') {
                    text.find("]:").map_or(text.len(), |at| at + 2)
                } else {
                    text.find(':').map_or(text.len(), |at| at + 1)
                };
                (Some(address), text.get(length..).unwrap_or(""))
            }
            Ok((None, _)) => (None, text),
            Err(problem) => return Err(problem),
        };
        let (number, rest) = rest.split_once(':').map_or((rest, None), |(number, rest)| (number, Some(rest)));
        Ok((Self::new(protocol, address, port(number)?), rest))
    }

    fn is_path(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

/// `text` up to its second colon.
fn first_two(text: &str) -> &str {
    let end = text.match_indices(':').nth(1).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// Longest path of a socket: sun_path of unix(7) without its NUL.
const LONGEST_SOCKET: usize = 107;

fn socket(path: &str) -> Result<PathBuf, &'static str> {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if !Path::new(path).components().all(plain) || path.ends_with('/') {
        return Err("has a path that is no absolute path of a socket");
    }
    if path.len() > LONGEST_SOCKET {
        return Err("has a path that is too long for a socket");
    }
    Ok(Path::new(path).components().collect())
}

impl FromStr for Offer {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, HINT);
        let (said, rest) = match text.split_once(':') {
            Some((word, rest)) if Protocol::from_word(word).is_some() => (Protocol::from_word(word), rest),
            _ => (None, text),
        };
        let protocol = said.unwrap_or(Protocol::Tcp);
        let (outside, rest) = Endpoint::first(rest, protocol).map_err(refused)?;
        let (inside, rest) = match rest {
            Some(rest) => Endpoint::first(rest, protocol).map_err(refused)?,
            None => match &outside {
                Endpoint::Unix(path) => (Endpoint::Unix(path.clone()), None),
                // Where it is on the host says nothing of where it should be inside.
                Endpoint::Tcp(_, port) | Endpoint::Udp(_, port) => {
                    (Endpoint::new(protocol, None, *port), None)
                }
            },
        };
        if rest.is_some() {
            return Err(refused("has more than two sides"));
        }
        if protocol == Protocol::Udp && (inside.is_path() || outside.is_path()) {
            return Err(refused("offers a stream socket as UDP"));
        }
        Ok(Self { inside, outside })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(None, port) | Self::Udp(None, port) => write!(f, "{port}"),
            Self::Tcp(Some(IpAddr::V6(address)), port) | Self::Udp(Some(IpAddr::V6(address)), port) => {
                write!(f, "[{address}]:{port}")
            }
            Self::Tcp(Some(address), port) | Self::Udp(Some(address), port) => write!(f, "{address}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.outside, &self.inside) {
            (Endpoint::Udp(..), _) => f.write_str("udp:")?,
            (Endpoint::Tcp(..), _) | (_, Endpoint::Tcp(..)) => f.write_str("tcp:")?,
            _ => {}
        }
        write!(f, "{}:{}", self.outside, self.inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offers() {
        for (text, expected) in [
            ("5432", "tcp:5432:5432"),
            ("5432:15432", "tcp:5432:15432"),
            ("udp:53", "udp:53:53"),
            ("udp:53:5353", "udp:53:5353"),
            ("192.168.1.5:3306", "tcp:192.168.1.5:3306:3306"),
            ("192.168.1.5:3306:13306", "tcp:192.168.1.5:3306:13306"),
            ("3306:10.0.0.1:13306", "tcp:3306:10.0.0.1:13306"),
            ("127.0.0.1:1:127.0.0.2:2", "tcp:127.0.0.1:1:127.0.0.2:2"),
            ("[::1]:80", "tcp:[::1]:80:80"),
            ("[::1]:80:[::1]:81", "tcp:[::1]:80:[::1]:81"),
            ("80:[::1]:81", "tcp:80:[::1]:81"),
            ("/run/pg.sock", "/run/pg.sock:/run/pg.sock"),
            ("/run/pg.sock:/tmp/pg", "/run/pg.sock:/tmp/pg"),
            ("/run//pg.sock:5432", "tcp:/run/pg.sock:5432"),
            ("5432:/run/pg.sock", "tcp:5432:/run/pg.sock"),
            ("tcp:/run/pg.sock:127.0.0.1:5432", "tcp:/run/pg.sock:127.0.0.1:5432"),
        ] {
            let offer: Offer = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(offer.to_string(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(offer), "{text}");
        }
    }

    #[test]
    fn what_is_no_offer() {
        let number = "has a port that is no number from 1 to 65535";
        let path = "has a path that is no absolute path of a socket";
        let long = format!("/{}", "a".repeat(LONGEST_SOCKET));
        for (text, problem) in [
            ("", number),
            ("0", number),
            ("http", number),
            ("80:", number),
            (":80", number),
            ("run/pg.sock", number),
            ("10.0.0.1", number),
            ("[::1]", "has an address without a port"),
            ("300.0.0.1:80", "begins with what is not an IP address"),
            ("80:81:82", "has more than two sides"),
            ("/a:/b:/c", "has more than two sides"),
            ("/a/../b", path),
            ("/a/", path),
            ("/", path),
            (&long, "has a path that is too long for a socket"),
            ("udp:/a", "offers a stream socket as UDP"),
            ("udp:53:/a", "offers a stream socket as UDP"),
        ] {
            let error = text.parse::<Offer>().unwrap_err();
            assert_eq!((error.problem(), error.hint()), (problem, HINT), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(tcp:|udp:)?[0-9a.:/\\[\\]]{0,24}|\\PC{0,12}") {
            if let Ok(offer) = text.parse::<Offer>() {
                prop_assert_eq!(offer.to_string().parse::<Offer>(), Ok(offer));
            }
        }
    }
}
