//! The table of addresses that no guest reaches.
//!
//! Only data. The first range that holds an address decides, so a narrower range
//! stands above the wider one that holds it. IPv6 is refused by default: its ranges
//! outside of `2000::/3` are listed for their reason only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::refusal::Reason;

/// A block of addresses and why it is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Range {
    /// The first address of the block.
    pub network: IpAddr,
    /// Leading bits that all its addresses share: 0 to 32, or 0 to 128.
    pub prefix: u8,
    /// Why nothing in it is reached.
    pub reason: Reason,
    /// The document that sets the block aside.
    pub source: &'static str,
}

impl Range {
    /// Whether `address` is in the block. An address of the other family never is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() == address.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

const fn v4(octets: [u8; 4], prefix: u8, reason: Reason, source: &'static str) -> Range {
    let [a, b, c, d] = octets;
    Range { network: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix, reason, source }
}

const fn v6(segments: [u16; 8], prefix: u8, reason: Reason, source: &'static str) -> Range {
    let [a, b, c, d, e, f, g, h] = segments;
    Range { network: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix, reason, source }
}

/// IPv4: everything else is reachable. After the IANA special-purpose registry (RFC 6890
/// and its successors), and the addresses by which clouds talk to their machines.
pub const IPV4_REFUSED: &[Range] = &[
    v4([169, 254, 169, 254], 32, Reason::Metadata, "instance metadata of most clouds"),
    v4([100, 100, 100, 200], 32, Reason::Metadata, "instance metadata of Alibaba Cloud"),
    v4([192, 0, 0, 192], 32, Reason::Metadata, "instance metadata of Oracle Cloud"),
    v4([168, 63, 129, 16], 32, Reason::Metadata, "host channel of Azure"),
    v4([0, 0, 0, 0], 8, Reason::Unspecified, "RFC 791"),
    v4([10, 0, 0, 0], 8, Reason::Private, "RFC 1918"),
    v4([100, 64, 0, 0], 10, Reason::Private, "RFC 6598"),
    v4([127, 0, 0, 0], 8, Reason::Loopback, "RFC 1122"),
    v4([169, 254, 0, 0], 16, Reason::LinkLocal, "RFC 3927"),
    v4([172, 16, 0, 0], 12, Reason::Private, "RFC 1918"),
    v4([192, 0, 0, 0], 24, Reason::Reserved, "RFC 6890"),
    v4([192, 0, 2, 0], 24, Reason::Reserved, "RFC 5737"),
    v4([192, 88, 99, 0], 24, Reason::Translation, "RFC 7526"),
    v4([192, 168, 0, 0], 16, Reason::Private, "RFC 1918"),
    v4([198, 18, 0, 0], 15, Reason::Reserved, "RFC 2544"),
    v4([198, 51, 100, 0], 24, Reason::Reserved, "RFC 5737"),
    v4([203, 0, 113, 0], 24, Reason::Reserved, "RFC 5737"),
    v4([224, 0, 0, 0], 4, Reason::Multicast, "RFC 5771"),
    v4([255, 255, 255, 255], 32, Reason::Multicast, "RFC 919"),
    v4([240, 0, 0, 0], 4, Reason::Reserved, "RFC 1112"),
];

/// IPv6 that is refused. Addresses that no range holds are refused too, unless they are
/// in [`IPV6_GLOBAL`]. IPv4-mapped addresses are not here: they are judged, and
/// connected to, as the IPv4 addresses that they are.
pub const IPV6_REFUSED: &[Range] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, Reason::Unspecified, "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Reason::Loopback, "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, Reason::Translation, "RFC 4291, IPv4-compatible"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, Reason::Translation, "RFC 2765, SIIT"),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Reason::Translation, "RFC 6052, NAT64"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Reason::Translation, "RFC 8215, local NAT64"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Reason::Reserved, "RFC 6666, discard only"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, Reason::Translation, "RFC 4380, Teredo"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Reason::Reserved, "RFC 2928, protocol assignments"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Reason::Reserved, "RFC 3849, documentation"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Reason::Translation, "RFC 3056, 6to4"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, Reason::Reserved, "RFC 7534, AS112"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Reason::Reserved, "RFC 9637, documentation"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, Reason::Reserved, "RFC 9602, segment routing"),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128, Reason::Metadata, "instance metadata of AWS"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Reason::Private, "RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Reason::LinkLocal, "RFC 4291"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Reason::Private, "RFC 3879, site-local"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, Reason::Multicast, "RFC 4291"),
];

/// The only part of IPv6 that is handed out for global unicast (RFC 4291, 2.4).
pub const IPV6_GLOBAL: Range = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Reason::Reserved, "RFC 4291");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_blocks_and_none_hides_a_later_one() {
        for table in [IPV4_REFUSED, IPV6_REFUSED] {
            for (index, range) in table.iter().enumerate() {
                assert!(range.contains(range.network), "{range:?} has bits behind its prefix");
                let hidden = table[..index]
                    .iter()
                    .find(|earlier| earlier.contains(range.network) && earlier.prefix <= range.prefix);
                assert_eq!(hidden, None, "hides {range:?}");
            }
        }
    }
}
