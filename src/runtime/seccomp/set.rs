//! A set of system calls of one ABI, by number.

use super::table::NUMBER_LIMIT;

const WORD_BITS: u16 = 64;
const WORDS: usize = (NUMBER_LIMIT / WORD_BITS) as usize;

/// A bit for each number below [`NUMBER_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallSet([u64; WORDS]);

impl CallSet {
    /// A set of nothing.
    pub(super) const EMPTY: Self = Self([0; WORDS]);

    /// Puts `number` in; numbers from [`NUMBER_LIMIT`] on are no calls.
    pub(super) const fn insert(&mut self, number: u16) {
        if number < NUMBER_LIMIT {
            self.0[(number / WORD_BITS) as usize] |= 1 << (number % WORD_BITS);
        }
    }

    /// Is `number` in?
    pub(super) fn contains(&self, number: u16) -> bool {
        self.0
            .get(usize::from(number / WORD_BITS))
            .is_some_and(|word| word & (1 << (number % WORD_BITS)) != 0)
    }

    /// Puts in all of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Takes out all of `other`.
    pub(super) fn remove(&mut self, other: &Self) {
        for (word, less) in self.0.iter_mut().zip(other.0) {
            *word &= !less;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_and_no_more() {
        let mut set = CallSet::EMPTY;
        for number in [0, 63, 64, 511, 512, u16::MAX] {
            set.insert(number);
        }
        let held: Vec<u16> = (0..=u16::MAX).filter(|number| set.contains(*number)).collect();
        assert_eq!(held, [0, 63, 64, 511]);
    }

    #[test]
    fn adds_and_removes_sets() {
        let of = |numbers: &[u16]| {
            let mut set = CallSet::EMPTY;
            numbers.iter().for_each(|number| set.insert(*number));
            set
        };
        let mut set = of(&[1, 100]);
        set.add(&of(&[100, 300]));
        assert_eq!(set, of(&[1, 100, 300]));
        set.remove(&of(&[1, 2, 300]));
        assert_eq!(set, of(&[100]));
    }
}
