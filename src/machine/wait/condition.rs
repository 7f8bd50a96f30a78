//! What can be waited for, as `--for` writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::settings::{ValueError, nearest};

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its init says that it is up.
    Ready,
    /// Its supervisor has ended.
    Stopped,
    /// A unit of its init runs.
    Unit(String),
    /// A target or runlevel of its init is reached.
    Target(String),
    /// Somebody in it listens.
    Port {
        /// On UDP, not TCP.
        udp: bool,
        /// Where.
        port: u16,
    },
    /// A file is there.
    File(PathBuf),
    /// A shell command of it succeeds.
    Exec(String),
}

const HINT: &str =
    "ready, unit=UNIT, target=TARGET, port=[tcp/|udp/]PORT, file=PATH, exec=COMMAND or stopped";

const WORDS: [&str; 7] = ["ready", "stopped", "unit", "target", "port", "file", "exec"];

impl FromStr for Condition {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, HINT);
        let (word, value) = match text.split_once('=') {
            Some((word, value)) => (word, Some(value)),
            None => (text, None),
        };
        match (word, value) {
            ("ready", None) => Ok(Self::Ready),
            ("stopped", None) => Ok(Self::Stopped),
            ("ready" | "stopped", Some(_)) => Err(refused("takes no value")),
            ("unit" | "target" | "port" | "file" | "exec", None | Some("")) => Err(refused("needs a value")),
            ("unit", Some(name)) => Ok(Self::Unit(name.to_owned())),
            ("target", Some(name)) => Ok(Self::Target(name.to_owned())),
            ("port", Some(port)) => parse_port(port).ok_or_else(|| refused("names no port")),
            ("file", Some(path)) if path.starts_with('/') => Ok(Self::File(path.into())),
            ("file", Some(_)) => Err(refused("names no absolute path")),
            ("exec", Some(command)) => Ok(Self::Exec(command.to_owned())),
            _ => Err(match nearest(word, WORDS) {
                Some(near) => {
                    let hint = format!("did you mean {near}? it takes {HINT}");
                    ValueError::new(text, "is nothing that can be waited for", hint)
                }
                None => refused("is nothing that can be waited for"),
            }),
        }
    }
}

fn parse_port(text: &str) -> Option<Condition> {
    let (udp, number) = match text.split_once('/') {
        Some(("tcp", number)) => (false, number),
        Some(("udp", number)) => (true, number),
        Some(_) => return None,
        None => (false, text),
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|port| plain && *port != 0).map(|port| Condition::Port { udp, port })
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Stopped => f.write_str("stopped"),
            Self::Unit(name) => write!(f, "unit={name}"),
            Self::Target(name) => write!(f, "target={name}"),
            Self::Port { udp, port } => write!(f, "port={}/{port}", if *udp { "udp" } else { "tcp" }),
            Self::File(path) => write!(f, "file={}", path.display()),
            Self::Exec(command) => write!(f, "exec={command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let port = |udp, port| Condition::Port { udp, port };
        let table = [
            ("ready", Condition::Ready, "ready"),
            ("stopped", Condition::Stopped, "stopped"),
            ("unit=ssh", Condition::Unit("ssh".into()), "unit=ssh"),
            ("target=basic", Condition::Target("basic".into()), "target=basic"),
            ("port=22", port(false, 22), "port=tcp/22"),
            ("port=udp/53", port(true, 53), "port=udp/53"),
            ("file=/a=b", Condition::File("/a=b".into()), "file=/a=b"),
            ("exec=test a = b", Condition::Exec("test a = b".into()), "exec=test a = b"),
        ];
        for (text, expected, shown) in table {
            let parsed: Condition = text.parse().unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.to_string(), shown);
        }
    }

    #[test]
    fn refusals() {
        let table = [
            ("", "is nothing that can be waited for"),
            ("redy", "is nothing that can be waited for"),
            ("ready=1", "takes no value"),
            ("unit", "needs a value"),
            ("unit=", "needs a value"),
            ("port=0", "names no port"),
            ("port=65536", "names no port"),
            ("port=+5", "names no port"),
            ("port=sctp/5", "names no port"),
            ("port=ssh", "names no port"),
            ("file=etc", "names no absolute path"),
        ];
        for (text, problem) in table {
            assert_eq!(text.parse::<Condition>().unwrap_err().problem(), problem, "{text}");
        }
        let error = "redy".parse::<Condition>().unwrap_err();
        assert!(error.hint().starts_with("did you mean ready? "), "{}", error.hint());
    }
}
