//! Messages of the domain name system (RFC 1035, 4; RFC 6891): questions are read, answers of ours are written, and answers of
//! others are held against the question. Nothing else of a message is looked into.

use std::net::IpAddr;

use super::name::Name;

/// A message is not shorter (RFC 1035, 4.1.1).
const HEADER: usize = 12;

/// What every client takes over UDP (RFC 1035, 2.3.4).
pub const PLAIN_SIZE: usize = 512;

/// What we say to take over UDP, and the most we send: fits one packet on every path (DNS Flag Day 2020).
pub const UDP_SIZE: usize = 1232;

/// Types of records (IANA, DNS Parameters).
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// The start of a zone.
    pub const SOA: u16 = 6;
    /// A name for another one, as of addresses.
    pub const PTR: u16 = 12;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// What EDNS adds to a message (RFC 6891).
    pub const OPT: u16 = 41;
    /// The first and the last but one of kinds that are asked only: transfers of zones and mailbox records.
    pub const TRANSFERS: std::ops::RangeInclusive<u16> = 251..=254;
    /// Any.
    pub const ANY: u16 = 255;
}

/// The class of the internet.
pub const INTERNET: u16 = 1;

/// What comes of a question (RFC 1035, 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// It is answered, if only by nothing.
    NoError = 0,
    /// It is none.
    FormatError = 1,
    /// The server could not find out.
    ServerFailure = 2,
    /// There is no such name.
    NoName = 3,
    /// The server does not know the kind of question.
    NotImplemented = 4,
    /// It does not want to answer.
    Refused = 5,
}

/// A question that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which the answer is to have.
    pub id: u16,
    /// What is asked.
    pub question: Question,
    /// Where the question ends in the message.
    end: usize,
    /// Bits of the header that the answer repeats: recursion desired, checking disabled.
    repeated: u16,
    /// EDNS, where the client has it.
    pub edns: Option<Edns>,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type of record.
    pub kind: u16,
    /// The class.
    pub class: u16,
}

/// What a client says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// Bytes that it takes over UDP.
    pub size: u16,
    /// Where this stands in the message.
    size_at: usize,
    version: u8,
    /// It wants records of DNSSEC.
    dnssec: bool,
}

/// A message that is no question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Nothing to be answered.
    Nothing,
    /// To be answered by this, its header alone.
    Answer(Code),
}

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_AVAILABLE: u16 = 0x0080;
const REPEATED: u16 = 0x0110;

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Query {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is no question that can be answered or passed on.
    pub fn parse(message: &[u8]) -> Result<Self, Unfit> {
        let word = |at| number(message, at);
        let (Some(id), Some(flags), Some(questions)) = (word(0), word(2), word(4)) else {
            return Err(Unfit::Nothing);
        };
        if message.len() < HEADER || flags & RESPONSE != 0 {
            return Err(Unfit::Nothing);
        }
        if flags & OPCODE != 0 {
            return Err(Unfit::Answer(Code::NotImplemented));
        }
        if questions != 1 || word(6) != Some(0) {
            return Err(Unfit::Answer(Code::FormatError));
        }
        let question = Name::read(message, HEADER)
            .and_then(|(name, at)| Some((Question { name, kind: word(at)?, class: word(at + 2)? }, at + 4)));
        let (question, end) = question.ok_or(Unfit::Answer(Code::FormatError))?;
        let edns = find_edns(message, end).ok_or(Unfit::Answer(Code::FormatError))?;
        Ok(Self { id, question, end, repeated: flags & REPEATED, edns })
    }

    /// The most that the client takes over UDP.
    pub fn size(&self) -> usize {
        self.edns.map_or(PLAIN_SIZE, |edns| usize::from(edns.size).clamp(PLAIN_SIZE, UDP_SIZE))
    }

    /// EDNS of a version that nobody knows (RFC 6891, 6.1.3).
    pub fn has_unknown_edns(&self) -> bool {
        self.edns.is_some_and(|edns| edns.version != 0)
    }

    /// `message`, which this was read from, to be asked with another id, and with no more to be sent over UDP than goes through
    /// everywhere.
    pub fn forwarded(&self, message: &[u8], id: u16) -> Vec<u8> {
        let mut bytes = message.to_vec();
        put(&mut bytes, 0, id);
        if let Some(edns) = self.edns {
            let size = usize::from(edns.size).min(UDP_SIZE);
            put(&mut bytes, edns.size_at, u16::try_from(size).unwrap_or(u16::MAX));
        }
        bytes
    }

    /// The message without what is after the question.
    pub fn question_bytes<'m>(&self, message: &'m [u8]) -> &'m [u8] {
        message.get(HEADER..self.end).unwrap_or_default()
    }

    /// An answer of ours to `message`, which this was read from.
    pub fn answer(&self, message: &[u8], answer: &Answer) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PLAIN_SIZE);
        let authoritative = if answer.ours { AUTHORITATIVE } else { 0 };
        let flags = RESPONSE | RECURSION_AVAILABLE | authoritative | self.repeated;
        let code = if answer.bad_version { 0 } else { answer.code as u16 };
        let authority = answer.zone.iter().len();
        let counts = [1, answer.records.len(), authority, self.edns.iter().len()];
        bytes.extend(self.id.to_be_bytes());
        bytes.extend((flags | code).to_be_bytes());
        counts.iter().for_each(|count| bytes.extend(u16::try_from(*count).unwrap_or(u16::MAX).to_be_bytes()));
        bytes.extend(self.question_bytes(message));
        for record in &answer.records {
            // The name of the question, with its letters as they are there.
            bytes.extend([0xc0, 0x0c]);
            record.write(&mut bytes);
        }
        if let Some(zone) = &answer.zone {
            zone.write(&mut bytes);
        }
        if let Some(edns) = self.edns {
            edns.write(&mut bytes, answer.bad_version);
        }
        bytes
    }
}

impl Edns {
    /// Ours, to who has it.
    fn write(self, bytes: &mut Vec<u8>, bad_version: bool) {
        bytes.push(0);
        bytes.extend(kind::OPT.to_be_bytes());
        bytes.extend(u16::try_from(UDP_SIZE).unwrap_or(u16::MAX).to_be_bytes());
        // BADVERS, 16, has its upper bits here (RFC 6891, 6.1.3).
        bytes.extend([u8::from(bad_version), 0, u8::from(self.dnssec) << 7, 0, 0, 0]);
    }
}

fn put(bytes: &mut [u8], at: usize, number: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&number.to_be_bytes());
    }
}

/// EDNS in the additional records, which begin at `at`, after no answers. `None` if the message is broken.
fn find_edns(message: &[u8], mut at: usize) -> Option<Option<Edns>> {
    let records = u32::from(number(message, 8)?) + u32::from(number(message, 10)?);
    let mut found = None;
    for _ in 0..records {
        let root = message.get(at) == Some(&0);
        at = Name::skip(message, at)?;
        let length = usize::from(number(message, at + 8)?);
        if number(message, at)? == kind::OPT {
            // One at most, of the root (RFC 6891, 6.1.1).
            if found.is_some() || !root {
                return None;
            }
            let dnssec = message.get(at + 6)? & 0x80 != 0;
            let (size, version) = (number(message, at + 2)?, *message.get(at + 5)?);
            found = Some(Edns { size, size_at: at + 2, version, dnssec });
        }
        at += 10 + length;
        if at > message.len() {
            return None;
        }
    }
    Some(found)
}

/// What we say to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What comes of it.
    pub code: Code,
    /// Of the name that was asked for.
    pub records: Vec<Record>,
    /// The zone in which there is nothing more.
    pub zone: Option<Zone>,
    /// We know, and have it from nobody.
    pub ours: bool,
    bad_version: bool,
}

impl Answer {
    /// One without records.
    pub fn code(code: Code) -> Self {
        Self { code, records: Vec::new(), zone: None, ours: false, bad_version: false }
    }

    /// To EDNS of another version.
    pub fn bad_version() -> Self {
        Self { bad_version: true, ..Self::code(Code::NoError) }
    }
}

/// A record of the name that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub data: Data,
    /// Seconds that it may be remembered.
    pub ttl: u32,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// PTR.
    Pointer(Name),
}

impl Record {
    /// Its type.
    pub fn kind(&self) -> u16 {
        match self.data {
            Data::Address(IpAddr::V4(_)) => kind::A,
            Data::Address(IpAddr::V6(_)) => kind::AAAA,
            Data::Pointer(_) => kind::PTR,
        }
    }

    /// All of it but the name.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let data = match &self.data {
            Data::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Data::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Data::Pointer(name) => name.wire().to_vec(),
        };
        write_record(bytes, self.kind(), self.ttl, &data);
    }
}

/// What says how long it may be remembered that there is nothing (RFC 2308).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The zone's own name.
    pub name: Name,
    /// Seconds.
    pub ttl: u32,
}

impl Zone {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.name.wire());
        // MNAME and RNAME are the zone and the root: there is no other server, and nobody to write to. Then serial, refresh, retry,
        // expire, which nobody follows, and the time for what is not there.
        let mut data = [self.name.wire(), &[0]].concat();
        [1, 3600, 600, 86400, self.ttl].iter().for_each(|number| data.extend(u32::to_be_bytes(*number)));
        write_record(bytes, kind::SOA, self.ttl, &data);
    }
}

fn write_record(bytes: &mut Vec<u8>, kind: u16, ttl: u32, data: &[u8]) {
    bytes.extend(kind.to_be_bytes());
    bytes.extend(INTERNET.to_be_bytes());
    bytes.extend(ttl.to_be_bytes());
    bytes.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(data);
}

/// An answer of the header alone to what is no question.
pub fn unfit_answer(message: &[u8], code: Code) -> Vec<u8> {
    let flags = number(message, 2).unwrap_or_default() & (OPCODE | REPEATED);
    let mut bytes = message.get(..2).unwrap_or(&[0, 0]).to_vec();
    bytes.extend((RESPONSE | flags | code as u16).to_be_bytes());
    bytes.resize(HEADER, 0);
    bytes
}

/// What came back from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Not the answer to this question: to be taken as if it had not come (RFC 5452, 9.1).
    Foreign,
    /// It is; the server could not or did not want to.
    Failure,
    /// It is.
    Answer,
}

impl Reply {
    /// Holds `reply` against `asked`, the message that it should answer.
    pub fn of(asked: &[u8], reply: &[u8]) -> Self {
        let Ok(query) = Query::parse(asked) else { return Self::Foreign };
        let (Some(id), Some(flags), Some(questions)) = (number(reply, 0), number(reply, 2), number(reply, 4))
        else {
            return Self::Foreign;
        };
        if reply.len() < HEADER || id != query.id || flags & RESPONSE == 0 || flags & OPCODE != 0 {
            return Self::Foreign;
        }
        let code = flags & 15;
        // Some servers give no question back with what they did not understand.
        let same = questions == 1 && is_same_question(asked, reply, query.end);
        match code {
            0 | 3 if same => Self::Answer,
            0 | 3 => Self::Foreign,
            _ if same || questions == 0 => Self::Failure,
            _ => Self::Foreign,
        }
    }
}

/// Whether two messages have the same question, which ends at `end`: a name in other letters is the same (RFC 4343). Lengths of labels
/// are no letters.
fn is_same_question(one: &[u8], other: &[u8], end: usize) -> bool {
    let parts = |message: &'_ [u8]| {
        let (name, kind) = message.get(HEADER..end)?.split_last_chunk::<4>()?;
        Some((name.to_ascii_lowercase(), *kind))
    };
    parts(one).is_some_and(|parts_of_one| parts(other) == Some(parts_of_one))
}

/// `reply` for the client that asked with `id`, of which no more than `limit` bytes are sent: otherwise the question alone, to be
/// asked again over TCP.
pub fn returned(reply: &[u8], id: u16, asked: &[u8], limit: usize) -> Vec<u8> {
    let mut bytes = reply.to_vec();
    let query = Query::parse(asked).ok();
    let question = query.as_ref().map(|query| query.question_bytes(asked)).unwrap_or_default();
    if bytes.len() <= limit {
        // With the letters that the client knows.
        if let (Some(query), Some(place)) = (&query, bytes.get_mut(HEADER..HEADER + question.len()))
            && is_same_question(asked, reply, query.end)
        {
            place.copy_from_slice(question);
        }
    } else {
        let edns = query.as_ref().and_then(|query| query.edns);
        let flags = number(reply, 2).unwrap_or_default() | TRUNCATED;
        bytes.truncate(2);
        bytes.extend(flags.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())]);
        bytes.extend(question);
        if let Some(edns) = edns {
            edns.write(&mut bytes, false);
        }
    }
    put(&mut bytes, 0, id);
    bytes
}

#[cfg(test)]
mod tests;
