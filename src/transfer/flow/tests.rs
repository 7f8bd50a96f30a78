use std::io::{Cursor, Write};

use super::*;
use crate::transfer::{Digest, decompress};

/// Gives bytes in small pieces; may break off, or not be what was promised.
struct Scripted {
    bytes: Cursor<Vec<u8>>,
    breaks: bool,
    lies: bool,
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1000);
        match self.bytes.read(&mut buffer[..most])? {
            0 if self.breaks => Err(io::Error::other(Error::Read {
                name: "it".to_owned(),
                source: io::Error::other("the wire is cut"),
            })),
            count => Ok(count),
        }
    }
}

impl Incoming for Scripted {
    fn name(&self) -> &str {
        "it"
    }

    fn length(&self) -> Option<u64> {
        None
    }

    fn verify(mut self: Box<Self>) -> Result<Proof, Error> {
        io::copy(&mut self, &mut io::sink()).map_err(|error| Error::of_reading("it", error))?;
        let checked = Some("a promise".to_owned());
        if self.lies { Err(lie()) } else { Ok(Proof { sha256: Some(Digest([7; 32])), checked }) }
    }
}

/// Stands for a wrong checksum.
fn lie() -> Error {
    Error::Format { name: "it".to_owned(), what: "lies".to_owned(), hint: "" }
}

fn gzipped(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn scripted(bytes: Vec<u8>, breaks: bool, lies: bool) -> Box<dyn Incoming> {
    Box::new(Scripted { bytes: Cursor::new(bytes), breaks, lies })
}

fn all(contents: &mut Contents) -> Result<usize, Error> {
    let mut bytes = Vec::new();
    contents.read_to_end(&mut bytes).map_err(|error| Error::of_reading("it", error))?;
    Ok(bytes.len())
}

fn data() -> Vec<u8> {
    (0..3_000_000_u32).flat_map(|number| u8::try_from(number % 251)).collect()
}

#[test]
fn to_the_end_and_verified() {
    for bytes in [data(), gzipped(&data())] {
        let (length, proof) = flow(scripted(bytes, false, false), &Context::silent(), all).unwrap();
        assert_eq!((length, proof.checked.as_deref()), (3_000_000, Some("a promise")));
    }
}

#[test]
fn the_first_cause_is_told() {
    let whole = gzipped(&data());
    let half = whole[..whole.len() / 2].to_vec();
    let damaged = || Err(Error::Format { name: "it".to_owned(), what: "is no archive".to_owned(), hint: "" });
    let full = || Err(Error::Image(crate::image::Error::NoImage { name: "full".to_owned(), nearest: None }));
    type Told = Result<usize, Error>;
    type Row = (&'static str, Vec<u8>, bool, bool, Option<Told>, &'static str);
    let rows: [Row; 8] = [
        ("broken", half.clone(), true, false, None, "cannot read it"),
        ("broken and damaged", half.clone(), true, false, Some(damaged()), "cannot read it"),
        ("broken, plain", data(), true, false, None, "cannot read it"),
        ("cut off", half.clone(), false, false, None, "it ends in the middle of its gzip data"),
        ("cut off, a lie", half, false, true, None, "it lies"),
        ("damaged inside", whole.clone(), false, false, Some(damaged()), "it is no archive"),
        ("damaged inside, a lie", whole.clone(), false, true, Some(damaged()), "it lies"),
        ("no room", whole, false, true, Some(full()), "no image \"full\""),
    ];
    for (name, bytes, breaks, lies, told, expected) in rows {
        let consume = |contents: &mut Contents| match told {
            Some(told) => {
                contents.start().map(drop).map_err(|error| Error::of_reading("it", error)).and(told)
            }
            None => all(contents),
        };
        let error = flow(scripted(bytes, breaks, lies), &Context::silent(), consume).unwrap_err();
        assert_eq!(error.to_string(), expected, "{name}");
    }
}

#[test]
fn a_lie_of_something_whole() {
    let error = flow(scripted(gzipped(&data()), false, true), &Context::silent(), all).unwrap_err();
    assert_eq!(error.to_string(), "it lies");
}

#[test]
fn trailing_garbage_is_found_behind_what_is_read() {
    let bytes = [gzipped(&data()), b"garbage".to_vec()].concat();
    let some = |contents: &mut Contents| Ok(contents.start().unwrap_or_default().len());
    let error = flow(scripted(bytes, false, false), &Context::silent(), some).unwrap_err();
    assert!(matches!(error, Error::Decompress(decompress::Error::Trailing { .. })), "{error:?}");
}

#[test]
fn it_can_be_cancelled() {
    let context = Context::silent();
    let inner = context.clone();
    let cancel = move |contents: &mut Contents| {
        inner.cancel();
        all(contents)
    };
    let result = flow(scripted(gzipped(&data()), false, false), &context, cancel);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}
