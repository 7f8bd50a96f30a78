//! Netlink attributes (linux/netlink.h, `struct nlattr`): length, type, value, padded to 4 bytes. nf_tables has numbers
//! in network byte order.

/// Says that the value of an attribute is attributes (NLA_F_NESTED).
const NESTED: u16 = 0x8000;

/// The bits of a type that are the type (NLA_TYPE_MASK).
const TYPE: u16 = 0x3fff;

/// Attributes being written.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Writer {
    /// An attribute with this value.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let Ok(length) = u16::try_from(value.len() + 4) else {
            self.overflow = true;
            return;
        };
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// A string, with its NUL.
    pub fn string(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// A number.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A long number.
    pub fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Attributes within one.
    pub fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.overflow |= inner.overflow;
        self.bytes(kind | NESTED, &inner.bytes);
    }

    /// Attributes that are written already.
    pub fn append(&mut self, attributes: &[u8]) {
        self.bytes.extend_from_slice(attributes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// What was written; `None` if something did not fit into an attribute.
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.overflow).then_some(self.bytes)
    }

    /// How much was written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// One attribute that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without flags.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Its value as a number.
    pub fn u32(self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// Its value as a long number.
    pub fn u64(self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    /// Its value as a string, up to its NUL.
    pub fn string(self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(self.value.get(..end).unwrap_or_default()).into_owned()
    }

    /// Its value as attributes.
    pub fn nested(self) -> Attributes<'a> {
        Attributes(self.value)
    }
}

/// Attributes in a row. What is cut off is not there.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// The first one of this type.
    pub fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self, |attribute| attribute.kind == kind)
    }

    /// The first one of this type, as a number.
    pub fn number(self, kind: u16) -> Option<u32> {
        self.find(kind)?.u32()
    }

    /// The first one of this type, as a string.
    pub fn string(self, kind: u16) -> Option<String> {
        self.find(kind).map(Attribute::string)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let (length, kind) = (two_bytes(self.0, 0)?, two_bytes(self.0, 2)?);
        let value = self.0.get(4..usize::from(length))?;
        self.0 = self.0.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind: kind & TYPE, value })
    }
}

fn two_bytes(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.string(1, "abc");
        writer.u32(2, 7);
        writer.nested(3, |inner| inner.u64(1, 9));
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len(), 8 + 8 + 4 + 12);
        let read = Attributes(&bytes);
        assert_eq!(read.string(1).as_deref(), Some("abc"));
        assert_eq!(read.number(2), Some(7));
        assert_eq!(read.find(3).unwrap().nested().find(1).unwrap().u64(), Some(9));
        assert_eq!(read.find(4), None);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut writer = Writer::default();
        writer.nested(1, |inner| inner.bytes(1, &[0; 65_536]));
        assert_eq!(writer.finish(), None);
    }

    #[test]
    fn what_is_cut_off_is_not_there() {
        for bytes in
            [&[][..], &[0], &[3, 0, 1, 0], &[0, 0, 1, 0], &[9, 0, 1, 0, 0, 0, 0, 0], &[255, 255, 1, 0]]
        {
            assert_eq!(Attributes(bytes).next(), None, "{bytes:?}");
        }
        // The padding of the last one may be missing.
        let last = [5, 0, 1, 0, 42];
        assert_eq!(Attributes(&last).next(), Some(Attribute { kind: 1, value: &[42] }));
    }
}
