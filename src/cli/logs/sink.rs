//! Where shown entries go: to stdout, some at a time.

use crate::cli::output::Output;

/// So much is gathered before it is written.
const CHUNK: usize = 64 << 10;

/// What was rendered and not written yet.
#[derive(Debug)]
pub struct Sink {
    output: Output,
    buffer: Vec<u8>,
    closed: bool,
}

impl Sink {
    /// Writes through `output`.
    pub fn new(output: Output) -> Self {
        Self { output, buffer: Vec::new(), closed: false }
    }

    /// Has `render` append to what is written; false when nobody reads it any more.
    pub fn write(&mut self, render: impl FnOnce(&mut Vec<u8>)) -> bool {
        render(&mut self.buffer);
        if self.buffer.len() >= CHUNK { self.flush() } else { !self.closed }
    }

    /// Writes what there is; false when nobody reads it any more.
    pub fn flush(&mut self) -> bool {
        if !self.buffer.is_empty() && !self.closed {
            self.closed = !self.output.stream(&self.buffer);
        }
        self.buffer.clear();
        !self.closed
    }
}
