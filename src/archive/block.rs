//! How much is read and written at a time.

/// The size of blocks (tar(5)).
pub(super) const BLOCK: usize = 512;

/// What is moved at once: large enough for the disk, small enough for a processor's cache.
pub(super) const CHUNK: usize = 256 << 10;

/// `length`, but `most` at most.
pub(super) fn at_most(length: u64, most: usize) -> usize {
    usize::try_from(length).map_or(most, |length| length.min(most))
}
