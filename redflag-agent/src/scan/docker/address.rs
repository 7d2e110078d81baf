//! What kind of place an IP address is, for one that images are to be asked of.
//!
//! The ranges are those of IANA's registries of special-purpose addresses (RFC 6890, kept for IPv4 and IPv6 by IANA). An IPv6 address
//! that carries an IPv4 address is judged by what it carries: a translator or a tunnel would send us there.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Where clouds keep the secrets of a machine, outside the ranges that no registry has anyway: Azure, Alibaba, AWS and Google by IPv6.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];
const METADATA_V6: [Ipv6Addr; 2] = [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Whose an address is. Later ones are further from a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Anywhere on the Internet.
    Public,
    /// This host itself.
    Loopback,
    /// A network of one's own, or a range with a special purpose.
    Inside(&'static str),
    /// No place of a registry, whatever anybody says.
    Nowhere(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "this host itself",
            Self::Inside(what) | Self::Nowhere(what) => what,
        })
    }
}

impl Place {
    /// The place of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        if METADATA_V4.contains(&address) {
            return Self::Nowhere("a metadata service of a cloud");
        }
        match address.octets() {
            [0, ..] => Self::Nowhere("an unspecified address (RFC 1122)"),
            [169, 254, ..] => Self::Nowhere("a link-local address (RFC 3927)"),
            [224..=239, ..] => Self::Nowhere("a multicast address (RFC 5771)"),
            [255, 255, 255, 255] => Self::Nowhere("the broadcast address (RFC 919)"),
            [127, ..] => Self::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Self::Inside("a private address (RFC 1918)"),
            [100, 64..=127, ..] => Self::Inside("an address shared by a carrier's customers (RFC 6598)"),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Self::Inside("an address for documentation (RFC 5737)"),
            [198, 18..=19, ..] => Self::Inside("an address for benchmarks (RFC 2544)"),
            [192, 0, 0, _] | [192, 88, 99, _] => Self::Inside("an address of a protocol (RFC 6890)"),
            [240..=255, ..] => Self::Inside("a reserved address (RFC 1112)"),
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if METADATA_V6.contains(&address) {
            return Self::Nowhere("a metadata service of a cloud");
        }
        let (segments, octets) = (address.segments(), address.octets());
        let carried = |at: usize| Self::of_v4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]));
        match segments {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Nowhere("an unspecified address (RFC 4291)"),
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // Mapped (RFC 4291), and translated by the well-known prefix (RFC 6052), as DNS64 answers for public registries too.
            [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => carried(12),
            // 6to4.
            [0x2002, ..] => carried(2),
            // IPv4-compatible (RFC 4291), translated (RFC 2765), and by a network's own prefix, which ends in the address at /96.
            [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 1, ..] => {
                carried(12).max(Self::Inside("an address of a translator (RFC 8215)"))
            }
            // Teredo carries the client's address with its bits turned over.
            [0x2001, 0, ..] => {
                let client = Ipv4Addr::from(!u32::from_be_bytes([octets[12], octets[13], octets[14], octets[15]]));
                Self::of_v4(client).max(Self::Inside("an address of a tunnel (RFC 4380)"))
            }
            [0xfe80..=0xfebf, ..] => Self::Nowhere("a link-local address (RFC 4291)"),
            [0xff00..=0xffff, ..] => Self::Nowhere("a multicast address (RFC 4291)"),
            [0xfc00..=0xfdff, ..] => Self::Inside("a private address (RFC 4193)"),
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Self::Inside("an address for documentation (RFC 3849, RFC 9637)"),
            [0x2001, 0..=0x1ff, ..] => Self::Inside("an address of a protocol (RFC 2928)"),
            [0x2000..=0x3fff, ..] => Self::Public,
            // Nothing else is given out as global unicast.
            _ => Self::Inside("a reserved address (RFC 4291)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(text: &str) -> Place {
        Place::of(text.parse().unwrap())
    }

    #[test]
    fn every_range_has_its_place() {
        let inside = [
            ["10.0.0.0", "10.255.255.255"],
            ["172.16.0.0", "172.31.255.255"],
            ["192.168.0.0", "192.168.255.255"],
            ["100.64.0.0", "100.127.255.255"],
            ["192.0.0.0", "192.0.0.255"],
            ["192.0.2.0", "192.0.2.255"],
            ["198.51.100.0", "198.51.100.255"],
            ["203.0.113.0", "203.0.113.255"],
            ["198.18.0.0", "198.19.255.255"],
            ["192.88.99.0", "192.88.99.255"],
            ["240.0.0.0", "255.255.255.254"],
            ["fc00::", "fdff:ffff::"],
            ["2001:db8::", "2001:db8:ffff::"],
            ["3fff::", "3fff:fff:ffff::"],
            ["2001:1::", "2001:1ff:ffff::"],
            ["fec0::", "feff::"],
            ["100::", "100:0:0:1::"],
            ["5f00::", "4000::"],
        ];
        for text in inside.as_flattened() {
            assert!(matches!(place(text), Place::Inside(_)), "{text}: {:?}", place(text));
        }
        let nowhere = [
            ["0.0.0.0", "0.255.255.255"],
            ["169.254.0.0", "169.254.255.255"],
            ["169.254.169.254", "169.254.170.2"],
            ["224.0.0.0", "239.255.255.255"],
            ["168.63.129.16", "100.100.100.200"],
            ["fd00:ec2::254", "fd20:ce::254"],
            ["fe80::", "febf:ffff::1"],
            ["ff00::", "ff02::1"],
            ["::", "255.255.255.255"],
        ];
        for text in nowhere.as_flattened() {
            assert!(matches!(place(text), Place::Nowhere(_)), "{text}: {:?}", place(text));
        }
        assert_eq!(place("::"), Place::Nowhere("an unspecified address (RFC 4291)"));
        assert_eq!([place("fc00::"), place("fdff:ffff::")], [Place::Inside("a private address (RFC 4193)"); 2]);
        for text in ["127.0.0.0", "127.255.255.255", "::1"] {
            assert_eq!(place(text), Place::Loopback, "{text}");
        }
        let beside = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "223.255.255.255",
            "2606:4700::1",
            "2001:200::1",
            "2001:db9::",
            "3fff:1000::",
            "2000::1",
        ];
        for text in beside {
            assert_eq!(place(text), Place::Public, "{text}");
        }
    }

    #[test]
    fn an_address_within_another_is_judged_by_what_it_carries() {
        for (carried, octets) in [("127.0.0.1", "7f00:1"), ("10.0.0.1", "a00:1"), ("169.254.169.254", "a9fe:a9fe"), ("1.1.1.1", "101:101")]
        {
            let expected = place(carried);
            for text in [format!("::ffff:{octets}"), format!("64:ff9b::{octets}"), format!("2002:{octets}::1")] {
                assert_eq!(place(&text), expected, "{text}");
            }
            for text in [format!("::{octets}"), format!("::ffff:0:{octets}"), format!("64:ff9b:1::{octets}")] {
                assert!(place(&text) >= expected && matches!(place(&text), Place::Inside(_) | Place::Nowhere(_)), "{text}");
            }
        }
        assert!(matches!(place("2001:0:101:101::5601:5601"), Place::Nowhere(_)), "the client of a tunnel");
    }

    proptest! {
        #[test]
        fn a_form_of_an_address_is_never_nearer_than_the_address_itself(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let [high, low] = [(bits >> 16) as u16, bits as u16];
            let itself = Place::of(address.into());
            for form in [
                address.to_ipv6_mapped(),
                address.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0x101, 0x101, 0, 0, !high, !low),
            ] {
                prop_assert!(Place::of(form.into()) >= itself || form.is_unspecified() || form.is_loopback(), "{} is {:?}", form, Place::of(form.into()));
            }
        }
    }
}
