//! Tables, chains, sets, elements and rules, as they are asked for. Each says what it is, for who reads of its refusal.

use super::attribute::Writer;
use super::batch::Batch;
use super::expression::Expression;
use super::number::{APPEND, CREATE, DATA_VALUE, EXCLUSIVE, Family, LIST_ELEMENT, Message};

/// What lists of rules show beside an object: type and length in a byte each, then the text with its NUL
/// (libnftnl/udata.h).
fn comment(writer: &mut Writer, attribute: u16, kind: u8, text: &str) {
    if let Some(bytes) = userdata(kind, text) {
        writer.bytes(attribute, &bytes);
    }
}

fn userdata(kind: u8, text: &str) -> Option<Vec<u8>> {
    // NFTNL_UDATA_COMMENT_MAXLEN is 128.
    let length = u8::try_from(text.len() + 1).ok().filter(|length| *length <= 128)?;
    let mut bytes = vec![kind, length];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    Some(bytes)
}

/// A table, by family and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: &'static str,
}

impl Table {
    /// Makes it unless it is there.
    pub fn add(self, batch: &mut Batch, text: &str) {
        self.make(batch, text, CREATE);
    }

    /// Makes it where there is none.
    pub fn add_new(self, batch: &mut Batch, text: &str) {
        self.make(batch, text, CREATE | EXCLUSIVE);
    }

    fn make(self, batch: &mut Batch, text: &str, flags: u16) {
        let asked = format!("add table {} {}", self.family, self.name);
        batch.push(Message::NewTable, self.family, flags, asked, |writer| {
            writer.string(1, self.name);
            writer.u32(2, 0);
            comment(writer, 6, 0, text);
        });
    }

    /// Removes it with all that is in it.
    pub fn delete(self, batch: &mut Batch) {
        let asked = format!("delete table {} {}", self.family, self.name);
        batch.push(Message::DelTable, self.family, 0, asked, |writer| writer.string(1, self.name));
    }
}

/// Where a base chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// The hook's number.
    pub number: u32,
    /// Lower comes first.
    pub priority: i32,
}

/// A chain of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where it is called; `None`: by other chains.
    pub hook: Option<Hook>,
    /// What lists show beside it.
    pub comment: &'static str,
}

impl Chain {
    /// Makes it in `table`. What comes to its end is accepted.
    pub fn add(&self, table: Table, batch: &mut Batch) {
        let asked = format!("add chain {} {} {}", table.family, table.name, self.name);
        batch.push(Message::NewChain, table.family, CREATE, asked, |writer| {
            writer.string(1, table.name);
            writer.string(3, self.name);
            if let Some(hook) = self.hook {
                writer.string(7, hook.kind);
                writer.u32(5, super::number::ACCEPT);
                writer.nested(4, |inner| {
                    inner.u32(1, hook.number);
                    inner.u32(2, hook.priority.cast_unsigned());
                });
            }
            if !self.comment.is_empty() {
                comment(writer, 12, 0, self.comment);
            }
        });
    }
}

/// Types of keys and values, with the numbers that nft knows them by (`enum datatypes` of nftables).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "nft's names")]
pub enum DataType {
    Ipv4,
    Ipv6,
    Ether,
    Protocol,
    Service,
    Ifname,
    /// Bytes of a packet without a type of their own; this many.
    Raw(u8),
}

impl DataType {
    fn number(self) -> u32 {
        match self {
            Self::Raw(_) => 4,
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Ether => 9,
            Self::Protocol => 12,
            Self::Service => 13,
            Self::Ifname => 41,
        }
    }

    /// Bytes of one.
    pub fn length(self) -> usize {
        match self {
            Self::Protocol => 1,
            Self::Service => 2,
            Self::Ipv4 => 4,
            Self::Ether => 6,
            Self::Ipv6 | Self::Ifname => 16,
            Self::Raw(length) => length.into(),
        }
    }

    /// Bytes that one takes in a row of several.
    pub fn padded(self) -> usize {
        self.length().next_multiple_of(4)
    }

    /// nft's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Ether => "ether_addr",
            Self::Protocol => "inet_proto",
            Self::Service => "inet_service",
            Self::Ifname => "ifname",
            Self::Raw(_) => "integer",
        }
    }
}

/// Number and length of a row of types: 6 bits each (`concat_subtype_add()` of nftables).
fn row(types: &[DataType]) -> (u32, u32) {
    let number = types.iter().fold(0, |number, one| number << 6 | one.number());
    let length = match types {
        [one] => one.length(),
        _ => types.iter().map(|one| one.padded()).sum(),
    };
    (number, u32::try_from(length).unwrap_or_default())
}

/// A set, or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// Of what its keys are.
    pub key: &'static [DataType],
    /// Of what its values are, if it is a map.
    pub data: &'static [DataType],
    /// Where keys have no type that a word names: how nft describes what they come from (NFTNL_UDATA_SET_KEY_TYPEOF).
    pub key_typeof: &'static [u8],
    /// What lists show beside it.
    pub comment: &'static str,
}

impl Set {
    /// Makes it in `table`; `id` is its number in this batch.
    pub fn add(&self, table: Table, id: u32, batch: &mut Batch) {
        // NFT_SET_MAP
        let flags = if self.data.is_empty() { 0 } else { 8 };
        let kind = if self.data.is_empty() { "set" } else { "map" };
        let asked = format!("add {kind} {} {} {}", table.family, table.name, self.name);
        batch.push(Message::NewSet, table.family, CREATE, asked, |writer| {
            writer.string(1, table.name);
            writer.string(2, self.name);
            writer.u32(3, flags);
            let (number, length) = row(self.key);
            writer.u32(4, number);
            writer.u32(5, length);
            if !self.data.is_empty() {
                let (number, length) = row(self.data);
                writer.u32(6, number);
                writer.u32(7, length);
            }
            writer.u32(10, id);
            writer.bytes(13, &self.userdata());
        });
    }

    fn userdata(&self) -> Vec<u8> {
        // NFTNL_UDATA_SET_KEYBYTEORDER: 0 where it is no matter, 1 the host's, 2 the network's.
        let order: u32 = match self.key {
            [DataType::Ifname] => 1,
            [_] => 2,
            _ => 0,
        };
        let mut bytes = vec![0, 4];
        bytes.extend_from_slice(&order.to_ne_bytes());
        if !self.data.is_empty() {
            // NFTNL_UDATA_SET_DATABYTEORDER
            bytes.extend_from_slice(&[1, 4, 0, 0, 0, 0]);
        }
        bytes.extend_from_slice(self.key_typeof);
        // NFTNL_UDATA_SET_COMMENT
        bytes.extend(userdata(7, self.comment).filter(|_| !self.comment.is_empty()).unwrap_or_default());
        bytes
    }
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its key, each part padded.
    pub key: Vec<u8>,
    /// Its value, in a map.
    pub data: Vec<u8>,
    /// What lists show beside it: whose it is.
    pub comment: String,
}

/// Elements go in messages of this many bytes: the length of an attribute has 16 bits.
const ELEMENTS: usize = 48 << 10;

/// Makes `elements` of `set`, those that are not there yet.
pub fn add_elements(table: Table, set: &str, elements: &[Element], batch: &mut Batch) {
    change_elements(Message::NewSetElement, table, set, elements, batch);
}

/// Removes `elements` of `set`: they must be there.
pub fn delete_elements(table: Table, set: &str, elements: &[Element], batch: &mut Batch) {
    change_elements(Message::DelSetElement, table, set, elements, batch);
}

fn change_elements(message: Message, table: Table, set: &str, elements: &[Element], batch: &mut Batch) {
    let adds = message == Message::NewSetElement;
    let verb = if adds { "add" } else { "delete" };
    let mut rest = elements;
    while let Some(first) = rest.first() {
        let asked = format!("{verb} element {} {} {set} of {}", table.family, table.name, first.comment);
        let mut fits = 0;
        batch.push(message, table.family, if adds { CREATE } else { 0 }, asked, |writer| {
            writer.string(1, table.name);
            writer.string(2, set);
            writer.nested(3, |list| {
                while let Some(element) = rest.get(fits).filter(|_| list.len() < ELEMENTS) {
                    list.nested(LIST_ELEMENT, |writer| {
                        writer.nested(1, |key| key.bytes(DATA_VALUE, &element.key));
                        if adds && !element.data.is_empty() {
                            writer.nested(2, |data| data.bytes(DATA_VALUE, &element.data));
                        }
                        if adds && !element.comment.is_empty() {
                            comment(writer, 6, 0, &element.comment);
                        }
                    });
                    fits += 1;
                }
            });
        });
        rest = rest.get(fits..).unwrap_or_default();
    }
}

/// Where in its chain a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    Head,
    /// After all others.
    End,
}

/// Adds a rule to a chain of any table.
pub fn add_rule(
    batch: &mut Batch,
    (family, table, chain): (Family, &str, &str),
    place: Place,
    expressions: &[Expression],
    text: &str,
) {
    let asked = format!("add a rule to {family} {table} {chain}");
    let flags = match place {
        Place::Head => CREATE,
        Place::End => CREATE | APPEND,
    };
    batch.push(Message::NewRule, family, flags, asked, |writer| {
        writer.string(1, table);
        writer.string(2, chain);
        writer.nested(4, |list| expressions.iter().for_each(|expression| expression.write(list)));
        if !text.is_empty() {
            comment(writer, 7, 0, text);
        }
    });
}

/// Removes the rule with this handle.
pub fn delete_rule(batch: &mut Batch, (family, table, chain): (Family, &str, &str), handle: u64) {
    let asked = format!("delete rule {handle} of {family} {table} {chain}");
    batch.push(Message::DelRule, family, 0, asked, |writer| {
        writer.string(1, table);
        writer.string(2, chain);
        writer.u64(3, handle);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those that `nft --debug=mnl` shows.
    #[test]
    fn rows_of_types_have_numbers() {
        use DataType::{Ether, Ifname, Ipv4, Protocol, Raw, Service};
        assert_eq!(row(&[Ifname]), (0x29, 16));
        assert_eq!(row(&[Ifname, Ether, Ipv4]), (0x29247, 28));
        assert_eq!(row(&[Ipv4, Protocol, Service]), (0x730d, 12));
        assert_eq!(row(&[Ipv4, Service]), (0x1cd, 8));
        assert_eq!(row(&[Ifname, Raw(16)]), (0xa44, 32));
    }

    #[test]
    fn comments_end_where_nft_reads_no_further() {
        assert_eq!(userdata(0, "web"), Some(vec![0, 4, b'w', b'e', b'b', 0]));
        assert!(userdata(0, &"x".repeat(127)).is_some());
        assert_eq!(userdata(0, &"x".repeat(128)), None);
    }

    #[test]
    fn many_elements_take_several_messages() {
        let table = Table { family: Family::Inet, name: "t" };
        let elements: Vec<Element> = (0..5000_u32)
            .map(|n| Element { key: n.to_be_bytes().to_vec(), data: Vec::new(), comment: "web".to_owned() })
            .collect();
        let mut batch = Batch::new(None);
        add_elements(table, "s", &elements, &mut batch);
        assert_eq!(batch.len(), 3);
        assert!(batch.finish().is_ok());
    }
}
