//! Compressed bytes as they were: gz, xz, zst and bz2 of any number of members, with bounded memory.
//!
//! Each format may be several streams one after another (`cat a.gz b.gz`, pigz, pixz, pzstd), with zeros after them, which
//! tapes and block devices leave. Anything else after the last one is refused, as is an end in the middle: what is not
//! whole is no image.

use std::io::{self, BufRead, Read};

use super::compression::{Compression, MAGIC};

/// The most memory that decompressing may take: what `zstd --long` and `zstd --ultra -22` ask for; `xz -9` takes half of it.
/// A file may ask for gigabytes.
const MEMORY_LIMIT: u64 = (128 << 20) + (8 << 20);

/// The largest window of zstd, as a power of two: zstd(1) itself refuses more unless told otherwise.
const ZSTD_WINDOW: u32 = 27;

/// Why bytes cannot be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{name} ends in the middle of its {format} data")]
    Truncated { name: String, format: Compression },
    #[error("{name} is damaged: its {format} data does not decompress ({why})")]
    Damaged { name: String, format: Compression, why: String },
    #[error("{name} is damaged: something that is not {format} follows its {format} data")]
    Trailing { name: String, format: Compression },
    #[error("{name} asks for more than {} MiB of memory to decompress", MEMORY_LIMIT >> 20)]
    Memory { name: String },
    #[error("{name} is compressed with {format}, which spinney does not decompress")]
    Unknown { name: String, format: &'static str },
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Truncated { .. } | Self::Damaged { .. } | Self::Trailing { .. } => {
                "get the file again; what was made of it is removed"
            }
            Self::Memory { .. } => "compress it again with a smaller window: zstd -19, xz -9",
            Self::Unknown { .. } => "compress it with gzip, xz, zstd or bzip2, or not at all",
        };
        Some(hint.to_owned())
    }
}

/// What `inner` gives, decompressed. Its faults are [`io::Error::other`] of an [`Error`], or those of `inner` as they are.
#[derive(Debug)]
pub struct Decoder<R> {
    name: String,
    format: Compression,
    /// A member was read to its end.
    past_first: bool,
    state: State<R>,
}

enum State<R> {
    /// Before a member.
    Between(R),
    Gzip(Box<flate2::bufread::GzDecoder<Watched<R>>>),
    Xz(liblzma::bufread::XzDecoder<Watched<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Watched<R>>>),
    Bzip2(bzip2::bufread::BzDecoder<Watched<R>>),
    /// All was read, or a fault ended it.
    Over(Option<R>),
}

impl<R: BufRead> State<R> {
    fn into_inner(self) -> Option<R> {
        Some(match self {
            Self::Between(inner) => inner,
            Self::Gzip(decoder) => decoder.into_inner().inner,
            Self::Xz(decoder) => decoder.into_inner().inner,
            Self::Zstd(decoder) => decoder.into_inner().inner,
            Self::Bzip2(decoder) => decoder.into_inner().inner,
            Self::Over(inner) => return inner,
        })
    }
}

impl<R> std::fmt::Debug for State<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Between(_) => "Between",
            Self::Over(_) => "Over",
            _ => "Within",
        })
    }
}

/// Keeps the faults of what is read apart from those of what is in it.
struct Watched<R> {
    inner: R,
    fault: Option<io::Error>,
}

impl<R: BufRead> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Watched<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.inner.fill_buf() {
            Ok(ready) => Ok(ready),
            Err(error) => {
                let again = io::Error::from(error.kind());
                self.fault = Some(error);
                Err(again)
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
    }
}

impl<R: BufRead> Decoder<R> {
    /// Decompresses `inner`, which messages call `name`, by what its first bytes say. What is not compressed comes as it is.
    ///
    /// # Errors
    /// That of reading, or [`Error::Unknown`].
    pub fn new(name: &str, mut inner: R) -> io::Result<Self> {
        let start = inner.fill_buf()?;
        let format = Compression::of(&start[..start.len().min(MAGIC)]).map_err(|format| {
            io::Error::other(super::Error::from(Error::Unknown { name: name.to_owned(), format }))
        })?;
        Ok(Self { name: name.to_owned(), format, past_first: false, state: State::Between(inner) })
    }

    /// How it is compressed.
    pub fn format(&self) -> Compression {
        self.format
    }

    /// What it reads from.
    pub fn into_inner(self) -> Option<R> {
        self.state.into_inner()
    }

    /// The state of the next member; `Over` if there is none.
    fn begin(&self, mut inner: R) -> Result<State<R>, (R, io::Error)> {
        let begins = match start(&mut inner, self.past_first) {
            Ok(None) if self.past_first => return Ok(State::Over(Some(inner))),
            Ok(bytes) => bytes.is_some_and(|bytes| self.format.may_begin(&bytes)),
            Err(error) => return Err((inner, error)),
        };
        if !begins {
            let trailing = Error::Trailing { name: self.name.clone(), format: self.format };
            return Err((inner, fault(trailing)));
        }
        let inner = Watched { inner, fault: None };
        Ok(match self.format {
            Compression::None => State::Over(Some(inner.inner)),
            Compression::Gzip => State::Gzip(Box::new(flate2::bufread::GzDecoder::new(inner))),
            Compression::Bzip2 => State::Bzip2(bzip2::bufread::BzDecoder::new(inner)),
            Compression::Xz => match liblzma::stream::Stream::new_stream_decoder(MEMORY_LIMIT, 0) {
                Ok(stream) => State::Xz(liblzma::bufread::XzDecoder::new_stream(inner, stream)),
                Err(error) => return Err((inner.inner, error.into())),
            },
            Compression::Zstd => {
                let mut decoder = match zstd::stream::read::Decoder::try_with_buffer(inner) {
                    Ok(decoder) => decoder.single_frame(),
                    Err((inner, error)) => return Err((inner.inner, error)),
                };
                match decoder.window_log_max(ZSTD_WINDOW) {
                    Ok(()) => State::Zstd(Box::new(decoder)),
                    Err(error) => return Err((decoder.into_inner().inner, error)),
                }
            }
        })
    }

    /// What `error` of a decoder means.
    fn explain(&self, error: &io::Error) -> Error {
        let (name, format) = (self.name.clone(), self.format);
        let memory = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<liblzma::stream::Error>())
            .is_some_and(|inner| matches!(inner, liblzma::stream::Error::MemLimit));
        let why = error.to_string();
        // The name of its error code is all that zstd's binding gives.
        if memory || why.contains("requires too much memory") {
            return Error::Memory { name };
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated { name, format },
            _ => Error::Damaged { name, format, why },
        }
    }

    /// The fault of what is read, if that was it.
    fn take_fault(&mut self) -> Option<io::Error> {
        match &mut self.state {
            State::Gzip(decoder) => decoder.get_mut().fault.take(),
            State::Xz(decoder) => decoder.get_mut().fault.take(),
            State::Zstd(decoder) => decoder.get_mut().fault.take(),
            State::Bzip2(decoder) => decoder.get_mut().fault.take(),
            State::Between(_) | State::Over(_) => None,
        }
    }
}

fn fault(error: Error) -> io::Error {
    io::Error::other(super::Error::from(error))
}

/// The next few bytes, after zeros if those may be skipped; `None` at the end.
fn start<R: BufRead>(inner: &mut R, skip_zeros: bool) -> io::Result<Option<Vec<u8>>> {
    loop {
        let ready = inner.fill_buf()?;
        if ready.is_empty() {
            return Ok(None);
        }
        let zeros = if skip_zeros { ready.iter().take_while(|byte| **byte == 0).count() } else { 0 };
        if zeros == 0 {
            // A buffer may end within them: as much as there is must do.
            return Ok(Some(ready[..ready.len().min(MAGIC)].to_vec()));
        }
        inner.consume(zeros);
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = match &mut self.state {
                State::Over(_) => return Ok(0),
                State::Between(inner) if self.format == Compression::None => return inner.read(buffer),
                State::Between(_) => Ok(0),
                State::Gzip(decoder) => decoder.read(buffer),
                State::Xz(decoder) => decoder.read(buffer),
                State::Zstd(decoder) => decoder.read(buffer),
                State::Bzip2(decoder) => decoder.read(buffer),
            };
            let error = match read {
                Ok(0) => {
                    self.past_first |= !matches!(self.state, State::Between(_));
                    let Some(inner) = std::mem::replace(&mut self.state, State::Over(None)).into_inner()
                    else {
                        return Ok(0);
                    };
                    match self.begin(inner) {
                        Ok(state) => {
                            self.state = state;
                            continue;
                        }
                        Err((inner, error)) => {
                            self.state = State::Over(Some(inner));
                            return Err(error);
                        }
                    }
                }
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let error = self.take_fault().unwrap_or_else(|| fault(self.explain(&error)));
            let inner = std::mem::replace(&mut self.state, State::Over(None)).into_inner();
            self.state = State::Over(inner);
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests;
