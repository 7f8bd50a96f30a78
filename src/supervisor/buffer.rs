//! The bounded buffer of one direction of the console.

/// Bytes on their way: filled at the end, emptied at the start.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What one holds: as much as a pty passes in one read (N_TTY_BUF_SIZE, linux/tty.h).
    pub(super) const BYTES: usize = 4096;

    /// Kept free by those who read into the buffer: two withheld `^]` and an end of file.
    pub(super) const RESERVE: usize = 3;

    /// An empty one.
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; Self::BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// How much fits.
    pub(super) fn room(&self) -> usize {
        self.bytes.len() - (self.end - self.start)
    }

    /// Whether it is worth reading more into it.
    pub(super) fn has_room(&self) -> bool {
        self.room() > Self::RESERVE
    }

    /// What is on its way, first to last.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// So much of what was filled is gone.
    pub(super) fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops what is on its way.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// All the free space, in one piece.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.bytes[self.end..]
    }

    /// So much of the space has been filled.
    pub(super) fn added(&mut self, length: usize) {
        self.end = (self.end + length).min(self.bytes.len());
    }

    /// Adds one byte; what does not fit is lost.
    pub(super) fn push(&mut self, byte: u8) {
        if let [first, ..] = self.space() {
            *first = byte;
            self.added(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut buffer = Buffer::new();
        assert!(buffer.is_empty() && buffer.has_room());
        buffer.space()[..4].copy_from_slice(b"abcd");
        buffer.added(4);
        buffer.consume(1);
        buffer.push(b'e');
        assert_eq!((buffer.filled(), buffer.room()), (b"bcde".as_slice(), Buffer::BYTES - 4));
        buffer.consume(100);
        assert!(buffer.is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let mut buffer = Buffer::new();
        let free = buffer.space().len();
        buffer.added(free - Buffer::RESERVE);
        assert!(!buffer.has_room());
        for _ in 0..=Buffer::RESERVE {
            buffer.push(b'x');
        }
        assert_eq!((buffer.filled().len(), buffer.room()), (Buffer::BYTES, 0));
    }
}
