//! What settings depend on beside what the user says: our terminal, directory, variables, and where files are.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use super::CREDENTIALS_SIZE_MAX;

/// What the settings depend on beside the arguments.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Both stdin and stdout are terminals.
    pub on_terminal: bool,
    /// Our working directory.
    pub directory: PathBuf,
    /// Looks up one of our environment variables.
    pub variable: fn(&str) -> Option<OsString>,
    /// Reads a credential of the host.
    pub read: fn(&Path) -> io::Result<Vec<u8>>,
    /// Where settings files and images are.
    pub places: Places,
}

impl Environment {
    /// The one we really have.
    pub fn ours() -> io::Result<Self> {
        Ok(Self {
            on_terminal: io::stdin().is_terminal() && io::stdout().is_terminal(),
            directory: std::env::current_dir()?,
            variable: |name| std::env::var_os(name),
            read: read_credential,
            places: Places::default(),
        })
    }
}

/// Where settings files and images are.
#[derive(Debug, Clone)]
pub struct Places {
    /// Our own files.
    pub spinney: PathBuf,
    /// .nspawn files that are trusted; the first that has one for a machine counts (systemd.nspawn(5)).
    pub nspawn: Vec<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            spinney: "/etc/spinney".into(),
            nspawn: vec!["/etc/systemd/nspawn".into(), "/run/systemd/nspawn".into()],
        }
    }
}

/// Reads a credential's file, no further than one byte past the size at which it is refused: it may be /dev/zero.
fn read_credential(path: &Path) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    let limit = u64::try_from(CREDENTIALS_SIZE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut value)?;
    Ok(value)
}
