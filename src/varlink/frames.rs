//! Bytes to messages: what is between two NUL bytes, up to a limit.

/// A message is longer than its reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of more than {limit} bytes")]
pub struct TooLong {
    /// What it takes.
    pub limit: usize,
}

/// Bytes that have come, and the messages in them.
#[derive(Debug)]
pub struct Frames {
    bytes: Vec<u8>,
    /// How many of them are known to hold no NUL.
    searched: usize,
    limit: usize,
}

impl Frames {
    /// A reader of messages up to `limit` bytes, their NUL not counted.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, limit }
    }

    /// Takes bytes as they come. To be followed by [`Frames::next`] until it gives no more: then at most one message's worth is
    /// held.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// When it is, or will be, longer than the limit. The connection is of no use then: where the next message begins is not
    /// known.
    #[allow(clippy::should_implement_trait, reason = "an end is not the end: more bytes may come")]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let too_long = Err(TooLong { limit: self.limit });
        let new = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(end) = new.iter().position(|&byte| byte == 0).map(|at| self.searched + at) else {
            self.searched = self.bytes.len();
            return if self.searched > self.limit { too_long } else { Ok(None) };
        };
        if end > self.limit {
            return too_long;
        }
        let rest = self.bytes.split_off(end + 1);
        let mut message = std::mem::replace(&mut self.bytes, rest);
        message.truncate(end);
        self.searched = 0;
        Ok(Some(message))
    }

    /// Whether part of a message is held.
    pub fn is_within_message(&self) -> bool {
        !self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes in, piece by piece, and the messages out of it; then whether it is too long.
    type Row = (&'static str, &'static [&'static [u8]], &'static [&'static [u8]], bool);

    #[test]
    fn messages() {
        let table: &[Row] = &[
            ("nothing", &[], &[], false),
            ("one", &[b"{}\0"], &[b"{}"], false),
            ("two at once", &[b"a\0b\0"], &[b"a", b"b"], false),
            ("in pieces", &[b"a", b"b", b"", b"c\0d"], &[b"abc"], false),
            ("empty ones", &[b"\0\0"], &[b"", b""], false),
            ("as long as may be", &[b"12345678\0"], &[b"12345678"], false),
            ("one byte more", &[b"123456789\0"], &[], true),
            ("one byte more, without an end", &[b"12345678", b"9"], &[], true),
            ("a good one first", &[b"a\0", b"123456789"], &[b"a"], true),
        ];
        for (name, pieces, expected, long) in table {
            let mut frames = Frames::new(8);
            let (mut got, mut too_long) = (Vec::new(), false);
            for piece in *pieces {
                frames.extend(piece);
                loop {
                    match frames.next() {
                        Ok(Some(message)) => got.push(message),
                        Ok(None) => break,
                        Err(error) => {
                            assert_eq!(error, TooLong { limit: 8 }, "{name}");
                            too_long = true;
                            break;
                        }
                    }
                }
            }
            assert_eq!((got.as_slice(), too_long), (vecs(expected).as_slice(), *long), "{name}");
        }
    }

    fn vecs(messages: &[&[u8]]) -> Vec<Vec<u8>> {
        messages.iter().map(|bytes| bytes.to_vec()).collect()
    }

    proptest::proptest! {
        /// However the bytes are cut, the same messages come out.
        #[test]
        fn cuts_do_not_matter(messages in proptest::collection::vec("[a-z]{0,20}", 0..8), cut in 1_usize..30) {
            let bytes: Vec<u8> = messages.iter().flat_map(|text| text.bytes().chain([0])).collect();
            let (mut frames, mut got) = (Frames::new(20), Vec::new());
            for piece in bytes.chunks(cut) {
                frames.extend(piece);
                while let Some(message) = frames.next().expect("short enough") {
                    got.push(String::from_utf8(message).expect("text"));
                }
            }
            proptest::prop_assert_eq!(got, messages);
            proptest::prop_assert!(!frames.is_within_message());
        }
    }
}
