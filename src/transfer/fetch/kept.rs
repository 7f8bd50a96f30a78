//! Downloads that broke off, kept for the next command: `PARTIAL/HASH.data`, the bytes, and `PARTIAL/HASH.json`, of what.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::range::Validator;
use crate::sys::files::{make_directories, open_at, read_at, remove_file_at, replace_at, try_lock};
use crate::sys::{FdPath, SysError, sys};
use crate::transfer::Digest;

/// More than any record has.
const RECORD_LIMIT: usize = 64 * 1024;

/// What the bytes are the beginning of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Record {
    url: String,
    validator: Validator,
    total: Option<u64>,
    /// The boot in which they were written (random(4), boot_id): none of them is synced, so a power cut may have eaten
    /// some in the middle.
    boot: String,
}

/// A download that is being kept. It is locked while somebody works on it.
#[derive(Debug)]
pub(super) struct Kept {
    directory: OwnedFd,
    path: PathBuf,
    stem: String,
    data: File,
    length: u64,
    record: Record,
}

impl Kept {
    /// What is kept of `url` in `directory`, or the beginning of it; `None` where another process is downloading it.
    /// What was kept by another boot counts only if the digest of the whole will be compared.
    pub(super) fn open(directory: &Path, url: &Url, digest_known: bool) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Keep { path: directory.to_owned(), source };
        let opened = make_directories(directory, 0o700).map_err(failed)?;
        let stem = Digest(Sha256::digest(url.as_str()).into()).to_string();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let data =
            open_at(&opened, format!("{stem}.data"), flags, Mode::from_raw_mode(0o600)).map_err(failed)?;
        if !try_lock(&data).map_err(failed)? {
            return Ok(None);
        }
        let stat =
            sys("fstat", rustix::fs::fstat(&data), || FdPath::of(&data).to_string()).map_err(failed)?;
        let record = read_at(&opened, format!("{stem}.json"), RECORD_LIMIT)
            .ok()
            .and_then(|text| serde_json::from_slice::<Record>(&text).ok())
            .unwrap_or_default();
        let valid = record.url == url.as_str() && (digest_known || record.boot == boot());
        let mut kept = Self {
            directory: opened,
            path: directory.join(&stem),
            stem,
            data: data.into(),
            length: u64::try_from(stat.st_size).unwrap_or(0),
            record,
        };
        if !valid {
            kept.restart(url, &Validator::default(), None).map_err(failed)?;
        }
        Ok(Some(kept))
    }

    /// How much there is.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Which version of the file it is the beginning of, and how long that is.
    pub(super) fn version(&self) -> (&Validator, Option<u64>) {
        (&self.record.validator, self.record.total)
    }

    /// Begins anew, with the first byte of that version.
    pub(super) fn restart(
        &mut self,
        url: &Url,
        validator: &Validator,
        total: Option<u64>,
    ) -> Result<(), SysError> {
        // First the bytes go, then the record is another's: never the other way round.
        sys("ftruncate", rustix::fs::ftruncate(&self.data, 0), || FdPath::of(&self.data).to_string())?;
        self.length = 0;
        self.record =
            Record { url: url.as_str().to_owned(), validator: validator.clone(), total, boot: boot() };
        let record = serde_json::to_vec(&self.record).unwrap_or_default();
        replace_at(&self.directory, &format!("{}.json", self.stem), &record, 0o600)
    }

    /// Keeps more of it.
    pub(super) fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.data.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Reads what was kept, from `offset`.
    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Error> {
        self.data
            .read_at(buffer, offset)
            .map_err(|source| Error::Read { name: self.path.display().to_string(), source })
    }

    /// It is not needed any more.
    pub(super) fn remove(mut self) {
        // Another command makes its own, or finds them gone.
        let _ = self.data.flush();
        for suffix in ["json", "data"] {
            let _ = remove_file_at(&self.directory, format!("{}.{suffix}", self.stem));
        }
    }
}

fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
