//! Talks to the kernel: carries out batches, and lists what is there.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::attribute::{Attributes, Writer};
use super::batch::{Batch, message};
use super::dump::{Chain, Element, Rule, TableName};
use super::error::NftError;
use super::number::{DUMP, Family, GROUP, Message, REQUEST, SUBSYSTEM};
use crate::sys::netlink::{self, NETFILTER, Socket};

/// `struct nfgenmsg` is at the head of each message.
const HEADER: usize = 4;

/// NFPROTO_UNSPEC: whatever the family.
const ANY: u8 = 0;

/// A socket to nf_tables of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Nfnetlink {
    socket: Socket,
}

impl Nfnetlink {
    /// Opens one.
    ///
    /// # Errors
    /// On kernels without nfnetlink.
    pub fn open() -> Result<Self, NftError> {
        Ok(Self { socket: Socket::open(NETFILTER).map_err(NftError::Socket)? })
    }

    /// Does all that `batch` asks for, or nothing.
    ///
    /// # Errors
    /// The first refusal; [`NftError::Changed`] if the rule set is not that of the batch's generation.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), NftError> {
        if batch.is_empty() {
            return Ok(());
        }
        let answers = self.socket.exchange(&batch.finish()?).map_err(NftError::Socket)?;
        let Some(refusal) = answers.refusals.first() else { return Ok(()) };
        // ERESTART is not for user space, but what the kernel says to another generation (nfnetlink_rcv_batch()).
        const ERESTART: i32 = 85;
        if refusal.errno.raw_os_error() == ERESTART {
            return Err(NftError::Changed);
        }
        let asked = batch.asked(u32::try_from(refusal.index).unwrap_or(u32::MAX)).unwrap_or("do that");
        let words = refusal.text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
        Err(NftError::Refused { asked: format!("{asked}{words}"), errno: refusal.errno })
    }

    /// The generation of the rule set: each change by anybody makes another one.
    ///
    /// # Errors
    /// On kernels without nf_tables.
    pub fn generation(&mut self) -> Result<u32, NftError> {
        let answers = self.ask(Message::GetGeneration, ANY, 0, "ask for the generation", |_| {})?;
        answers.first().and_then(|body| body_attributes(body).number(1)).ok_or(NftError::Answer)
    }

    /// All tables.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub fn tables(&mut self) -> Result<Vec<TableName>, NftError> {
        let answers = self.ask(Message::GetTable, ANY, DUMP, "list tables", |_| {})?;
        Ok(answers.iter().filter_map(|body| TableName::read(family(body)?, body_attributes(body))).collect())
    }

    /// All chains of all tables.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub fn chains(&mut self) -> Result<Vec<Chain>, NftError> {
        let answers = self.ask(Message::GetChain, ANY, DUMP, "list chains", |_| {})?;
        Ok(answers.iter().filter_map(|body| Chain::read(family(body)?, body_attributes(body))).collect())
    }

    /// The rules of a table, or of one of its chains, in their order; none if it is not there.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub fn rules(&mut self, of: Family, table: &str, chain: Option<&str>) -> Result<Vec<Rule>, NftError> {
        let asked = format!("list rules of {of} {table}");
        let answers = self.ask(Message::GetRule, of.number(), DUMP, &asked, |writer| {
            writer.string(1, table);
            if let Some(chain) = chain {
                writer.string(2, chain);
            }
        });
        let rules = none_if_gone(answers)?;
        let rules = rules.iter().filter_map(|body| Rule::read(family(body)?, body_attributes(body)));
        // Kernels before 4.20 list all chains whatever was asked.
        Ok(rules
            .filter(|rule| rule.table == table && chain.is_none_or(|chain| rule.chain == chain))
            .collect())
    }

    /// The elements of a set; none if it is not there.
    ///
    /// # Errors
    /// When the kernel does not list them.
    pub fn elements(&mut self, of: Family, table: &str, set: &str) -> Result<Vec<Element>, NftError> {
        let asked = format!("list elements of {of} {table} {set}");
        let answers = self.ask(Message::GetSetElement, of.number(), DUMP, &asked, |writer| {
            writer.string(1, table);
            writer.string(2, set);
        });
        let lists = none_if_gone(answers)?;
        Ok(lists.iter().flat_map(|body| Element::read_list(body_attributes(body))).collect())
    }

    fn ask(
        &mut self,
        what: Message,
        family: u8,
        flags: u16,
        asked: &str,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Vec<Vec<u8>>, NftError> {
        /// A list that changes each time is as good as any.
        const TRIES: usize = 8;
        let mut writer = Writer::default();
        write(&mut writer);
        let attributes = writer.finish().ok_or_else(|| NftError::TooLong(asked.to_owned()))?;
        let request = message(what.kind(), family, 0, REQUEST | flags, 0, &attributes);
        let mut answers = self.socket.exchange(&request).map_err(NftError::Socket)?;
        for _ in 1..TRIES {
            if !answers.interrupted {
                break;
            }
            answers = self.socket.exchange(&request).map_err(NftError::Socket)?;
        }
        match answers.refusals.first() {
            Some(refusal) => Err(NftError::Refused { asked: asked.to_owned(), errno: refusal.errno }),
            None => Ok(answers.messages.into_iter().map(|message| message.body).collect()),
        }
    }
}

/// Hears of changes to the rule set, by whomever.
#[derive(Debug)]
pub struct Changes {
    socket: Socket,
}

impl Changes {
    /// From now on.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN.
    pub fn follow() -> Result<Self, NftError> {
        let socket = Socket::open(NETFILTER).map_err(NftError::Socket)?;
        socket.join(GROUP).map_err(NftError::Socket)?;
        Ok(Self { socket })
    }

    /// Whether there was one since the last time. All that was said of it is read, and left at that: what it came to is
    /// asked afterwards.
    pub fn any(&self) -> bool {
        /// As many reads at a time: who changes rules without an end does not keep us from all else.
        const READS: usize = 4096;
        let mut any = false;
        for _ in 0..READS {
            match self.socket.receive() {
                Ok(None) => break,
                Ok(Some(messages)) => any |= messages.iter().any(is_change),
                // Some were lost.
                Err(_) => any = true,
            }
        }
        any
    }
}

impl AsFd for Nfnetlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_change(message: &netlink::Message) -> bool {
    message.kind >> 8 == SUBSYSTEM
}

fn none_if_gone(answers: Result<Vec<Vec<u8>>, NftError>) -> Result<Vec<Vec<u8>>, NftError> {
    match answers {
        Err(NftError::Refused { errno: Errno::NOENT, .. }) => Ok(Vec::new()),
        answers => answers,
    }
}

fn family(body: &[u8]) -> Option<Family> {
    Family::of(*body.first()?)
}

fn body_attributes(body: &[u8]) -> Attributes<'_> {
    Attributes(body.get(HEADER..).unwrap_or_default())
}
