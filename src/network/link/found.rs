//! Links as the kernel describes them.

use rustix::io::Errno;

use crate::settings::network::{InterfaceName, MacAddress, ZoneName};
use crate::sys::netlink::{DUMP, Message, Requests, Socket, attributes};
use crate::sys::{SysError, SysResult};

use super::message::{
    GOING, GROUP, IFLA_ADDRESS, IFLA_GROUP, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO,
    IFLA_MASTER, RTM_GETLINK, RTM_NEWLINK, get, owned_by_machine, owned_by_zone,
};

/// A link of a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is, as `ip link add type` has it; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Its MAC address, if it has one of 6 bytes.
    pub mac: Option<MacAddress>,
    /// What it is a port of; 0 for nothing.
    pub master: u32,
    /// It is one of ours.
    pub ours: bool,
    /// What is written to it: of ours, whose it is.
    pub alias: String,
    /// It is one of ours and about to be removed.
    pub going: bool,
}

impl Found {
    pub(super) fn parse(message: &Message) -> Option<Self> {
        /// An ifinfomsg.
        const HEADER: usize = 16;
        if message.kind != RTM_NEWLINK {
            return None;
        }
        let index = u32::from_ne_bytes(*message.body.get(4..)?.first_chunk()?);
        let mut found = Self { index, ..Self::default() };
        for (kind, value) in attributes(message.body.get(HEADER..)?) {
            let number = || value.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            match kind {
                IFLA_IFNAME => found.name = text(value),
                IFLA_IFALIAS => found.alias = text(value),
                IFLA_ADDRESS => found.mac = value.try_into().ok().map(MacAddress),
                IFLA_MASTER => found.master = number(),
                IFLA_GROUP => {
                    found.going = number() == GOING;
                    found.ours = number() == GROUP || found.going;
                }
                IFLA_LINKINFO => {
                    let name = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                    found.kind = name.map(|(_, name)| text(name));
                }
                _ => {}
            }
        }
        Some(found)
    }

    /// It is one that `machine` has.
    pub(super) fn is_of(&self, machine: &str) -> bool {
        self.belongs_to(&owned_by_machine(machine))
    }

    /// It is the bridge of `zone`, of ours.
    pub(super) fn is_bridge_of(&self, zone: &ZoneName) -> bool {
        self.belongs_to(&owned_by_zone(zone))
    }

    /// Older versions wrote on no link whose it is.
    fn belongs_to(&self, owner: &str) -> bool {
        self.ours && (self.alias == owner || self.alias.is_empty())
    }

    /// It is loopback.
    pub fn is_loopback(&self) -> bool {
        self.name == "lo"
    }
}

/// The link `name`, if there is one.
///
/// # Errors
/// When the kernel does not say.
pub fn find(socket: &mut Socket, name: &InterfaceName) -> SysResult<Option<Found>> {
    Ok(ask(socket, name)?.as_ref().and_then(Found::parse))
}

/// What the kernel says of the link `name`.
pub(super) fn ask(socket: &mut Socket, name: &InterfaceName) -> SysResult<Option<Message>> {
    let mut requests = Requests::default();
    get(&mut requests, name);
    match socket.carry_out(&requests) {
        Ok(messages) => Ok(messages.into_iter().find(|message| message.kind == RTM_NEWLINK)),
        Err(error) if error.errno() == Errno::NODEV => Ok(None),
        Err(error) => Err(error),
    }
}

/// The link `name`, which must be there.
pub(super) fn expect(socket: &mut Socket, name: &InterfaceName) -> SysResult<Found> {
    find(socket, name)?.ok_or_else(|| SysError::new("rtnetlink", format!("RTM_GETLINK {name}"), Errno::NODEV))
}

/// All links.
///
/// # Errors
/// When the kernel does not list them.
pub fn all(socket: &mut Socket) -> SysResult<Vec<Found>> {
    Ok(list(socket)?.iter().filter_map(Found::parse).collect())
}

/// What the kernel says of all links.
pub(super) fn list(socket: &mut Socket) -> SysResult<Vec<Message>> {
    let mut requests = Requests::default();
    requests.push(RTM_GETLINK, DUMP, &[0; 16], "RTM_GETLINK");
    socket.dump(requests.bytes(), "RTM_GETLINK")
}

pub(super) fn text(value: &[u8]) -> String {
    let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}
