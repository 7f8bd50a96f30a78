//! The program by which the kernel throws away, before we are woken, all frames but the few that are ours to answer (classic BPF,
//! linux/filter.h).

use super::frame::{SERVER_V4, SERVER_V6};
use crate::sys::seccomp::SockFilter;

// Instructions, of linux/bpf_common.h.
pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE: u16 = 0x30;
pub(super) const LOAD_HALF_AT_X: u16 = 0x48;
/// X = 4 * (byte & 0xf): the length of an IPv4 header.
pub(super) const LOAD_X_HEADER: u16 = 0xb1;
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_BITS: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// Where the last two instructions are.
const NO: u8 = 21;
const YES: u8 = 22;

const fn load(code: u16, offset: u32) -> SockFilter {
    SockFilter { code, jt: 0, jf: 0, k: offset }
}

/// The instruction `at`: goes to `then` if the accumulator is `value`, else to `otherwise`.
const fn branch(at: u8, code: u16, value: u32, then: u8, otherwise: u8) -> SockFilter {
    SockFilter { code, jt: then - at - 1, jf: otherwise - at - 1, k: value }
}

/// Passes what `mac` sends to a DHCP server, and its router solicitations. Offsets are those of a frame: Ethernet's header has 14
/// bytes, and IPv6's has 40.
pub fn program(mac: [u8; 6]) -> [SockFilter; 23] {
    let [a, b, c, d, e, f] = mac;
    let (high, low) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([0, 0, e, f]));
    [
        load(LOAD_WORD, 6),
        branch(1, IF_EQUAL, high, 2, NO),
        load(LOAD_HALF, 10),
        branch(3, IF_EQUAL, low, 4, NO),
        load(LOAD_HALF, 12),
        branch(5, IF_EQUAL, 0x0800, 6, 13),
        // IPv4: UDP, no fragment but the first, the port behind a header of any length.
        load(LOAD_BYTE, 23),
        branch(7, IF_EQUAL, 17, 8, NO),
        load(LOAD_HALF, 20),
        branch(9, IF_BITS, 0x1fff, NO, 10),
        load(LOAD_X_HEADER, 14),
        load(LOAD_HALF_AT_X, 16),
        branch(12, IF_EQUAL, SERVER_V4 as u32, YES, NO),
        branch(13, IF_EQUAL, 0x86dd, 14, NO),
        // IPv6: ICMPv6's type, or UDP's port.
        load(LOAD_BYTE, 20),
        branch(15, IF_EQUAL, 58, 16, 18),
        load(LOAD_BYTE, 54),
        branch(17, IF_EQUAL, 133, YES, NO),
        branch(18, IF_EQUAL, 17, 19, NO),
        load(LOAD_HALF, 56),
        branch(20, IF_EQUAL, SERVER_V6 as u32, YES, NO),
        load(RETURN, 0),
        load(RETURN, 0xffff),
    ]
}
