//! What runs, and how its process is set up.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::words::{Words, display_and_parse_by_word};
use super::{ValueError, Variable};

/// What becomes PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// The tree's init.
    Boot {
        /// The init's path in the tree; found by us when `None`.
        init: Option<PathBuf>,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
    /// A command.
    Command {
        /// Program and arguments, never empty.
        argv: Vec<OsString>,
        /// Run it as PID 1 itself, without our reaping init.
        as_pid1: bool,
    },
}

/// Divides what follows `--boot` into variables and arguments of the init, as the kernel does with what it does not know
/// on its command line (kernel-command-line(7), Linux `init/main.c`): `KEY=VALUE` without a dot in KEY is environment.
pub fn divide_boot_arguments(given: Vec<OsString>) -> (Vec<Variable>, Vec<OsString>) {
    let mut environment = Vec::new();
    let mut arguments = Vec::new();
    for argument in given {
        match Variable::from_assignment(&argument) {
            Some(variable) => environment.push(variable),
            None => arguments.push(argument),
        }
    }
    (environment, arguments)
}

/// How our stdin and stdout meet the guest's console (systemd-nspawn(1), `--console=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleMode {
    /// A pty, forwarded both ways.
    Interactive,
    /// A pty, only its output forwarded.
    ReadOnly,
    /// A pty that is left alone (its output goes to the console log).
    Passive,
    /// Our own stdin, stdout and stderr are the payload's.
    Pipe,
}

/// What `--console=` takes: a [`ConsoleMode`], or the choice between two of them by what we are run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleRequest {
    /// That mode.
    Mode(ConsoleMode),
    /// Interactive on a terminal, else pipe.
    AutoPipe,
}

impl ConsoleRequest {
    /// The mode, when we know whether stdin and stdout are both terminals.
    pub fn resolve(self, on_terminal: bool) -> ConsoleMode {
        match self {
            Self::Mode(mode) => mode,
            Self::AutoPipe if on_terminal => ConsoleMode::Interactive,
            Self::AutoPipe => ConsoleMode::Pipe,
        }
    }
}

impl Words for ConsoleRequest {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("interactive", Self::Mode(ConsoleMode::Interactive)),
        ("read-only", Self::Mode(ConsoleMode::ReadOnly)),
        ("passive", Self::Mode(ConsoleMode::Passive)),
        ("pipe", Self::Mode(ConsoleMode::Pipe)),
        ("autopipe", Self::AutoPipe),
    ];
}

display_and_parse_by_word!(ConsoleRequest);

impl fmt::Display for ConsoleMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ConsoleRequest::Mode(*self).fmt(f)
    }
}

/// A set of CPU numbers, sorted, without doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSet(pub Vec<u32>);

/// Highest CPU number that Linux can have: CONFIG_NR_CPUS goes up to 8192 (x86 Kconfig).
const LAST_CPU: u32 = 8191;

const CPU_HINT: &str = "CPU numbers and ranges, for example 0-3,7";

impl FromStr for CpuSet {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: &'static str| ValueError::new(text, problem, CPU_HINT);
        let number = |digits: &str| match digits.parse::<u32>() {
            Ok(number) if digits.starts_with(|c: char| c.is_ascii_digit()) => Ok(number),
            _ => Err(refused("is not a list of CPUs")),
        };
        let mut cpus = Vec::new();
        for item in text.split([',', ' ']).filter(|item| !item.is_empty()) {
            let (first, last) = match item.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(item)?, number(item)?),
            };
            if last > LAST_CPU {
                return Err(refused("has a CPU number above 8191, the last that Linux can have"));
            }
            if first > last {
                return Err(refused("has a range that ends before it begins"));
            }
            cpus.extend(first..=last);
        }
        if cpus.is_empty() {
            return Err(refused("names no CPU"));
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

/// Numbers and ranges, as it is parsed and as cpuset(7) takes it.
impl std::fmt::Display for CpuSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs = self.0.chunk_by(|one, next| one + 1 == *next);
        for (index, run) in runs.enumerate() {
            let separator = if index == 0 { "" } else { "," };
            match (run.first(), run.last()) {
                (Some(first), Some(last)) if first != last => write!(f, "{separator}{first}-{last}")?,
                (Some(first), _) => write!(f, "{separator}{first}")?,
                (None, _) => {}
            }
        }
        Ok(())
    }
}

/// An execution domain (personality(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personality {
    /// The machine's own.
    Native,
    /// 32-bit on a 64-bit kernel (PER_LINUX32).
    Linux32,
}

/// Architectures by Rust's name, with systemd's name for them and for their 32-bit sibling (systemd.unit(5),
/// `ConditionArchitecture=`).
const ARCHITECTURES: &[(&str, &str, Option<&str>)] = &[
    ("x86_64", "x86-64", Some("x86")),
    ("x86", "x86", None),
    ("aarch64", "arm64", Some("arm")),
    ("arm", "arm", None),
    ("riscv64", "riscv64", Some("riscv32")),
    ("powerpc64", if cfg!(target_endian = "big") { "ppc64" } else { "ppc64-le" }, Some("ppc")),
    ("s390x", "s390x", Some("s390")),
    ("loongarch64", "loongarch64", None),
];

impl Personality {
    /// The personality named `text` on a machine whose architecture Rust calls `native`.
    pub fn for_architecture(text: &str, native: &str) -> Result<Self, ValueError> {
        let (own, sibling) = ARCHITECTURES
            .iter()
            .find(|(name, ..)| *name == native)
            .map_or((native, None), |(_, own, sibling)| (*own, *sibling));
        if text == own {
            return Ok(Self::Native);
        }
        if sibling == Some(text) {
            return Ok(Self::Linux32);
        }
        let hint = match sibling {
            Some(sibling) => format!("{own} or {sibling}"),
            None => own.to_owned(),
        };
        Err(ValueError::new(text, "is not a personality of this machine", hint))
    }
}

impl FromStr for Personality {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::for_architecture(text, std::env::consts::ARCH)
    }
}

/// Parses `--oom-score-adjust=` (proc(5)).
pub fn parse_oom_score_adjust(text: &str) -> Result<i32, ValueError> {
    match text.parse() {
        Ok(score @ -1000..=1000) => Ok(score),
        _ => Err(ValueError::new(text, "is not an OOM score adjustment", "a number from -1000 to 1000")),
    }
}

/// Checks `--uid=`: the name or number of a user of the guest, looked up there later.
pub fn parse_user(text: &str) -> Result<String, ValueError> {
    // passwd(5) divides by colons and lines; a dash in front is what no tool of the shadow suite makes.
    let bad = |c: char| c == ':' || c == '/' || c == ',' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.starts_with('-') || text.contains(bad) {
        return Err(ValueError::new(text, "is not a user", "the name or number of a user in the guest"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_arguments() {
        let given = ["quiet", "LANG=C.UTF-8", "systemd.unit=rescue.target", "=x", "a.b", "X="];
        let (environment, arguments) = divide_boot_arguments(given.iter().map(OsString::from).collect());
        let pairs: Vec<_> = environment.iter().map(|v| (v.name.as_str(), v.value.clone())).collect();
        assert_eq!(pairs, [("LANG", Some("C.UTF-8".into())), ("X", Some("".into()))]);
        assert_eq!(arguments, ["quiet", "systemd.unit=rescue.target", "=x", "a.b"]);
    }

    #[test]
    fn console_requests() {
        use ConsoleMode::{Interactive, Passive, Pipe};
        let rows = [
            ("interactive", false, Interactive),
            ("passive", true, Passive),
            ("autopipe", true, Interactive),
            ("autopipe", false, Pipe),
        ];
        for (text, on_terminal, expected) in rows {
            assert_eq!(text.parse::<ConsoleRequest>().unwrap().resolve(on_terminal), expected, "{text}");
        }
        assert_eq!(ConsoleMode::ReadOnly.to_string(), "read-only");
    }

    #[test]
    fn cpu_sets() {
        let rows: &[(&str, &[u32])] = &[
            ("0", &[0]),
            ("0-3,7", &[0, 1, 2, 3, 7]),
            ("7,0-1,1", &[0, 1, 7]),
            ("1 3", &[1, 3]),
            ("8191", &[8191]),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse::<CpuSet>().unwrap().0, *expected, "{text}");
        }
        let rows = [
            ("", "names no CPU"),
            (",", "names no CPU"),
            ("a", "is not a list of CPUs"),
            ("-1", "is not a list of CPUs"),
            ("+1", "is not a list of CPUs"),
            ("3-1", "has a range that ends before it begins"),
            ("0-4294967295", "has a CPU number above 8191, the last that Linux can have"),
        ];
        for (text, problem) in rows {
            assert_eq!(text.parse::<CpuSet>().unwrap_err().problem(), problem, "{text}");
        }
    }

    #[test]
    fn personalities() {
        let rows = [
            ("x86-64", "x86_64", Ok(Personality::Native)),
            ("x86", "x86_64", Ok(Personality::Linux32)),
            ("arm64", "aarch64", Ok(Personality::Native)),
            ("arm", "aarch64", Ok(Personality::Linux32)),
            ("x86", "aarch64", Err("arm64 or arm")),
            ("x86-64", "x86", Err("x86")),
            ("", "x86_64", Err("x86-64 or x86")),
        ];
        for (text, native, expected) in rows {
            let result = Personality::for_architecture(text, native);
            assert_eq!(result.as_ref().map_err(ValueError::hint), expected.as_ref().map_err(|hint| *hint));
        }
    }

    #[test]
    fn oom_scores() {
        for (text, expected) in [("0", 0), ("-1000", -1000), ("1000", 1000)] {
            assert_eq!(parse_oom_score_adjust(text), Ok(expected));
        }
        for text in ["", "1001", "-1001", "x", "1.5"] {
            let error = parse_oom_score_adjust(text).unwrap_err();
            assert_eq!(error.hint(), "a number from -1000 to 1000", "{text}");
        }
    }

    #[test]
    fn users() {
        for text in ["root", "1000", "www-data", "_apt", "user.name@example.org"] {
            assert_eq!(parse_user(text).unwrap(), text);
        }
        for text in ["", "-x", "a:b", "a b", "a/b", "a\nb"] {
            assert_eq!(parse_user(text).unwrap_err().problem(), "is not a user", "{text}");
        }
    }
}
