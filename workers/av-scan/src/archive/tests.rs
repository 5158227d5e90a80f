#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

use super::sample::{Entry, zip};

const LIMITS: Limits = Limits { member_bytes_max: 3_000, total_bytes_max: 4_500 };
const NOT_COVERED: Option<Unscannable> = Some(Unscannable::ArchiveNotCovered);
const TOO_MUCH: Option<Unscannable> = Some(Unscannable::LimitsExceeded);

fn verdict_in_pieces(bytes: &[u8], piece: usize, limits: Limits) -> Option<Unscannable> {
    let mut sentinel = Sentinel::new(limits);
    bytes.chunks(piece).for_each(|piece| sentinel.observe(piece));
    assert_eq!(sentinel.seen_bytes(), bytes.len() as u64);
    sentinel.verdict()
}

fn verdict(bytes: &[u8]) -> Option<Unscannable> {
    let whole = verdict_in_pieces(bytes, usize::MAX, LIMITS);
    for piece in [1, 3, 25, 26, 27] {
        assert_eq!(verdict_in_pieces(bytes, piece, LIMITS), whole, "in pieces of {piece}");
    }
    whole
}

fn deflated<'a>(name: &'a str, bytes: &'a [u8]) -> Entry<'a> {
    Entry { method: 8, ..Entry::honest(name, bytes) }
}

#[test]
fn an_ordinary_archive_and_what_is_none_pass() {
    assert_eq!(verdict(&zip(&[Entry::honest("word/document.xml", b"<w/>"), Entry::honest("b", &[0; 900])])), None);
    assert_eq!(verdict(&zip(&[deflated("a", &[7; 2_900]), deflated("b/", b""), Entry::honest("c/", b"")])), None);
    assert_eq!(verdict(&zip(&[Entry { flags: 8, ..deflated("streamed", &[7; 900]) }, Entry::honest("b", b"b")])), None);
    assert_eq!(verdict(&zip(&[])), None);
    assert_eq!(verdict(b""), None);
    assert_eq!(verdict(b"P"), None);
    assert_eq!(verdict(b"%PDF-1.7 and PK\x05\x06 in the middle of a text that goes on"), None);
}

#[test]
fn members_that_the_engine_passes_over_are_not_covered() {
    let hidden = |entry| verdict(&zip(&[Entry::honest("a", b"a"), entry]));
    assert_eq!(hidden(Entry { zip64: true, ..Entry::honest("b", b"b") }), NOT_COVERED);
    assert_eq!(hidden(Entry { method: 14, ..Entry::honest("b", b"b") }), NOT_COVERED);
    assert_eq!(hidden(Entry { claimed_bytes: Some(5), ..Entry::honest("b", &[0; 900]) }), NOT_COVERED);
    assert_eq!(hidden(Entry { claimed_bytes: Some(u32::MAX), ..Entry::honest("b", b"") }), NOT_COVERED);
    assert_eq!(hidden(Entry { flags: 8, ..Entry::honest("stored, of unknown length", b"b") }), NOT_COVERED);
    assert_eq!(hidden(Entry { flags: 1, ..Entry::honest("b", b"b") }), Some(Unscannable::Encrypted));
    assert_eq!(hidden(Entry::honest("b", &[0; 3_001])), TOO_MUCH);
    assert_eq!(hidden(deflated("b", &[0; 3_001])), TOO_MUCH);
    let many = [Entry::honest("a", &[0; 2_500]), Entry::honest("b", &[0; 2_500])];
    assert_eq!(verdict(&zip(&many)), TOO_MUCH, "the sum counts");
}

#[test]
fn a_directory_that_lies_plausibly_is_seen_through() {
    let lie = |entry| verdict(&zip(&[Entry { claimed_bytes: Some(2_000), ..entry }]));
    assert_eq!(lie(deflated("bomb", &[0; 2_001])), NOT_COVERED);
    assert_eq!(lie(deflated("bomb", &[0; 100_000])), TOO_MUCH, "it ends where the limit is");
    assert_eq!(lie(Entry { flags: 8, ..deflated("bomb", &[0; 100_000]) }), TOO_MUCH);
}

#[test]
fn an_archive_under_an_innocent_name_is_looked_into() {
    let inside = |inner: &[u8]| verdict(&zip(&[deflated("word/media/image1.png", inner)]));
    assert_eq!(inside(&zip(&[deflated("xl/workbook.xml", b"<x/>")])), None, "a sheet in a letter");
    assert_eq!(inside(&zip(&[Entry { zip64: true, ..Entry::honest("b", b"b") }])), NOT_COVERED);
    assert_eq!(inside(&zip(&[deflated("b", &[0; 3_001])])), TOO_MUCH);
    assert_eq!(inside(&zip(&[Entry { flags: 1, ..Entry::honest("b", b"b") }])), Some(Unscannable::Encrypted));
    for start in [&b"Rar!\x1a\x07\0"[..], b"MSCF\0\0\0\0", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08", b"BZh9"] {
        assert_eq!(inside(start), NOT_COVERED, "{start:?}");
        assert_eq!(verdict(start), NOT_COVERED, "{start:?} by itself");
    }
    let nested = |depth| (0..depth).fold(b"text".to_vec(), |inner, _| zip(&[Entry::honest("inner", &inner)]));
    assert_eq!(verdict(&nested(3)), None);
    assert_eq!(verdict(&nested(4)), NOT_COVERED);
    let tar = [&[b'a'; 257][..], b"ustar\0", &[0; 249]].concat();
    assert_eq!(inside(&tar), NOT_COVERED);
}

#[test]
fn an_archive_in_an_e_mail_is_not_covered_and_a_text_that_mentions_one_is() {
    assert_eq!(verdict(b"From: a@b\r\n\r\nUEsDBBQAAAAIAAAA\r\n"), NOT_COVERED);
    assert_eq!(verdict(b"UEsDBBQAAAAIAAAA"), NOT_COVERED);
    assert_eq!(verdict(b"From: a@b\n\nUmFyIRoHAQA=\n"), NOT_COVERED);
    assert_eq!(verdict(b"An attachment that begins with UEsDB is a ZIP.\n"), None);
}

#[test]
fn bytes_between_the_members_are_not_covered() {
    let mut gap = zip(&[Entry::honest("a", b"a"), Entry::honest("b", b"b")]);
    let second = gap.windows(4).skip(1).position(|at| at == LOCAL_HEADER).unwrap() + 1;
    gap.splice(second..second, *b"hidden");
    // The directory and its second entry are told of their new places, so that only the gap is wrong.
    let entry = gap.windows(4).rposition(|at| at == b"PK\x01\x02").unwrap();
    for at in [gap.len() - 22 + 16, entry + 42] {
        let place = u32::try_from(number(&gap, at, 4).unwrap()).unwrap() + 6;
        gap[at..at + 4].copy_from_slice(&place.to_le_bytes());
    }
    assert_eq!(verdict(&gap), NOT_COVERED);
    gap.drain(second..second + 6);
    assert_eq!(verdict(&gap), NOT_COVERED, "and so are places that are not true");
}

#[test]
fn a_directory_that_does_not_describe_the_file_is_not_covered() {
    let honest = zip(&[Entry::honest("a", b"a")]);
    let end = honest.len() - 22;
    for (at, byte) in [(end + 4, 1), (end + 8, 2), (end + 10, 2), (end + 12, 9), (end + 16, 0)] {
        let mut bent = honest.clone();
        bent[at] = byte;
        assert_eq!(verdict(&bent), NOT_COVERED, "byte {at}");
    }
    assert_eq!(verdict(&honest[..honest.len() - 1]), NOT_COVERED, "cut");
    let prefixed = [b"GIF89a".as_slice(), &honest].concat();
    assert_eq!(verdict(&prefixed), NOT_COVERED, "two files in one");
    let local_name = 30;
    let mut renamed = honest;
    renamed[local_name] = b'x';
    assert_eq!(verdict(&renamed), NOT_COVERED, "two names");
}

#[test]
fn a_second_directory_behind_the_members_is_not_covered() {
    let honest = zip(&[Entry::honest("a", b"a")]);
    let end = honest.len() - 22;
    let directory = usize::try_from(number(&honest, end + 16, 4).unwrap()).unwrap();
    let hidden = honest[directory..end].to_vec();
    for gap in [&hidden[..], &hidden[..4], b"PK\x01\x02 whatever another reader makes of it"] {
        let mut two = honest.clone();
        two.splice(directory..directory, gap.iter().copied());
        let start = u32::try_from(directory + gap.len()).unwrap();
        let field = two.len() - 22 + 16;
        two[field..field + 4].copy_from_slice(&start.to_le_bytes());
        assert_eq!(verdict(&two), NOT_COVERED, "{gap:?}");
    }
    // Nothing but an end, behind what may be anything.
    let mut nothing = [&hidden[..], &zip(&[])].concat();
    let field = nothing.len() - 22 + 16;
    nothing[field] = u8::try_from(hidden.len()).unwrap();
    assert_eq!(verdict(&nothing), NOT_COVERED);
}

#[test]
fn a_mark_of_zip64_or_of_another_end_around_the_directory_is_not_covered() {
    let honest = zip(&[Entry::honest("a", b"a")]);
    let end = honest.len() - 22;
    let locator = [b"PK\x06\x07".as_slice(), &[0; 16]].concat();
    let record = [b"PK\x06\x06".as_slice(), &[0; 52]].concat();
    let another = [b"PK\x05\x06".as_slice(), &[0; 18]].concat();
    for mark in [&locator, &record, &another] {
        // As the comment of the last member: it belongs to the directory, and ends where a reader looks for the locator.
        let mut bent = honest.clone();
        bent.splice(end..end, mark.iter().copied());
        let size = u32::try_from(mark.len()).unwrap() + u32::try_from(number(&honest, end + 12, 4).unwrap()).unwrap();
        let field = bent.len() - 22 + 12;
        bent[field..field + 4].copy_from_slice(&size.to_le_bytes());
        let entry = honest.windows(4).rposition(|at| at == b"PK\x01\x02").unwrap();
        bent[entry + 32] = u8::try_from(mark.len()).unwrap();
        assert_eq!(verdict(&bent), NOT_COVERED, "{mark:?}");
        let mut ended = honest.clone();
        ended[end + 20] = u8::try_from(mark.len() + 1).unwrap();
        ended.extend(mark.iter().chain(b"."));
        assert_eq!(verdict(&ended), NOT_COVERED, "in the comment at the end: {mark:?}");
    }
    let mut commented = honest;
    commented[end + 20] = 7;
    commented.extend(b"comment");
    assert_eq!(verdict(&commented), None);
}

#[test]
fn members_are_counted_over_all_nesting() {
    let limits = Limits { member_bytes_max: 10_000_000, total_bytes_max: 100_000_000 };
    let names: Vec<String> = (0..1_000).map(|n| format!("{n}")).collect();
    let inner = zip(&names.iter().map(|name| Entry::honest(name, b"")).collect::<Vec<_>>());
    let outer = |archives: usize| {
        let all: Vec<_> = names.iter().take(archives).map(|name| deflated(name, &inner)).collect();
        verdict_in_pieces(&zip(&all), 8_192, limits)
    };
    assert_eq!(outer(5), None);
    assert_eq!(outer(6), TOO_MUCH);
    let deep = zip(&[deflated("a", &zip(&vec![deflated("b", &inner); 6]))]);
    assert_eq!(verdict_in_pieces(&deep, 8_192, limits), TOO_MUCH);
}

#[test]
fn it_says_when_a_piece_may_be_unpacked() {
    let mut sentinel = Sentinel::new(LIMITS);
    assert!(sentinel.unpacks());
    sentinel.observe(b"PK\x03");
    assert!(sentinel.unpacks());
    sentinel.observe(b"\x04");
    assert!(sentinel.unpacks(), "an archive");
    let mut text = Sentinel::new(LIMITS);
    text.observe(b"text");
    assert!(!text.unpacks());
}

#[test]
fn a_directory_beyond_the_tail_is_not_covered() {
    let names: Vec<String> = (0..6_000).map(|n| format!("member-{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| Entry::honest(name, b"")).collect();
    assert_eq!(verdict_in_pieces(&zip(&entries), 8_192, LIMITS), NOT_COVERED);
    let sevens = vec![7; 900_000];
    let limits = Limits { member_bytes_max: 1_000_000, total_bytes_max: 1_000_000 };
    let long = zip(&[Entry::honest("a", &sevens)]);
    assert_eq!(verdict_in_pieces(&long, 8_192, limits), None, "a long file with a short directory is");
}

#[test]
fn names_of_any_kind_are_only_bytes() {
    let long = "n".repeat(4_000);
    for name in ["../../../../etc/passwd", "C:\\Windows\\x", "a\u{1}\u{1b}[2J\n", "\u{202e}gpj.exe", "", &long] {
        assert_eq!(verdict(&zip(&[deflated(name, b"text")])), None, "{name:.40?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), piece in 1_usize..64) {
        verdict_in_pieces(&bytes, piece, LIMITS);
        let inner = zip(&[deflated("a", b"aaaaaaaaaaaaaaaa")]);
        let mut bent = zip(&[deflated("a", &inner), Entry::honest("bb", b"bb"), Entry { flags: 8, ..deflated("c", b"cc") }]);
        if let Some(byte) = bytes.pop() {
            let at = at.index(bent.len());
            bent[at] = byte;
        }
        let in_pieces = verdict_in_pieces(&bent, piece, LIMITS);
        prop_assert_eq!(verdict_in_pieces(&bent, usize::MAX, LIMITS), in_pieces, "however it is cut");
    }

    /// Whatever a member holds, it is unpacked here as it was packed.
    #[test]
    fn an_honest_archive_is_always_covered(content in proptest::collection::vec(any::<u8>(), 1..2_000), flags in prop_oneof![Just(0_u16), Just(8)], piece in 1_usize..300) {
        let content = [&b"text "[..], &content].concat();
        prop_assume!(!content.windows(5).any(|at| at == b"UEsDB"));
        let archive = zip(&[Entry { flags, ..deflated("a", &content) }, Entry::honest("b", b"b")]);
        prop_assert_eq!(verdict_in_pieces(&archive, piece, LIMITS), None);
    }
}
