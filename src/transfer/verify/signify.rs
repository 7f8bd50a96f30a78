//! Signatures of signify(1) and minisign(1), which Void's images have: Ed25519, with keys that have a number.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use blake2::{Blake2b512, Digest as _};

/// `Ed`: the bytes are signed; `ED` (minisign): their BLAKE2b-512 is.
const PLAIN: &[u8] = b"Ed";
const HASHED: &[u8] = b"ED";

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    number: [u8; 8],
    key: [u8; 32],
}

/// What became of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It holds; the number of the key.
    Good(String),
    /// It does not.
    Bad(String),
    /// No such key is here.
    Unknown(String),
    /// It is no such signature.
    Nonsense,
}

/// The bytes of the line below the comment, or of the only line.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut lines = text.lines();
    let first = lines.next()?;
    let data = if first.starts_with("untrusted comment:") { lines.next()? } else { first };
    BASE64_STANDARD.decode(data.trim()).ok()
}

impl Key {
    /// Reads a file of a public key.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = decoded(text)?;
        let (kind, rest) = bytes.split_at_checked(2)?;
        let (number, key) = rest.split_first_chunk::<8>()?;
        Some(Self { number: *number, key: key.try_into().ok()? }).filter(|_| kind == PLAIN)
    }
}

/// Whether `signature` is one.
pub(super) fn is_signature(signature: &[u8]) -> bool {
    signature.starts_with(b"untrusted comment:")
}

/// Checks `signature`, a file, over `data`.
pub(super) fn check(data: &[u8], signature: &[u8], keys: &[Key]) -> Outcome {
    let parts = || {
        let bytes = decoded(std::str::from_utf8(signature).ok()?)?;
        let (kind, rest) = bytes.split_first_chunk::<2>()?;
        let (number, signature) = rest.split_first_chunk::<8>()?;
        Some((*kind, *number, <[u8; 64]>::try_from(signature).ok()?))
    };
    let Some((kind, number, signature)) = parts() else { return Outcome::Nonsense };
    // As signify and minisign print it: the number is little endian.
    let shown = format!("{:016X}", u64::from_le_bytes(number));
    let Some(key) = keys.iter().find(|key| key.number == number) else { return Outcome::Unknown(shown) };
    let key = UnparsedPublicKey::new(&ED25519, key.key);
    let holds = match &kind[..] {
        PLAIN => key.verify(data, &signature).is_ok(),
        HASHED => key.verify(&Blake2b512::digest(data), &signature).is_ok(),
        _ => return Outcome::Nonsense,
    };
    if holds { Outcome::Good(shown) } else { Outcome::Bad(shown) }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn file(kind: &[u8], number: &[u8], bytes: &[u8]) -> String {
        let data = BASE64_STANDARD.encode([kind, number, bytes].concat());
        format!("untrusted comment: of a test\n{data}\n")
    }

    #[test]
    fn signatures() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let (number, other) = ([1, 2, 3, 4, 5, 6, 7, 8], [9; 8]);
        let key = Key::parse(&file(PLAIN, &number, pair.public_key().as_ref())).unwrap();
        let plain = pair.sign(b"data");
        let hashed = pair.sign(&Blake2b512::digest(b"data"));
        let shown = || "0807060504030201".to_owned();
        let good = || Outcome::Good(shown());
        let rows = [
            ("plain", "data", file(PLAIN, &number, plain.as_ref()), good()),
            (
                "hashed",
                "data",
                format!("{}trusted comment: x\nAAAA\n", file(HASHED, &number, hashed.as_ref())),
                good(),
            ),
            ("other data", "date", file(PLAIN, &number, plain.as_ref()), Outcome::Bad(shown())),
            ("hashed for plain", "data", file(PLAIN, &number, hashed.as_ref()), Outcome::Bad(shown())),
            (
                "another key",
                "data",
                file(PLAIN, &other, plain.as_ref()),
                Outcome::Unknown("0909090909090909".to_owned()),
            ),
            ("another kind", "data", file(b"RS", &number, plain.as_ref()), Outcome::Nonsense),
            ("cut off", "data", file(PLAIN, &number, &plain.as_ref()[1..]), Outcome::Nonsense),
            ("empty", "data", String::new(), Outcome::Nonsense),
            ("text", "data", "untrusted comment: x\n!\n".to_owned(), Outcome::Nonsense),
        ];
        for (what, data, signature, expected) in rows {
            assert_eq!(
                check(data.as_bytes(), signature.as_bytes(), std::slice::from_ref(&key)),
                expected,
                "{what}"
            );
        }
    }
}
