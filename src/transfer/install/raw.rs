//! Disk images: written as they come, with holes where there are zeros; those of QEMU once they are whole.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::kind::Found;
use crate::archive::Counts;
use crate::image::NewImage;
use crate::sys::{FdPath, SysError, SysResult, sys};
use crate::transfer::flow::Contents;
use crate::transfer::{Context, Error, Event, fault, qcow2};

/// What is looked at for zeros at once: a block of every file system that has holes.
const BLOCK: usize = 4096;

/// Writes the disk that `contents` are to `new`.
pub(super) fn write(
    contents: &mut Contents,
    new: &NewImage,
    found: Found,
    context: &Context,
) -> Result<Counts, Error> {
    let name = new.name().to_string();
    let failed = |source| Error::Write { name: name.clone(), source };
    fault::point("unpacking");
    let counts = match found {
        Found::Qcow2 => {
            // Its parts lie in any order: it has to be all there.
            let spool = new.spool()?;
            sparse(contents, spool.as_fd(), failed, context)?;
            context.tell(Event::Stage { what: format!("converting {}", new.name()), total: None });
            let length = qcow2::convert(spool.as_fd(), new.content(), contents.name(), context)?;
            Counts { files: 1, directories: 0, bytes: length }
        }
        Found::Raw | Found::Tar => sparse(contents, new.content(), failed, context)?,
    };
    fault::point("unpacked");
    Ok(counts)
}

/// Writes all of `contents` to `file`, but for zeros.
fn sparse(
    contents: &mut Contents,
    file: BorrowedFd<'_>,
    failed: impl Fn(SysError) -> Error,
    context: &Context,
) -> Result<Counts, Error> {
    let name = contents.name().to_owned();
    let (mut at, mut data) = (0_u64, 0_u64);
    loop {
        context.check()?;
        let bytes = contents.fill_buf().map_err(|error| Error::of_reading(&name, error))?;
        if bytes.is_empty() {
            break;
        }
        for (offset, length) in pieces(bytes, at) {
            write_at(file, &bytes[offset..offset + length], at + offset as u64).map_err(&failed)?;
            data += length as u64;
        }
        let count = bytes.len();
        at += count as u64;
        contents.consume(count);
    }
    // It may end with a hole.
    let cut = rustix::fs::ftruncate(file, at);
    sys("ftruncate", cut, || format!("{}, {at}", FdPath::of(&file))).map_err(failed)?;
    Ok(Counts { files: 1, directories: 0, bytes: data })
}

/// Offset and length of what of `bytes`, which lie at `at` of a file, is not all zeros in a whole block.
fn pieces(bytes: &[u8], at: u64) -> Vec<(usize, usize)> {
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    let mut offset = 0;
    // Blocks are those of the file: the first piece may end in the middle of one.
    let first = BLOCK - usize::try_from(at % BLOCK as u64).unwrap_or(0);
    while offset < bytes.len() {
        let length = if offset == 0 { first } else { BLOCK }.min(bytes.len() - offset);
        if bytes[offset..offset + length].iter().any(|byte| *byte != 0) {
            match pieces.last_mut() {
                Some((start, before)) if *start + *before == offset => *before += length,
                _ => pieces.push((offset, length)),
            }
        }
        offset += length;
    }
    pieces
}

fn write_at(file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> SysResult<()> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(file, &bytes[written..], at + written as u64) {
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("pwrite", FdPath::of(&file).to_string(), errno)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_not_written() {
        let data = |length| vec![1_u8; length];
        let zeros = |length| vec![0_u8; length];
        type Row = (&'static str, Vec<Vec<u8>>, u64, &'static [(usize, usize)]);
        let rows: [Row; 7] = [
            ("nothing", vec![], 0, &[]),
            ("zeros", vec![zeros(10_000)], 0, &[]),
            ("data", vec![data(10_000)], 0, &[(0, 10_000)]),
            ("a hole", vec![data(4096), zeros(8192), data(10)], 0, &[(0, 4096), (12_288, 10)]),
            ("zeros within a block", vec![data(10), zeros(100), data(10)], 0, &[(0, 120)]),
            ("blocks of the file", vec![zeros(96), data(4096), zeros(4096)], 4000, &[(96, 4096)]),
            ("data at the end", vec![zeros(4095), data(1), zeros(1)], 8192, &[(0, 4096)]),
        ];
        for (name, parts, at, expected) in rows {
            assert_eq!(pieces(&parts.concat(), at), expected, "{name}");
        }
    }
}
