use super::*;

fn rules() -> Rules {
    Rules { allow_loopback: false, ports: vec![443] }
}

/// What may be dialled.
const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:db7:ffff::1",
    "2001:db9::1",
    "2003::1",
    "2606:4700:4700::1111",
    "2620:fe::9",
    "2a00:1450:4001:81b::200e",
    "3ffe:ffff::1",
    "3fff:1000::1",
    "::ffff:8.8.8.8",
];

/// What may not: the registries' blocks at both their ends, and IPv4 in every IPv6 dress.
const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255",
    "10.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.255.255",
    "172.16.0.0",
    "172.17.0.1",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.0.192",
    "192.0.0.255",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.1.1",
    "192.168.255.255",
    "192.175.48.1",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::7f00:1",
    "::127.0.0.1",
    "::10.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:192.168.1.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "100:0:0:1::1",
    "1fff:ffff::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2001:db8:ffff::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "2620:4f:8000::1",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff::1",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "febf::1",
    "fec0::1",
    "ff00::1",
    "ff02::1",
    "ff0e::1",
];

#[test]
fn each_address_is_judged_as_the_registries_say() {
    for (list, expected) in [(PUBLIC, true), (NOT_PUBLIC, false)] {
        for text in list {
            let address: IpAddr = text.parse().unwrap_or_else(|_| panic!("{text} is an address"));
            assert_eq!(rules().permits(address), expected, "{text}");
            let url = if address.is_ipv6() { format!("https://[{text}]/hook") } else { format!("https://{text}/hook") };
            assert_eq!(rules().check(&url).is_ok(), expected, "{url}");
        }
    }
}

#[test]
fn each_trick_with_a_url_is_seen_through() {
    use Refusal::{NotAUrl, NotPublic, Port, Scheme, Userinfo};
    let table = [
        // One address, many notations.
        ("https://127.1/", NotPublic),
        ("https://127.0.1/", NotPublic),
        ("https://0x7f.1/", NotPublic),
        ("https://0x7f.0x0.0x0.0x1/", NotPublic),
        ("https://0x7f000001/", NotPublic),
        ("https://2130706433/", NotPublic),
        ("https://017700000001/", NotPublic),
        ("https://0177.0.0.1/", NotPublic),
        ("https://0177.0.0.01/", NotPublic),
        ("https://127.0.0.1./", NotPublic),
        ("https://0/", NotPublic),
        ("https://0x/", NotPublic),
        ("https://2852039166/", NotPublic),
        ("https://0xa9fea9fe/", NotPublic),
        ("https://0xa9.0xfe.0xa9.0xfe/", NotPublic),
        ("https://0251.0376.0251.0376/", NotPublic),
        ("https://169.254.43518/", NotPublic),
        ("https://169.16689662/", NotPublic),
        ("https://10.1/", NotPublic),
        ("https://0xC0A80101/", NotPublic),
        // Percent-encoding and Unicode digits and dots are folded before anyone reads an address.
        ("https://%31%32%37.0.0.1/", NotPublic),
        ("https://127%2e0%2e0%2e1/", NotPublic),
        ("https://127。0。0。1/", NotPublic),
        ("https://127．0．0．1/", NotPublic),
        ("https://127｡0｡0｡1/", NotPublic),
        ("https://１２７.0.0.1/", NotPublic),
        ("https://①②⑦.⓪.⓪.①/", NotPublic),
        ("https://𝟙𝟚𝟟.𝟘.𝟘.𝟙/", NotPublic),
        ("https://169。254。169。254/latest/meta-data/", NotPublic),
        // IPv6 with IPv4 inside.
        ("https://[::ffff:169.254.169.254]/", NotPublic),
        ("https://[::ffff:a9fe:a9fe]/", NotPublic),
        ("https://[0:0:0:0:0:ffff:127.0.0.1]/", NotPublic),
        ("https://[::FFFF:7F00:1]/", NotPublic),
        ("https://[0000:0000:0000:0000:0000:0000:0000:0001]/", NotPublic),
        // Names and passwords make another host look like this one.
        ("https://partner.example@127.0.0.1/", Userinfo),
        ("https://partner.example:443@169.254.169.254/", Userinfo),
        ("https://user:secret@partner.example/", Userinfo),
        ("https://:secret@partner.example/", Userinfo),
        ("https://partner.example%2f@10.0.0.1/", Userinfo),
        // A backslash ends the host; what follows is the path.
        ("https://127.0.0.1\\@partner.example/", NotPublic),
        ("https://10.0.0.1#@partner.example/", NotPublic),
        ("https://10.0.0.1?@partner.example/", NotPublic),
        ("https:10.0.0.1/", NotPublic),
        ("https:////10.0.0.1/", NotPublic),
        ("https:\\\\10.0.0.1\\", NotPublic),
        (" https://10.0.0.1/ ", NotPublic),
        ("ht\ntps://10.0.\t0.1/", NotPublic),
        ("HTTPS://10.0.0.1/", NotPublic),
        // Schemes.
        ("http://partner.example/", Scheme),
        ("http://8.8.8.8/", Scheme),
        ("ftp://partner.example/", Scheme),
        ("file:///etc/passwd", Scheme),
        ("gopher://127.0.0.1:6379/_INFO", Scheme),
        ("unix:/var/run/docker.sock", Scheme),
        ("data:text/plain,hello", Scheme),
        ("javascript:alert(1)", Scheme),
        ("ws://partner.example/", Scheme),
        // Ports.
        ("https://partner.example:22/", Port),
        ("https://partner.example:80/", Port),
        ("https://partner.example:5432/", Port),
        ("https://partner.example:0/", Port),
        ("https://8.8.8.8:6379/", Port),
        // Not URLs, or of no host.
        ("", NotAUrl),
        ("partner.example/hook", NotAUrl),
        ("//partner.example/hook", NotAUrl),
        ("https://", NotAUrl),
        ("https://partner.example:99999/", NotAUrl),
        ("https://[::1", NotAUrl),
        ("https://[fe80::1%25eth0]/", NotAUrl),
        ("https://[127.0.0.1]/", NotAUrl),
        ("https://256.256.256.256/", NotAUrl),
        ("https://127.0.0.1.1/", NotAUrl),
        ("https://4294967296/", NotAUrl),
        ("https://0x100000000/", NotAUrl),
        ("https://09.0.0.1/", NotAUrl),
        ("https://partner example/", NotAUrl),
        ("https://partner.example\u{0}.evil/", NotAUrl),
        ("https://exa%mple/", NotAUrl),
    ];
    let addresses = PUBLIC.len() + NOT_PUBLIC.len();
    assert!(addresses + table.len() >= 120, "the table has shrunk");
    for (url, expected) in table {
        assert_eq!(rules().check(url).map(|url| url.to_string()), Err(expected), "{url}");
    }
}

/// They say nothing about where they lead; the resolver does, at dial time.
#[test]
fn names_pass_and_are_judged_by_what_they_resolve_to() {
    for url in [
        "https://partner.example/hook?token=x",
        "https://partner.example:443/",
        "https://partner.example./",
        "https://localhost/",
        "https://metadata.google.internal/",
        "https://bücher.example/",
        "https://127.0.0.1.nip.io/",
    ] {
        assert!(rules().check(url).is_ok(), "{url}");
    }
}

#[test]
fn development_opens_loopback_and_nothing_else() {
    let rules = Rules { allow_loopback: true, ports: vec![443] };
    for url in [
        "http://127.0.0.1:9000/",
        "http://[::1]:9000/",
        "https://127.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost:1/",
    ] {
        assert!(rules.check(url).is_ok(), "{url}");
    }
    for url in ["http://10.0.0.1/", "http://169.254.169.254/", "http://0.0.0.0/", "http://[::]/", "http://[fe80::1]/"] {
        assert_eq!(rules.check(url).map(|_| ()), Err(Refusal::NotPublic), "{url}");
    }
    assert_eq!(rules.check("http://user@127.0.0.1/").map(|_| ()), Err(Refusal::Userinfo));
    assert_eq!(rules.check("ftp://127.0.0.1/").map(|_| ()), Err(Refusal::Scheme));
}
