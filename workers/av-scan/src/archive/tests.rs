#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

use super::sample::{Entry, zip};

const LIMITS: Limits = Limits { member_bytes_max: 1_000, total_bytes_max: 1_500 };

fn verdict_in_chunks(bytes: &[u8], chunk: usize) -> Option<Unscannable> {
    let mut sentinel = Sentinel::default();
    bytes.chunks(chunk).for_each(|chunk| sentinel.observe(chunk));
    assert_eq!(sentinel.seen_bytes(), bytes.len() as u64);
    sentinel.verdict(LIMITS)
}

fn verdict(bytes: &[u8]) -> Option<Unscannable> {
    let whole = verdict_in_chunks(bytes, usize::MAX);
    for chunk in [1, 3, 25, 26, 27] {
        assert_eq!(verdict_in_chunks(bytes, chunk), whole, "in chunks of {chunk}");
    }
    whole
}

#[test]
fn an_ordinary_archive_and_what_is_none_pass() {
    assert_eq!(verdict(&zip(&[Entry::honest("word/document.xml", b"<w/>"), Entry::honest("b", &[0; 900])])), None);
    assert_eq!(verdict(&zip(&[])), None);
    assert_eq!(verdict(b""), None);
    assert_eq!(verdict(b"%PDF-1.7 and PK\x05\x06 in the middle of a text that goes on"), None);
}

#[test]
fn members_that_the_engine_passes_over_are_not_covered() {
    let hidden = |entry| verdict(&zip(&[Entry::honest("a", b"a"), entry]));
    assert_eq!(hidden(Entry { zip64: true, ..Entry::honest("b", b"b") }), Some(Unscannable::ArchiveNotCovered));
    assert_eq!(hidden(Entry { method: 14, ..Entry::honest("b", b"b") }), Some(Unscannable::ArchiveNotCovered));
    assert_eq!(hidden(Entry::honest("inner.ZIP", b"b")), Some(Unscannable::ArchiveNotCovered));
    assert_eq!(
        hidden(Entry { claimed_bytes: Some(5), ..Entry::honest("b", &[0; 900]) }),
        Some(Unscannable::ArchiveNotCovered)
    );
    assert_eq!(hidden(Entry { flags: 1, ..Entry::honest("b", b"b") }), Some(Unscannable::Encrypted));
    assert_eq!(hidden(Entry::honest("b", &[0; 1_001])), Some(Unscannable::LimitsExceeded));
    assert_eq!(
        hidden(Entry { claimed_bytes: Some(u32::MAX), ..Entry::honest("b", b"") }),
        Some(Unscannable::ArchiveNotCovered)
    );
    let many = [Entry::honest("a", &[0; 800]), Entry::honest("b", &[0; 800])];
    assert_eq!(verdict(&zip(&many)), Some(Unscannable::LimitsExceeded), "the sum counts");
}

#[test]
fn a_directory_that_does_not_describe_the_file_is_not_covered() {
    let honest = zip(&[Entry::honest("a", b"a")]);
    let end = honest.len() - END_OF_DIRECTORY_BYTES;
    for (at, byte) in [(end + 4, 1), (end + 8, 2), (end + 10, 2), (end + 12, 9), (end + 16, 0)] {
        let mut bent = honest.clone();
        bent[at] = byte;
        assert_eq!(verdict(&bent), Some(Unscannable::ArchiveNotCovered), "byte {at}");
    }
    assert_eq!(verdict(&honest[..honest.len() - 1]), Some(Unscannable::ArchiveNotCovered), "cut");
    let prefixed = [b"GIF89a".as_slice(), &honest].concat();
    assert_eq!(verdict(&prefixed), Some(Unscannable::ArchiveNotCovered), "two files in one");
}

#[test]
fn a_directory_beyond_the_tail_is_not_covered() {
    let names: Vec<String> = (0..6_000).map(|n| format!("member-{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| Entry::honest(name, b"")).collect();
    assert_eq!(verdict_in_chunks(&zip(&entries), 8_192), Some(Unscannable::ArchiveNotCovered));
    let sevens = vec![7; 900_000];
    let long = [Entry::honest("a", &sevens)];
    let limits = Limits { member_bytes_max: 1_000_000, total_bytes_max: 1_000_000 };
    let mut sentinel = Sentinel::default();
    zip(&long).chunks(8_192).for_each(|chunk| sentinel.observe(chunk));
    assert_eq!(sentinel.verdict(limits), None, "a long file with a short directory is");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), chunk in 1_usize..64) {
        verdict_in_chunks(&bytes, chunk);
        let mut bent = zip(&[Entry::honest("a", b"a"), Entry::honest("bb", b"bb")]);
        if let Some(byte) = bytes.pop() {
            let at = at.index(bent.len());
            bent[at] = byte;
        }
        verdict_in_chunks(&bent, chunk);
    }
}
