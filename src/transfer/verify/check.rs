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
    sha256: Sha256,
    sha512: Option<Sha512>,
}

impl Hashes {
    /// Takes more of them.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Of those so far.
    pub fn sha256(&self) -> Digest {
        Digest(self.sha256.clone().finalize().into())
    }

    fn digits(&self, algorithm: Algorithm) -> String {
        match (algorithm, &self.sha512) {
            (Algorithm::Sha512, Some(sha512)) => {
                sha512.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
            }
            _ => self.sha256().to_string(),
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

    /// What has to be computed.
    pub fn hashes(&self) -> Hashes {
        let sha512 = self.expected.iter().any(|expected| expected.sum.algorithm == Algorithm::Sha512);
        Hashes { sha256: Sha256::new(), sha512: sha512.then(Sha512::new) }
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
