//! What bytes are held against while they come in.

use std::fmt;

use sha2::{Digest as _, Sha256, Sha512};

use super::gpgv::Running;
use super::keys::Keys;
use super::prepare;
use super::sums::{Algorithm, Sum};
use super::{Error, Verification};
use crate::transfer::{Digest, Error as TransferError, Proof};

/// What bytes hash to.
#[derive(Clone, Default)]
pub struct Hashes {
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl Hashes {
    /// With nothing but a sha256.
    pub fn sha256_alone() -> Self {
        Self { sha256: Some(Sha256::new()), sha512: None }
    }

    /// Takes more of them.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Of those so far, unless it is not wanted.
    pub fn sha256(&self) -> Option<Digest> {
        self.sha256.as_ref().map(|sha256| Digest(sha256.clone().finalize().into()))
    }

    fn digits(&self, algorithm: Algorithm) -> String {
        match (algorithm, &self.sha512) {
            (Algorithm::Sha512, Some(sha512)) => {
                sha512.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
            }
            _ => self.sha256().map(|digest| digest.to_string()).unwrap_or_default(),
        }
    }
}

/// A checksum that the bytes must have.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) sum: Sum,
    /// Where it stands, and who signed that.
    pub(super) source: String,
}

/// A program that reads the bytes too.
#[derive(Debug)]
pub struct Tap {
    running: Running,
}

impl Tap {
    /// Gives it `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        self.running.write(bytes);
    }
}

/// What bytes are held against.
#[derive(Debug)]
pub struct Check {
    name: String,
    size: Option<u64>,
    unhashed: bool,
    expected: Vec<Expected>,
    /// A signature over the bytes themselves, and whose is believed.
    detached: Option<(Vec<u8>, Keys)>,
}

impl Check {
    /// Of what is known without asking anybody.
    pub fn of(name: &str, verification: &Verification) -> Self {
        let given = verification.sha256.map(|digest| Expected {
            sum: Sum { algorithm: Algorithm::Sha256, digits: digest.to_string() },
            source: "the digest that was given".to_owned(),
        });
        Self {
            name: name.to_owned(),
            size: verification.size,
            unhashed: verification.unhashed,
            expected: given.into_iter().collect(),
            detached: None,
        }
    }

    /// They must have that checksum too.
    pub(super) fn expect(&mut self, expected: Expected) {
        self.expected.push(expected);
    }

    /// They must be what was signed.
    pub(super) fn detached(&mut self, signature: Vec<u8>, keys: Keys) {
        self.detached = Some((signature, keys));
    }

    /// Whether what they are will be known for certain at the end.
    pub fn knows_digest(&self) -> bool {
        !self.expected.is_empty() || self.detached.is_some()
    }

    /// Whether nothing has to be computed, and nothing but their number can be wrong.
    pub fn is_of_length_only(&self) -> bool {
        self.unhashed && !self.knows_digest()
    }

    /// What has to be computed.
    pub fn hashes(&self) -> Hashes {
        let is_held_to = |algorithm| self.expected.iter().any(|expected| expected.sum.algorithm == algorithm);
        let sha256 = !self.unhashed || is_held_to(Algorithm::Sha256);
        Hashes { sha256: sha256.then(Sha256::new), sha512: is_held_to(Algorithm::Sha512).then(Sha512::new) }
    }

    /// What has to read the bytes, started.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn tap(&self) -> Result<Option<Tap>, Error> {
        let start = |(signature, keys): &(Vec<u8>, Keys)| prepare::tap(signature, keys);
        Ok(self.detached.as_ref().map(start).transpose()?.map(|running| Tap { running }))
    }

    /// After the last of `length` bytes.
    ///
    /// # Errors
    /// When they are not what they should be.
    pub fn finish(self, hashes: &Hashes, tap: Option<Tap>, length: u64) -> Result<Proof, TransferError> {
        let name = self.name;
        if let Some(expected) = self.size.filter(|size| *size != length) {
            return Err(Error::Size { name, expected, found: length }.into());
        }
        for Expected { sum, source } in &self.expected {
            let found = hashes.digits(sum.algorithm);
            if found != sum.digits {
                let (algorithm, expected) = (sum.algorithm.name(), sum.digits.clone());
                let source_of_it = source.clone();
                return Err(Error::Digest { name, algorithm, expected, found, source_of_it }.into());
            }
        }
        let mut checked: Vec<String> = self.expected.into_iter().map(|expected| expected.source).collect();
        if let Some((_, keys)) = &self.detached {
            let tap = tap.ok_or_else(|| Error::Gpgv { why: "it read nothing of it".to_owned() })?;
            let by = prepare::signer(&tap.running.finish()?, &name, keys)?;
            checked.push(format!("a signature of {by}"));
        }
        let checked = (!checked.is_empty()).then(|| checked.join("; "));
        Ok(Proof { sha256: hashes.sha256(), checked })
    }
}

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hashes").field("sha256", &self.sha256()).finish()
    }
}
