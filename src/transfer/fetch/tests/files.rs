//! Files of this host.

use std::io::Read;

use super::{body, digest};
use crate::transfer::fetch::{FetchOptions, open};
use crate::transfer::verify::Verification;
use crate::transfer::{Context, Proof};

/// How much of it whoever takes the bytes reads before it is verified.
const READ: [u64; 3] = [0, 1000, u64::MAX];

#[test]
fn hashed_as_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a");
    let body = body(1_000_000);
    std::fs::write(&file, &body).unwrap();
    let right = digest(&body);
    let wrong = digest(&body[1..]);
    let size = |size| Verification { size: Some(size), ..Verification::none() };
    let found = |wanted: &Verification, read| -> Result<Proof, String> {
        let mut incoming =
            open(file.to_str().unwrap(), wanted, &FetchOptions::default(), &Context::silent()).unwrap();
        assert_eq!(incoming.length(), Some(1_000_000));
        let mut bytes = Vec::new();
        incoming.by_ref().take(read).read_to_end(&mut bytes).unwrap();
        assert!(body.starts_with(&bytes));
        incoming.verify().map_err(|error| error.to_string())
    };
    let name = file.to_str().unwrap();
    let given = Some("the digest that was given".to_owned());
    let differs = format!(
        "{name} is not what it should be: its sha256 is {}, not {} (the digest that was given)",
        right.sha256.unwrap(),
        wrong.sha256.unwrap()
    );
    let short = format!("{name} has 1000000 bytes, not 999999");
    let rows = [
        ("hashed", Verification::none(), Ok(Proof { sha256: right.sha256, checked: None })),
        ("held to its digest", right.clone(), Ok(Proof { sha256: right.sha256, checked: given })),
        ("held to its size", size(1_000_000), Ok(Proof { sha256: right.sha256, checked: None })),
        ("of another digest", wrong, Err(differs)),
        ("of another size", size(999_999), Err(short)),
    ];
    for (what, wanted, expected) in rows {
        for read in READ {
            assert_eq!(found(&wanted, read), expected, "{what}, {read} bytes");
            // Nothing is hashed only where nothing is held against a hash.
            let expected = expected.clone().map(|proof| match wanted.sha256 {
                Some(_) => proof,
                None => Proof { sha256: None, ..proof },
            });
            let wanted = Verification { unhashed: true, ..wanted.clone() };
            assert_eq!(found(&wanted, read), expected, "{what} if need be, {read} bytes");
        }
    }
}
