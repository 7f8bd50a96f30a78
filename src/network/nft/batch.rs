//! A batch: messages that the kernel carries out at once or not at all (NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END).

use super::attribute::Writer;
use super::error::NftError;
use super::number::{BATCH_BEGIN, BATCH_END, BATCH_GENERATION, Family, Message, REQUEST, SUBSYSTEM};

/// Messages, and what each asks for.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    asked: Vec<String>,
    too_long: Option<String>,
}

impl Batch {
    /// An empty one. With `generation`, it is refused if the rule set is not that of this generation any more.
    pub fn new(generation: Option<u32>) -> Self {
        let mut batch = Self { bytes: Vec::new(), asked: Vec::new(), too_long: None };
        let mut writer = Writer::default();
        if let Some(generation) = generation {
            writer.u32(BATCH_GENERATION, generation);
        }
        batch.message(BATCH_BEGIN, 0, SUBSYSTEM, REQUEST, &writer.finish().unwrap_or_default());
        batch.asked.push("begin".to_owned());
        batch
    }

    /// How many things it asks for.
    pub fn len(&self) -> usize {
        self.asked.len() - 1
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the message with this sequence number asked for.
    pub fn asked(&self, sequence: u32) -> Option<&str> {
        self.asked.get(usize::try_from(sequence).ok()?).map(String::as_str)
    }

    /// Adds a message. `asked` is what it does, for who reads of its refusal.
    pub fn push(
        &mut self,
        message: Message,
        family: Family,
        flags: u16,
        asked: String,
        write: impl FnOnce(&mut Writer),
    ) {
        let mut writer = Writer::default();
        write(&mut writer);
        match writer.finish() {
            Some(attributes) => {
                self.message(message.kind(), family.number(), 0, REQUEST | flags, &attributes);
                self.asked.push(asked);
            }
            None => self.too_long = Some(asked),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// When something in it does not fit into a message.
    pub fn finish(&self) -> Result<Vec<u8>, NftError> {
        if let Some(asked) = &self.too_long {
            return Err(NftError::TooLong(asked.clone()));
        }
        let mut bytes = self.bytes.clone();
        let sequence = u32::try_from(self.asked.len()).unwrap_or_default();
        bytes.extend(message(BATCH_END, 0, SUBSYSTEM, REQUEST, sequence, &[]));
        Ok(bytes)
    }

    fn message(&mut self, kind: u16, family: u8, resource: u16, flags: u16, attributes: &[u8]) {
        let sequence = u32::try_from(self.asked.len()).unwrap_or_default();
        self.bytes.extend(message(kind, family, resource, flags, sequence, attributes));
    }
}

/// One message: `struct nlmsghdr`, `struct nfgenmsg`, attributes.
pub(super) fn message(
    kind: u16,
    family: u8,
    resource: u16,
    flags: u16,
    sequence: u32,
    attributes: &[u8],
) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).unwrap_or_default();
    let mut bytes = Vec::with_capacity(20 + attributes.len());
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    // NFNETLINK_V0
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    bytes.extend_from_slice(attributes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_a_beginning_and_an_end() {
        let mut batch = Batch::new(Some(7));
        batch
            .push(Message::NewTable, Family::Inet, 0, "add table".to_owned(), |writer| writer.string(1, "x"));
        assert_eq!((batch.len(), batch.asked(1), batch.asked(9)), (1, Some("add table"), None));
        let bytes = batch.finish().unwrap();
        let expected = [
            &[28, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 8, 0, 1, 0, 0, 0, 0, 7][..],
            &[28, 0, 0, 0, 0, 10, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 6, 0, 1, 0, b'x', 0, 0, 0],
            &[20, 0, 0, 0, 0x11, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_too_long_is_said() {
        let mut batch = Batch::new(None);
        batch.push(Message::NewTable, Family::Inet, 0, "add table".to_owned(), |writer| {
            writer.bytes(1, &[0; 1 << 16]);
        });
        assert!(matches!(batch.finish(), Err(NftError::TooLong(asked)) if asked == "add table"));
    }
}
