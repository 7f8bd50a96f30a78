//! Bytes on their way in, and the proof of them.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use super::error::Error;
use crate::settings::ValueError;

/// A sha256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

/// What vouches for bytes that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The digest of all of them; `None` where nobody asked for it ([`Verification::unhashed`](super::verify::Verification::unhashed)).
    pub sha256: Option<Digest>,
    /// What it was compared with, for people: `SHA256SUMS, signed by ...`; `None` if with nothing.
    pub checked: Option<String>,
}

/// Bytes of one file on their way in, as they are stored where they come from: compressed, as a rule. A fault of reading is
/// [`std::io::Error::other`] of an [`Error`].
pub trait Incoming: Read + Send {
    /// What messages call it.
    fn name(&self) -> &str;

    /// How many bytes there are in all, if that is known.
    fn length(&self) -> Option<u64>;

    /// Reads what is left, and says whether all of it is what it should be.
    ///
    /// # Errors
    /// When it is not: whatever was made of it must go.
    fn verify(self: Box<Self>) -> Result<Proof, Error>;
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Digest {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = || ValueError::new(text, "is no sha256 digest", "64 hexadecimal digits");
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != 32 {
            return Err(refuse());
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte =
                digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(refuse)?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for form in [text.to_owned(), format!("sha256:{text}"), text.to_uppercase()] {
            assert_eq!(
                form.parse::<Digest>().map(|digest| digest.to_string()),
                Ok(text.to_owned()),
                "{form}"
            );
        }
        for bad in ["", "e3b0", &text.replace('e', "g"), &format!("{text}00"), &format!("md5:{text}")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
