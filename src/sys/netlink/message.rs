//! Netlink messages and attributes as bytes (linux/netlink.h): all in the host's byte order, padded to 4.

use rustix::io::Errno;

/// NLM_F_REQUEST.
pub const REQUEST: u16 = 0x1;
/// NLM_F_ACK: say that it was done; that it was not is said in any case.
pub const ACKNOWLEDGE: u16 = 0x4;
/// NLM_F_DUMP: all there are.
pub const DUMP: u16 = 0x300;
/// NLM_F_REPLACE.
pub const REPLACE: u16 = 0x100;
/// NLM_F_EXCL: not one that is there.
pub const EXCLUSIVE: u16 = 0x200;
/// NLM_F_CREATE.
pub const CREATE: u16 = 0x400;
/// NLM_F_APPEND.
pub const APPEND: u16 = 0x800;
/// NLM_F_DUMP_INTR.
pub(super) const INTERRUPTED: u16 = 0x10;
/// NLM_F_CAPPED: an error does not quote the message that it is about.
const CAPPED: u16 = 0x100;
/// NLM_F_ACK_TLVS: attributes follow an error.
const HAS_ATTRIBUTES: u16 = 0x200;

/// NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE.
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Kernel calls fail with no number below this (MAX_ERRNO, include/linux/err.h).
const LAST_ERRNO: i32 = -4095;

/// NLMSGERR_ATTR_MSG: the kernel's words.
const WORDS: u16 = 1;

/// Length of a message's header: length, kind, flags, sequence number, port.
pub const HEADER: usize = 16;

/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are not of an attribute's kind.
const KIND: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its kind (nlmsg_type).
    pub kind: u16,
    /// Its flags (nlmsg_flags).
    pub flags: u16,
    /// That of the message that it answers; 0 for one that nobody asked for.
    pub sequence: u32,
    /// What follows its header.
    pub body: Vec<u8>,
}

impl Message {
    /// Of an acknowledgement, an error and the end of a dump: the errno, if there is one, and the kernel's words.
    pub(super) fn outcome(&self) -> Option<(Option<Errno>, Option<String>)> {
        if !matches!(self.kind, NOOP | ERROR | DONE) {
            return None;
        }
        let code = self.body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        let errno = (code < 0 && self.kind != NOOP).then(|| match code {
            LAST_ERRNO..0 => Errno::from_raw_os_error(-code),
            _ => Errno::IO,
        });
        Some((errno, self.words()))
    }

    fn words(&self) -> Option<String> {
        if self.flags & HAS_ATTRIBUTES == 0 {
            return None;
        }
        // An error has the header of its message after the errno, and with it the message itself unless it is capped.
        let at = match self.kind {
            ERROR => {
                let quoted = read_u32(&self.body, 4)? as usize;
                4 + if self.flags & CAPPED == 0 { quoted.checked_next_multiple_of(4)? } else { HEADER }
            }
            _ => 4,
        };
        let (_, words) = attributes(self.body.get(at..)?).find(|(kind, _)| *kind == WORDS)?;
        let words = words.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(words).into_owned())
    }
}

/// The messages that `bytes` are; what is cut off is left out.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind), Some(flags), Some(sequence)) =
        (read_u32(bytes, 0), read_u16(bytes, 4), read_u16(bytes, 6), read_u32(bytes, 8))
    {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        found.push(Message { kind, flags, sequence, body: body.to_vec() });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The attributes that `bytes` are: kinds and values.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(rest, 0)?);
        let kind = read_u16(rest, 2)? & KIND;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Adds an attribute to `to`. One that does not fit its own length, 64 KiB, is cut: the kernel then refuses it.
pub fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value.get(..usize::from(length).saturating_sub(4)).unwrap_or_default());
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Adds an attribute of the attributes that `fill` adds.
pub fn nested(to: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    attribute(to, kind | NESTED, &inner);
}

/// Messages to be sent in one go, and what each asks for in words.
#[derive(Debug, Default)]
pub struct Requests {
    bytes: Vec<u8>,
    asked: Vec<String>,
}

impl Requests {
    /// Adds a message with `flags` besides [`REQUEST`] and, unless it is a dump, [`ACKNOWLEDGE`].
    pub fn push(&mut self, kind: u16, flags: u16, body: &[u8], asked: impl Into<String>) {
        let acknowledge = if flags & DUMP == DUMP { 0 } else { ACKNOWLEDGE };
        let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST | acknowledge).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.asked.push(asked.into());
    }

    /// The messages, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What message `index` asks for.
    pub fn asked(&self, index: usize) -> &str {
        self.asked.get(index).map_or("", String::as_str)
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.asked.len()
    }
}

/// `messages` with sequence numbers from `first` on, how many they are, and which is the last that is to be acknowledged.
/// `None` if they are not whole messages.
pub(super) fn number(messages: &[u8], first: u32) -> Option<(Vec<u8>, usize, Option<usize>)> {
    let mut bytes = messages.to_vec();
    let (mut at, mut count, mut acknowledged, mut sequence) = (0, 0, None, first);
    while at < bytes.len() {
        let message = bytes.get_mut(at..)?;
        let length = read_u32(message, 0)? as usize;
        let flags = read_u16(message, 6)?;
        if length < HEADER || length > message.len() {
            return None;
        }
        message.get_mut(8..12)?.copy_from_slice(&sequence.to_ne_bytes());
        if flags & ACKNOWLEDGE != 0 {
            acknowledged = Some(count);
        }
        sequence = sequence.wrapping_add(1);
        count += 1;
        at += length.next_multiple_of(4);
    }
    Some((bytes, count, acknowledged))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32, flags: u16, rest: &[u8]) -> Message {
        let body = [code.to_ne_bytes().as_slice(), rest].concat();
        Message { kind: ERROR, flags, sequence: 1, body }
    }

    #[test]
    fn outcomes() {
        let mut words = Vec::new();
        attribute(&mut words, 2, &[0; 4]);
        attribute(&mut words, WORDS, b"Device does not allow it\0");
        let quoted = |length: u32, rest: &[u8]| [&length.to_ne_bytes()[..], &[0; 12], rest].concat();
        let said = || Some("Device does not allow it".to_owned());
        let plain = |kind| Message { kind, flags: 0, sequence: 1, body: vec![0; 4] };
        let table = [
            ("data", Message { kind: 16, flags: 0, sequence: 1, body: vec![] }, None),
            ("acknowledged", error(0, 0, &quoted(20, &[])), Some((None, None))),
            ("end of a dump", plain(DONE), Some((None, None))),
            ("end without a body", Message { body: vec![], ..plain(DONE) }, Some((None, None))),
            ("refused", error(-17, 0, &quoted(20, &[])), Some((Some(Errno::EXIST), None))),
            (
                "in words",
                error(-95, CAPPED | HAS_ATTRIBUTES, &quoted(999, &words)),
                Some((Some(Errno::OPNOTSUPP), said())),
            ),
            (
                "with the message quoted",
                error(-95, HAS_ATTRIBUTES, &quoted(18, &[&[9, 9, 0, 0], words.as_slice()].concat())),
                Some((Some(Errno::OPNOTSUPP), said())),
            ),
            (
                "quoted beyond its end",
                error(-95, HAS_ATTRIBUTES, &quoted(u32::MAX, &words)),
                Some((Some(Errno::OPNOTSUPP), None)),
            ),
            ("an errno that is none", error(i32::MIN, 0, &[]), Some((Some(Errno::IO), None))),
        ];
        for (name, message, expected) in table {
            assert_eq!(message.outcome(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let mut requests = Requests::default();
        requests.push(18, DUMP, &[1, 2, 3], "one");
        requests.push(19, CREATE, &[4], "two");
        let bytes = requests.bytes();
        assert_eq!((bytes.len(), requests.asked(1), requests.asked(2)), (40, "two", ""));
        let found = messages(bytes);
        assert_eq!(
            found.iter().map(|found| (found.kind, found.flags)).collect::<Vec<_>>(),
            [(18, 0x301), (19, 0x405)]
        );
        assert_eq!(
            found.iter().map(|found| found.body.clone()).collect::<Vec<_>>(),
            [vec![1, 2, 3], vec![4]]
        );
        for (length, expected) in [(0, 0), (15, 0), (18, 0), (19, 1), (20, 1), (36, 1), (37, 2)] {
            assert_eq!(messages(&bytes[..length]).len(), expected, "{length}");
        }
        let (numbered, count, acknowledged) = number(bytes, 7).unwrap();
        assert_eq!((count, acknowledged), (2, Some(1)));
        assert_eq!(messages(&numbered).iter().map(|found| found.sequence).collect::<Vec<_>>(), [7, 8]);
        for bad in [&bytes[..18], &[8, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(number(bad, 1), None);
        }
    }

    #[test]
    fn attributes_come_back() {
        let mut bytes = Vec::new();
        attribute(&mut bytes, 3, b"lo\0");
        nested(&mut bytes, 18, |inner| attribute(inner, 1, b"veth"));
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [(3, b"lo\0".as_slice()), (18, b"\x08\0\x01\0veth".as_slice())]);
        // Lengths that lie end the list.
        for lie in [[3, 0, 1, 0], [0, 0, 1, 0], [255, 255, 1, 0]] {
            assert_eq!(attributes(&lie).count(), 0, "{lie:?}");
        }
    }
}
