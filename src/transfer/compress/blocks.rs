//! Blocks that are compressed side by side and written in order.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Crc;

use super::gzip;

/// Of a gz: larger ones gain nothing, as each has the window of the one before (pigz(1), -b: 128).
const GZIP_BLOCK: usize = 256 << 10;

/// Of a bz2: one of its own blocks (bzip2(1), -9).
const BZIP2_BLOCK: usize = 900_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gzip,
    Bzip2,
}

/// A block to be compressed.
struct Job {
    format: Format,
    window: Vec<u8>,
    data: Vec<u8>,
    is_last: bool,
    done: SyncSender<io::Result<Finished>>,
}

/// A block that is compressed.
struct Finished {
    bytes: Vec<u8>,
    crc: Crc,
}

/// Cuts what is written into blocks.
pub(super) struct Blocks<W: Write> {
    sink: W,
    format: Format,
    size: usize,
    block: Vec<u8>,
    window: Vec<u8>,
    crc: Crc,
    /// Those that are being compressed, in order.
    pending: VecDeque<Receiver<io::Result<Finished>>>,
    most: usize,
    jobs: Sender<Job>,
}

impl<W: Write> Blocks<W> {
    pub(super) fn gzip(mut sink: W, threads: usize) -> io::Result<Self> {
        sink.write_all(&gzip::HEADER)?;
        Self::start(sink, Format::Gzip, GZIP_BLOCK, threads)
    }

    pub(super) fn bzip2(sink: W, threads: usize) -> io::Result<Self> {
        Self::start(sink, Format::Bzip2, BZIP2_BLOCK, threads)
    }

    fn start(sink: W, format: Format, size: usize, threads: usize) -> io::Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let waiting = Arc::clone(&waiting);
            let work = move || {
                loop {
                    // One waits for the next job, the others for it.
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    // Who went wants none.
                    let _ = job.done.send(compress(&job));
                }
            };
            std::thread::Builder::new().name("compress".to_owned()).spawn(work)?;
        }
        Ok(Self {
            sink,
            format,
            size,
            block: Vec::with_capacity(size),
            window: Vec::new(),
            crc: Crc::new(),
            pending: VecDeque::new(),
            most: threads + 2,
            jobs,
        })
    }

    fn hand_out(&mut self, is_last: bool) -> io::Result<()> {
        if self.pending.len() >= self.most {
            self.write_first()?;
        }
        let data = std::mem::replace(&mut self.block, Vec::with_capacity(self.size));
        let next = match self.format {
            Format::Gzip => data[data.len().saturating_sub(gzip::WINDOW)..].to_vec(),
            Format::Bzip2 => Vec::new(),
        };
        let window = std::mem::replace(&mut self.window, next);
        let (done, pending) = sync_channel(1);
        let job = Job { format: self.format, window, data, is_last, done };
        self.jobs.send(job).map_err(|_| died())?;
        self.pending.push_back(pending);
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(first) = self.pending.pop_front() else { return Ok(()) };
        let Finished { bytes, crc } = first.recv().map_err(|_| died())??;
        self.crc.combine(&crc);
        self.sink.write_all(&bytes)
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.hand_out(true)?;
        while !self.pending.is_empty() {
            self.write_first()?;
        }
        if self.format == Format::Gzip {
            self.sink.write_all(&gzip::trailer(&self.crc))?;
        }
        self.sink.flush()?;
        Ok(self.sink)
    }
}

fn died() -> io::Error {
    io::Error::other("a thread that compresses died")
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.size - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == self.size {
            self.hand_out(false)?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress(job: &Job) -> io::Result<Finished> {
    let mut crc = Crc::new();
    match job.format {
        Format::Gzip => {
            crc.update(&job.data);
            Ok(Finished { bytes: gzip::block(&job.window, &job.data, job.is_last)?, crc })
        }
        // A last stream of nothing is allowed, and needed where it is the only one.
        Format::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
            encoder.write_all(&job.data)?;
            Ok(Finished { bytes: encoder.finish()?, crc })
        }
    }
}
