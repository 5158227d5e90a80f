use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IANA IPv4 Special-Purpose Address Registry, and multicast. The few entries that the registry calls globally
/// reachable (relays, AS112) host no webhook either.
const V4_REFUSED: [(Ipv4Addr, u8); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and the limited broadcast.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The only block from which IANA gives out unicast addresses. A list of what is refused would have to know every
/// transition mechanism; this one need not.
const V6_UNICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

const V6_REFUSED: [(Ipv6Addr, u8); 5] = [
    // Protocol assignments: Teredo, benchmarking, ORCHID, …
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4 carries an IPv4 address of anyone's choice.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // AS112.
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
];

/// Whether an address is one of the public Internet. An IPv4 address in IPv6 clothes (`::ffff:0:0/96`) is judged as what
/// it is.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => !V4_REFUSED
            .iter()
            .any(|(network, prefix)| within(v4.to_bits().into(), network.to_bits().into(), 32 - prefix)),
        IpAddr::V6(v6) => {
            let is_in = |(network, prefix): &(Ipv6Addr, u8)| within(v6.to_bits(), network.to_bits(), 128 - prefix);
            is_in(&V6_UNICAST) && !V6_REFUSED.iter().any(is_in)
        }
    }
}

fn within(address: u128, network: u128, host_bits: u8) -> bool {
    address >> host_bits == network >> host_bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn clothes_do_not_make_an_address_public(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(is_public(IpAddr::V4(v4)), is_public(IpAddr::V6(v4.to_ipv6_mapped())));
            // IPv4-compatible, NAT64 and 6to4 forms reach an IPv4 address that nobody checked.
            let (high, low) = ((bits >> 16) as u16, bits as u16);
            prop_assert!(!is_public(IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low))));
            prop_assert!(!is_public(IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low))));
            prop_assert!(!is_public(IpAddr::V6(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1))));
        }

        #[test]
        fn what_the_standard_library_knows_as_special_is_not_public(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast() || v4.is_multicast()
                || v4.is_unspecified() || v4.is_documentation();
            prop_assert!(!(special && is_public(IpAddr::V4(v4))));
        }

        #[test]
        fn outside_of_2000_slash_3_nothing_is_public(bits in any::<u128>()) {
            let v6 = Ipv6Addr::from_bits(bits);
            prop_assume!(v6.to_ipv4_mapped().is_none());
            prop_assert!(bits >> 125 == 1 || !is_public(IpAddr::V6(v6)));
        }
    }
}
