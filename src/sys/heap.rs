//! The heap of this process.

/// Gives the kernel back what is free of the heap (malloc_trim(3)): some 50 µs, for a process that has done what takes much and will
/// live long. Only glibc has it.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only memory that nobody has is given back; no pointer of ours is into it.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays() {
        let kept: Vec<Vec<u8>> = (0..64).map(|number| vec![number; 8192]).collect();
        drop((0..64).map(|number| vec![number; 8192_usize]).collect::<Vec<_>>());
        super::trim();
        assert!((0..).zip(&kept).all(|(number, bytes)| bytes.iter().all(|byte| *byte == number)));
    }
}
