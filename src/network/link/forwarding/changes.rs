//! Is told by the kernel when a route comes or a switch for forwarding changes (rtnetlink(7)): an interface that leads to others
//! from now on, or somebody who makes this host a router.

use std::os::fd::{AsFd, BorrowedFd};

use crate::network::host::parse_route;
use crate::sys::SysResult;
use crate::sys::netlink::{Message, ROUTE, Socket};

/// RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF (linux/rtnetlink.h).
const GROUPS: [u32; 4] = [7, 11, 24, 25];

/// RTM_NEWNETCONF: the switches of an interface, or those for all, are these now.
const RTM_NEWNETCONF: u16 = 80;

/// Hears of them, in the network namespace that it was made in.
#[derive(Debug)]
pub struct ForwardingChanges(Socket);

impl ForwardingChanges {
    /// From now on.
    ///
    /// # Errors
    /// When there can be no such socket.
    pub fn follow() -> SysResult<Self> {
        let socket = Socket::open(ROUTE)?;
        GROUPS.iter().try_for_each(|group| socket.join(*group))?;
        Ok(Self(socket))
    }

    /// Whether there was one since the last time.
    pub fn any(&self) -> bool {
        let mut any = false;
        let all = self.0.drain(|message| any |= matters(message));
        any || !all
    }
}

impl AsFd for ForwardingChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn matters(message: &Message) -> bool {
    let leads_on = || parse_route(message).is_some_and(|route| route.main && !route.is_link_local());
    message.kind == RTM_NEWNETCONF || leads_on()
}
