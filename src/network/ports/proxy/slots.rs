//! Things that come and go, by numbers that the kernel keeps for us: one that is gone is never taken for the next in its slot.

/// What an event of epoll is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Token {
    /// Of which table, and which of its fds.
    pub(super) kind: u8,
    generation: u32,
    index: u32,
}

/// Generations are counted in 24 bits.
const GENERATIONS: u32 = 1 << 24;

impl Token {
    /// One that is not in a table.
    pub(super) const fn fixed(kind: u8) -> Self {
        Self { kind, generation: 0, index: 0 }
    }

    /// The same thing, another of its fds.
    pub(super) fn of_kind(self, kind: u8) -> Self {
        Self { kind, ..self }
    }

    /// As the kernel keeps it.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.kind) << 56 | u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// Back.
    pub(super) fn from_bits(bits: u64) -> Self {
        let [kind, a, b, c, d, e, f, g] = bits.to_be_bytes();
        Self { kind, generation: u32::from_be_bytes([0, a, b, c]), index: u32::from_be_bytes([d, e, f, g]) }
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A table.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    kind: u8,
}

impl<T> Slots<T> {
    /// An empty one, whose tokens are of `kind`.
    pub(super) fn new(kind: u8) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), kind }
    }

    /// How many are in it.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts `value` in.
    pub(super) fn insert(&mut self, value: T) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let generation = self.slots.get_mut(index as usize).map_or(0, |slot| {
            slot.value = Some(value);
            slot.generation
        });
        Token { kind: self.kind, generation, index }
    }

    /// That of `token`, if it is there still.
    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let slot = self.slots.get_mut(token.index as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == token.generation)
    }

    /// The same, to look at.
    pub(super) fn get(&self, token: Token) -> Option<&T> {
        let slot = self.slots.get(token.index as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == token.generation)
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        let slot = self.slots.get_mut(token.index as usize)?;
        if slot.generation != token.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(token.index);
        Some(value)
    }

    /// All that are in it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let token = Token { kind: self.kind, generation: slot.generation, index };
            slot.value.as_ref().map(|value| (token, value))
        })
    }

    /// Those for which `which` holds.
    pub(super) fn tokens(&self, which: impl Fn(&T) -> bool) -> Vec<Token> {
        self.iter().filter(|(_, value)| which(value)).map(|(token, _)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_not_the_next_one() {
        let mut slots = Slots::new(3);
        let (a, b) = (slots.insert('a'), slots.insert('b'));
        assert_eq!((slots.get(a), slots.get(b), slots.len()), (Some(&'a'), Some(&'b'), 2));
        assert_eq!(slots.remove(a), Some('a'));
        let c = slots.insert('c');
        assert_eq!((slots.get(a), slots.get(c)), (None, Some(&'c')));
        assert_eq!(slots.remove(a), None);
        assert_ne!(a, c);
        assert_eq!(slots.tokens(|value| *value == 'c'), [c]);
        assert_eq!(slots.len(), 2);
    }

    #[test]
    fn tokens_as_numbers() {
        for token in [
            Token::fixed(7),
            Token { kind: 255, generation: GENERATIONS - 1, index: u32::MAX },
            Token { kind: 1, generation: 2, index: 3 }.of_kind(9),
        ] {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
