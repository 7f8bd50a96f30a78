//! Expressions: what rules are made of. Encoded as `nft --debug=netlink` shows them, so that `nft list ruleset` prints
//! them as they would be typed.

use super::attribute::Writer;
use super::number::{DATA_VALUE, DATA_VERDICT, LIST_ELEMENT};

/// A register of 4 bytes, by its offset in words. Wider values take several in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u32);

impl Register {
    /// Its number: registers of 16 bytes have names of their own (`enum nft_registers`), which nft prefers.
    fn number(self) -> u32 {
        if self.0.is_multiple_of(4) { 1 + self.0 / 4 } else { 8 + self.0 }
    }
}

/// The register that verdicts go to (NFT_REG_VERDICT).
const VERDICT: u32 = 0;

/// Facts about packets that are not in them (`enum nft_meta_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Meta {
    Protocol = 1,
    Iifname = 6,
    Oifname = 7,
    Nfproto = 15,
    L4proto = 16,
    Pkttype = 19,
}

/// Facts about connections (`enum nft_ct_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Ct {
    State = 0,
    Status = 2,
}

/// Where offsets into packets count from (`enum nft_payload_bases`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Base {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// Comparisons (`enum nft_cmp_ops`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Compare {
    Equal = 0,
    Differ = 1,
    Less = 2,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on to the next hook.
    Accept,
    /// Is gone.
    Drop,
    /// Goes on in this chain and comes back.
    Jump(String),
    /// Goes on in this chain.
    Goto(String),
    /// Goes back to where the chain was called.
    Return,
}

impl Verdict {
    /// Its number, as the kernel has it: negative ones are nf_tables' own.
    fn code(&self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => (-3_i32).cast_unsigned(),
            Self::Goto(_) => (-4_i32).cast_unsigned(),
            Self::Return => (-5_i32).cast_unsigned(),
        }
    }
}

/// One step of a rule. A comparison that does not hold ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads a fact about the packet.
    Meta(Meta, Register),
    /// Loads a fact about its connection.
    Ct(Ct, Register),
    /// Loads a piece of it.
    Payload {
        /// From where.
        base: Base,
        /// Bytes to leave out.
        offset: u32,
        /// Bytes to load.
        length: u32,
        /// To where.
        to: Register,
    },
    /// Loads what follows the extension header of IPv6 with this number, if it has one.
    AfterExtension(u8, Register),
    /// Loads what kind of address the destination is to this host (RTN_*, linux/rtnetlink.h).
    DestinationType(Register),
    /// Loads a number below this one that nobody knows.
    Random(u32, Register),
    /// Turns a word of this host's byte order to the network's.
    ToNetwork(Register),
    /// Takes the bits of a register that are in the mask.
    Mask(Register, Vec<u8>),
    /// Goes on if the register compares so with the value.
    Compare(Register, Compare, Vec<u8>),
    /// Goes on if what is in registers from this one on is in the set; or is not, if inverted.
    Lookup {
        /// The set.
        set: String,
        /// The key.
        from: Register,
        /// For a map: where the value goes.
        to: Option<Register>,
        /// Whether it must not be there.
        inverted: bool,
    },
    /// Sets destination address and port.
    Dnat {
        /// NFPROTO_IPV4 or NFPROTO_IPV6.
        family: u32,
        /// The address.
        address: Register,
        /// The port.
        port: Register,
    },
    /// Sets the source address to that of the interface it leaves by.
    Masquerade,
    /// Drops it and tells the sender: administratively prohibited.
    Reject,
    /// Counts.
    Counter,
    /// Ends the rule.
    Verdict(Verdict),
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta(..) => "meta",
            Self::Ct(..) => "ct",
            Self::Payload { .. } => "payload",
            Self::AfterExtension(..) => "exthdr",
            Self::DestinationType(_) => "fib",
            Self::Random(..) => "numgen",
            Self::ToNetwork(_) => "byteorder",
            Self::Mask(..) => "bitwise",
            Self::Compare(..) => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Dnat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Reject => "reject",
            Self::Counter => "counter",
            Self::Verdict(_) => "immediate",
        }
    }

    /// Writes it as an element of a rule's list.
    pub fn write(&self, list: &mut Writer) {
        list.nested(LIST_ELEMENT, |element| {
            element.string(1, self.name());
            element.nested(2, |data| self.write_data(data));
        });
    }

    fn write_data(&self, data: &mut Writer) {
        match self {
            // Key and register, in the order that nft has them.
            Self::Meta(key, to) => {
                data.u32(2, u32::from(*key as u8));
                data.u32(1, to.number());
            }
            Self::Ct(key, to) => {
                data.u32(2, u32::from(*key as u8));
                data.u32(1, to.number());
            }
            Self::Payload { base, offset, length, to } => {
                data.u32(1, to.number());
                data.u32(2, u32::from(*base as u8));
                data.u32(3, *offset);
                data.u32(4, *length);
            }
            Self::AfterExtension(header, to) => {
                // NFTA_EXTHDR_DREG, _TYPE, _OFFSET, _LEN, _OP (NFT_EXTHDR_OP_IPV6), _FLAGS
                data.u32(1, to.number());
                data.bytes(2, &[*header]);
                data.u32(3, 0);
                data.u32(4, 1);
                data.u32(6, 0);
                data.u32(5, 0);
            }
            Self::DestinationType(to) => {
                // NFTA_FIB_DREG, NFT_FIB_RESULT_ADDRTYPE, NFTA_FIB_F_DADDR
                data.u32(1, to.number());
                data.u32(2, 3);
                data.u32(3, 2);
            }
            Self::Random(modulus, to) => {
                // NFTA_NG_DREG, _MODULUS, _TYPE (NFT_NG_RANDOM), _OFFSET
                data.u32(1, to.number());
                data.u32(2, *modulus);
                data.u32(3, 1);
                data.u32(4, 0);
            }
            Self::ToNetwork(register) => {
                // NFTA_BYTEORDER_SREG, _DREG, _OP (NFT_BYTEORDER_HTON), _LEN, _SIZE
                data.u32(1, register.number());
                data.u32(2, register.number());
                data.u32(3, 1);
                data.u32(4, 4);
                data.u32(5, 4);
            }
            Self::Mask(register, mask) => {
                data.u32(1, register.number());
                data.u32(2, register.number());
                data.u32(3, u32::try_from(mask.len()).unwrap_or_default());
                data.nested(4, |value| value.bytes(DATA_VALUE, mask));
                data.nested(5, |value| value.bytes(DATA_VALUE, &vec![0; mask.len()]));
            }
            Self::Compare(register, how, with) => {
                data.u32(1, register.number());
                data.u32(2, u32::from(*how as u8));
                data.nested(3, |value| value.bytes(DATA_VALUE, with));
            }
            Self::Lookup { set, from, to, inverted } => {
                data.u32(2, from.number());
                if let Some(to) = to {
                    data.u32(3, to.number());
                }
                data.string(1, set);
                if *inverted {
                    data.u32(5, 1);
                }
            }
            Self::Dnat { family, address, port } => {
                // NFTA_NAT_TYPE (NFT_NAT_DNAT), _FAMILY, _REG_ADDR_MIN, _REG_PROTO_MIN
                data.u32(1, 1);
                data.u32(2, *family);
                data.u32(3, address.number());
                data.u32(5, port.number());
            }
            Self::Masquerade | Self::Counter => {}
            Self::Reject => {
                // NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED
                data.u32(1, 2);
                data.bytes(2, &[3]);
            }
            Self::Verdict(verdict) => {
                data.u32(1, VERDICT);
                data.nested(2, |value| write_verdict(value, verdict));
            }
        }
    }
}

fn write_verdict(data: &mut Writer, verdict: &Verdict) {
    data.nested(DATA_VERDICT, |inner| {
        inner.u32(1, verdict.code());
        if let Verdict::Jump(chain) | Verdict::Goto(chain) = verdict {
            inner.string(2, chain);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(expression: &Expression) -> String {
        let mut writer = Writer::default();
        expression.write(&mut writer);
        let bytes = writer.finish().unwrap();
        // Without the headers of the element, of its name and of its data.
        let at = 4 + 4 + (expression.name().len() + 1).next_multiple_of(4) + 4;
        bytes[at..]
            .chunks(4)
            .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect::<Vec<String>>()
            .join(" ")
    }

    /// The bytes are those that `nft --debug=mnl` shows.
    #[test]
    fn expressions_are_written_as_nft_writes_them() {
        let table = [
            (Expression::Meta(Meta::Iifname, Register(0)), "08000200 00000006 08000100 00000001"),
            (Expression::Ct(Ct::Status, Register(0)), "08000200 00000002 08000100 00000001"),
            (
                Expression::Payload { base: Base::Network, offset: 12, length: 4, to: Register(6) },
                "08000100 0000000e 08000200 00000001 08000300 0000000c 08000400 00000004",
            ),
            (
                Expression::Compare(Register(0), Compare::Equal, vec![0x86, 0xdd]),
                "08000100 00000001 08000200 00000000 0c000380 06000100 86dd0000",
            ),
            (
                Expression::Lookup { set: "t".into(), from: Register(0), to: None, inverted: true },
                "08000200 00000001 06000100 74000000 08000500 00000001",
            ),
            (Expression::Verdict(Verdict::Drop), "08000100 00000000 10000280 0c000280 08000100 00000000"),
            (
                Expression::Verdict(Verdict::Goto("arp".into())),
                "08000100 00000000 18000280 14000280 08000100 fffffffc 08000200 61727000",
            ),
            (
                Expression::AfterExtension(44, Register(0)),
                "08000100 00000001 05000200 2c000000 08000300 00000000 08000400 00000001 08000600 00000000 08000500 00000000",
            ),
            (Expression::Counter, ""),
        ];
        for (expression, expected) in table {
            assert_eq!(hex(&expression), expected, "{expression:?}");
        }
    }

    #[test]
    fn registers_have_two_names() {
        let numbers: Vec<u32> = [0, 1, 3, 4, 6, 9].map(|word| Register(word).number()).to_vec();
        assert_eq!(numbers, [1, 9, 11, 2, 14, 17]);
    }
}
