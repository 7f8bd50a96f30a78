//! Downloads from a server that does what it is told, its faults too.

use std::io::Read;
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{FetchOptions, Patience, open};
use crate::transfer::verify::Verification;
use crate::transfer::{Context, Digest, Error, Event, Watcher};

mod documents;
mod files;
mod kept;
mod resume;
mod servers;

/// Remembers notes.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watcher for Notes {
    fn take(&self, event: Event) {
        if let Event::Note(note) = event {
            self.0.lock().unwrap().push(note);
        }
    }
}

/// Options of a test that waits for nobody.
fn hasty() -> FetchOptions {
    let first = Duration::from_millis(10);
    let patience =
        Patience { tries: 3, first, longest: first, asked: Duration::from_secs(2), ..Patience::default() };
    FetchOptions { patience, stall: Duration::from_millis(400), ..FetchOptions::default() }
}

fn read_with(
    url: &str,
    verification: &Verification,
    options: &FetchOptions,
    context: &Context,
) -> Result<Vec<u8>, Error> {
    let mut incoming = open(url, verification, options, context)?;
    let mut bytes = Vec::new();
    incoming.read_to_end(&mut bytes).map_err(|error| error.downcast::<Error>().unwrap())?;
    incoming.verify()?;
    Ok(bytes)
}

fn read(url: &str) -> Result<Vec<u8>, Error> {
    read_with(url, &Verification::none(), &hasty(), &Context::silent())
}

/// Bytes that repeat nowhere soon.
fn body(length: u32) -> Vec<u8> {
    (0..length / 4).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_le_bytes()).collect()
}

fn digest(bytes: &[u8]) -> Verification {
    Verification::digest(Digest(Sha256::digest(bytes).into()))
}
