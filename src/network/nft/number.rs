//! Numbers of the kernel, by the names it has for them (linux/netfilter/nf_tables.h, nfnetlink.h and others).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Families of tables (NFPROTO_*, linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Both versions of IP.
    Inet,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// One device.
    Netdev,
    /// Bridges.
    Bridge,
}

impl Family {
    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Arp => 3,
            Self::Netdev => 5,
            Self::Bridge => 7,
            Self::Ip6 => 10,
        }
    }

    /// That with this number.
    pub fn of(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Arp, Self::Netdev, Self::Bridge, Self::Ip6]
            .into_iter()
            .find(|family| family.number() == number)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
        })
    }
}

/// NFNL_SUBSYS_NFTABLES.
pub const SUBSYSTEM: u16 = 10;
/// NFNL_MSG_BATCH_BEGIN.
pub const BATCH_BEGIN: u16 = 0x10;
/// NFNL_MSG_BATCH_END.
pub const BATCH_END: u16 = 0x11;
/// NFNL_BATCH_GENID.
pub const BATCH_GENERATION: u16 = 1;
/// NFNLGRP_NFTABLES, the multicast group of changes.
pub const GROUP: u32 = 7;

/// NFT_MSG_*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Message {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
    GetRule = 7,
    DelRule = 8,
    NewSet = 9,
    NewSetElement = 12,
    GetSetElement = 13,
    DelSetElement = 14,
    NewGeneration = 15,
    GetGeneration = 16,
}

impl Message {
    /// The type of a netlink message.
    pub fn kind(self) -> u16 {
        SUBSYSTEM << 8 | u16::from(self as u8)
    }
}

/// NLMSG_ERROR.
pub const ERROR: u16 = 2;
/// NLMSG_DONE.
pub const DONE: u16 = 3;
/// NLM_F_REQUEST.
pub const REQUEST: u16 = 1;
/// NLM_F_DUMP.
pub const DUMP: u16 = 0x300;
/// NLM_F_DUMP_INTR: what was dumped changed meanwhile.
pub const DUMP_INTERRUPTED: u16 = 0x10;
/// NLM_F_CREATE.
pub const CREATE: u16 = 0x400;
/// NLM_F_EXCL.
pub const EXCLUSIVE: u16 = 0x200;
/// NLM_F_APPEND.
pub const APPEND: u16 = 0x800;

/// NF_INET_PRE_ROUTING and NF_BR_PRE_ROUTING.
pub const PREROUTING: u32 = 0;
/// NF_INET_LOCAL_IN.
pub const INPUT: u32 = 1;
/// NF_INET_FORWARD and NF_BR_FORWARD.
pub const FORWARD: u32 = 2;
/// NF_INET_LOCAL_OUT.
pub const OUTPUT: u32 = 3;
/// NF_INET_POST_ROUTING and NF_BR_POST_ROUTING.
pub const POSTROUTING: u32 = 4;

/// NF_DROP.
pub const DROP: u32 = 0;
/// NF_ACCEPT.
pub const ACCEPT: u32 = 1;

/// NFTA_LIST_ELEM.
pub const LIST_ELEMENT: u16 = 1;
/// NFTA_DATA_VALUE.
pub const DATA_VALUE: u16 = 1;
/// NFTA_DATA_VERDICT.
pub const DATA_VERDICT: u16 = 2;
