//! Bytes that several threads read where they came in: nobody copies them, and the buffer is used again after the last one.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// The most that [`Copied`] copies at once: what is larger, malloc(3) gets from the kernel anew each time.
const COPIED: usize = 64 << 10;

/// A buffer that goes home when nobody reads it any more.
#[derive(Default)]
pub struct Block {
    bytes: Vec<u8>,
    home: Option<Sender<Vec<u8>>>,
}

impl Block {
    /// One that goes to `home`.
    pub fn new(bytes: Vec<u8>, home: Sender<Vec<u8>>) -> Self {
        Self { bytes, home: Some(home) }
    }

    /// All of it, for who has it alone.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.bytes.len())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(home) = &self.home
            && !self.bytes.is_empty()
        {
            // Nobody is there who would fill it again.
            let _ = home.send(std::mem::take(&mut self.bytes));
        }
    }
}

/// A part of a buffer.
#[derive(Debug, Clone)]
pub struct Shared {
    block: Arc<Block>,
    range: Range<usize>,
}

impl Shared {
    /// `range` of `block`, as much of it as there is.
    pub fn new(block: &Arc<Block>, range: Range<usize>) -> Self {
        let end = range.end.min(block.len());
        Self { block: Arc::clone(block), range: range.start.min(end)..end }
    }

    /// Whether somebody waits for the buffer, and has not lent `other`'s, too.
    pub fn is_lent_besides(&self, other: &Self) -> bool {
        self.block.home.is_some() && !Arc::ptr_eq(&self.block, &other.block)
    }
}

impl Deref for Shared {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // In bounds since it was made.
        self.block.get(self.range.clone()).unwrap_or_default()
    }
}

/// What lends the buffers that its bytes come in. Who reads it must not wait for more while holding more than two of them:
/// there may be no other.
pub trait Lender: BufRead {
    /// The next bytes, `most` at most and taken, some of what [`BufRead::fill_buf`] has; none at the end.
    ///
    /// # Errors
    /// As reading.
    fn lend(&mut self, most: usize) -> io::Result<Shared>;
}

impl<L: Lender> Lender for &mut L {
    fn lend(&mut self, most: usize) -> io::Result<Shared> {
        (**self).lend(most)
    }
}

/// Lends copies of what a reader gives that has nothing to lend.
#[derive(Debug)]
pub struct Copied<R>(pub R);

impl<R: BufRead> Read for Copied<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl<R: BufRead> BufRead for Copied<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl<R: BufRead> Lender for Copied<R> {
    fn lend(&mut self, most: usize) -> io::Result<Shared> {
        let ready = self.0.fill_buf()?;
        let bytes = ready[..ready.len().min(most).min(COPIED)].to_vec();
        let length = bytes.len();
        self.0.consume(length);
        Ok(Shared { block: Arc::new(Block { bytes, home: None }), range: 0..length })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, channel};

    use super::*;

    #[test]
    fn it_goes_home_after_the_last_reader() {
        let (home, back) = channel();
        let block = Arc::new(Block::new(vec![1, 2, 3, 4], home));
        let (first, rest) = (Shared::new(&block, 0..1), Shared::new(&block, 1..9));
        assert_eq!((&*first, &*rest), (&[1][..], &[2, 3, 4][..]));
        drop((block, first));
        assert_eq!(back.try_recv(), Err(TryRecvError::Empty));
        drop(rest);
        assert_eq!(back.try_recv(), Ok(vec![1, 2, 3, 4]));
        assert_eq!(back.try_recv(), Err(TryRecvError::Disconnected));
    }

    #[test]
    fn no_more_than_two_are_held() {
        let (home, _back) = channel();
        let [one, other] = [1, 2].map(|byte| Arc::new(Block::new(vec![byte; 8], home.clone())));
        let of = |block| Shared::new(block, 0..4);
        assert!(!of(&one).is_lent_besides(&of(&one)));
        assert!(of(&one).is_lent_besides(&of(&other)));
        // Copies are nobody's.
        let mut copies = Copied(&b"12345"[..]);
        let (first, second) = (copies.lend(3).unwrap(), copies.lend(3).unwrap());
        assert_eq!((&*first, &*second, copies.lend(3).unwrap().len()), (&b"123"[..], &b"45"[..], 0));
        assert!(!first.is_lent_besides(&second));
    }
}
