//! What bytes are held against while they come in.

use sha2::{Digest as _, Sha256};

use super::{Error, Verification};
use crate::transfer::{Digest, Proof};

/// What bytes hash to.
#[derive(Clone)]
pub struct Hashes {
    sha256: Sha256,
}

impl Hashes {
    /// Takes more of them.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
    }

    /// Of those so far.
    pub fn sha256(&self) -> Digest {
        Digest(self.sha256.clone().finalize().into())
    }
}

/// A program that reads the bytes too.
#[derive(Debug)]
pub struct Tap {}

impl Tap {
    /// Gives it `bytes`.
    pub fn write(&mut self, _bytes: &[u8]) {}
}

/// What bytes are held against.
#[derive(Debug)]
pub struct Check {
    name: String,
    expected: Option<Digest>,
}

impl Check {
    /// Of what is known without asking anybody.
    pub fn plain(name: &str, verification: &Verification) -> Self {
        Self { name: name.to_owned(), expected: verification.sha256 }
    }

    /// What has to be computed.
    pub fn hashes(&self) -> Hashes {
        Hashes { sha256: Sha256::new() }
    }

    /// What has to read the bytes, started.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn tap(&mut self) -> Result<Option<Tap>, Error> {
        Ok(None)
    }

    /// After the last byte.
    ///
    /// # Errors
    /// When they are not what they should be.
    pub fn finish(self, hashes: Hashes, _tap: Option<Tap>) -> Result<Proof, crate::transfer::Error> {
        let found = hashes.sha256();
        match self.expected {
            Some(expected) if expected != found => {
                Err(Error::Digest { name: self.name, expected, found }.into())
            }
            expected => {
                Ok(Proof { sha256: found, checked: expected.map(|_| "the digest that was given".to_owned()) })
            }
        }
    }
}

impl std::fmt::Debug for Hashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashes").field("sha256", &self.sha256()).finish()
    }
}
