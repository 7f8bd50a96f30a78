//! Where a file has data and where holes (lseek(2), SEEK_DATA and SEEK_HOLE), and how GNU tar writes that down.

use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// The most pieces of data that a map has. A file with more holes is packed with some of them filled; a stream with a larger
/// map is refused.
pub const PIECES_LIMIT: usize = 1 << 18;

/// Offset and length of each piece of data, in order, none overlapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Map(Vec<(u64, u64)>);

impl Map {
    /// A map of `pieces`, for a file of `size`; `None` if they are not in order or reach beyond the file.
    pub fn new(pieces: Vec<(u64, u64)>, size: u64) -> Option<Self> {
        let mut end = 0;
        for (offset, length) in &pieces {
            if *offset < end {
                return None;
            }
            end = offset.checked_add(*length).filter(|end| *end <= size)?;
        }
        (pieces.len() <= PIECES_LIMIT).then_some(Self(pieces))
    }

    /// Looks for the holes of `file`, of `size` bytes. `None` if it has none, or the file system does not tell.
    pub fn of(file: impl AsFd, size: u64) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < size {
            let start = match seek(&file, SeekFrom::Data(at)) {
                Ok(start) => start.min(size),
                // A hole up to the end.
                Err(Errno::NXIO) => break,
                Err(_) => return None,
            };
            let end = if pieces.len() + 1 == PIECES_LIMIT {
                size
            } else {
                seek(&file, SeekFrom::Hole(start)).ok()?.clamp(start, size)
            };
            if start < end {
                pieces.push((start, end - start));
            }
            if end <= at {
                break;
            }
            at = end;
        }
        (pieces != [(0, size)]).then_some(Self(pieces))
    }

    /// Offset and length of each piece.
    pub fn pieces(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How much data there is.
    pub fn data(&self) -> u64 {
        self.0.iter().map(|(_, length)| length).sum()
    }

    /// It as GNU tar's format 1.0 has it before the data: decimal numbers, a line each. A file that ends with a hole ends
    /// with an empty piece.
    pub fn to_text(&self, size: u64) -> Vec<u8> {
        let ends_in_hole = self.0.last().is_none_or(|(offset, length)| offset + length < size);
        let last = ends_in_hole.then_some((size, 0));
        let count = self.0.len() + usize::from(ends_in_hole);
        let mut text = format!("{count}\n");
        for (offset, length) in self.0.iter().chain(&last) {
            text.push_str(&format!("{offset}\n{length}\n"));
        }
        text.into_bytes()
    }
}

/// A map in the middle of being read.
#[derive(Debug, Default)]
pub struct MapReader {
    numbers: Vec<u64>,
    digits: Option<u64>,
}

impl MapReader {
    /// Takes the next block of the text; `Some` once the map is whole. `None` of it is a map that is wrong or too long.
    pub fn take(&mut self, block: &[u8], size: u64) -> Option<Option<Map>> {
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let value = self.digits.unwrap_or(0).checked_mul(10);
                    let Some(value) = value.and_then(|value| value.checked_add(u64::from(byte - b'0')))
                    else {
                        return Some(None);
                    };
                    self.digits = Some(value);
                }
                b'\n' => {
                    let Some(number) = self.digits.take() else { return Some(None) };
                    self.numbers.push(number);
                    if self.is_whole()? {
                        return Some(self.map(size));
                    }
                }
                _ => return Some(None),
            }
        }
        None
    }

    /// Whether all numbers are there; `None` of it goes on. A count above the limit ends it at once.
    fn is_whole(&self) -> Option<bool> {
        let count = *self.numbers.first()?;
        let too_many = count > PIECES_LIMIT as u64;
        Some(too_many || self.numbers.len() as u64 == 1 + 2 * count)
    }

    fn map(&mut self, size: u64) -> Option<Map> {
        let numbers = std::mem::take(&mut self.numbers);
        let (count, rest) = numbers.split_first()?;
        if *count * 2 != rest.len() as u64 {
            return None;
        }
        let pieces = rest.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Map::new(pieces, size)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    type Pieces<'a> = &'a [(u64, u64)];

    #[test]
    fn maps_are_checked() {
        let rows: [(Pieces, u64, bool); 6] = [
            (&[(0, 4), (4, 4)], 8, true),
            (&[(8, 0)], 8, true),
            (&[(0, 9)], 8, false),
            (&[(4, 2), (0, 2)], 8, false),
            (&[(0, 4), (3, 1)], 8, false),
            (&[(u64::MAX, 2)], u64::MAX, false),
        ];
        for (pieces, size, good) in rows {
            assert_eq!(Map::new(pieces.to_vec(), size).is_some(), good, "{pieces:?}");
        }
    }

    #[test]
    fn maps_as_text_and_back() {
        let rows: [(Pieces, u64, &str); 3] = [
            (&[(512, 1024)], 4096, "2\n512\n1024\n4096\n0\n"),
            (&[(0, 1), (3, 1)], 4, "2\n0\n1\n3\n1\n"),
            (&[], 7, "1\n7\n0\n"),
        ];
        for (pieces, size, text) in rows {
            let map = Map::new(pieces.to_vec(), size).unwrap();
            assert_eq!(map.to_text(size), text.as_bytes());
            let mut reader = MapReader::default();
            let read = text.bytes().find_map(|byte| reader.take(&[byte], size)).unwrap().unwrap();
            assert_eq!(read.data(), map.data());
            assert!(read.pieces().starts_with(pieces));
        }
    }

    #[test]
    fn bad_texts() {
        for text in ["x", "\n", "1\n2\n\n", "99999999999\n", "1\n0\n9\n", "1\n99999999999999999999999\n"] {
            assert_eq!(MapReader::default().take(text.as_bytes(), 8), Some(None), "{text:?}");
        }
        assert_eq!(MapReader::default().take(b"2\n0\n1\n", 8), None);
    }

    #[test]
    fn holes_are_found() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        assert_eq!(Map::of(&file, 1 << 20).unwrap().pieces(), []);
        file.seek(std::io::SeekFrom::Start(65536)).unwrap();
        file.write_all(&[1; 65536]).unwrap();
        assert_eq!(Map::of(&file, 1 << 20).unwrap().pieces(), [(65536, 65536)]);
        let mut dense = tempfile::tempfile().unwrap();
        dense.write_all(&[1; 5000]).unwrap();
        assert_eq!(Map::of(&dense, 5000), None);
    }
}
