//! What strangers can say to this worker: a document's archive, and clamd after a document has broken it.

use docfleet_fuzz::Target;

use crate::{
    archive::{
        Limits, Sentinel,
        sample::{Entry, zip},
    },
    reply::{Answer, Unscannable, parse},
};

#[test]
fn a_reply_is_clean_only_literally() {
    Target::new("clamd-reply")
        .seed(*b"stream: OK\0")
        .seed(*b"stream: Eicar-Test-Signature FOUND\0")
        .seed(*b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0")
        .seed(*b"INSTREAM size limit exceeded. ERROR\0")
        .seed(*b"stream: Can't allocate memory ERROR\0")
        .tokens(&[b"stream: ", b" FOUND", b" ERROR", b"OK", b"\0", b"Heuristics.Encrypted."])
        .bytes_max(2_048)
        .run(|raw| {
            let read = parse(raw);
            assert_eq!(read == Ok(Answer::Clean), raw == b"stream: OK\0");
            if let Ok(Answer::Infected { signature }) = &read {
                assert!(!signature.trim().is_empty() && !signature.contains(char::is_control));
            }
            std::mem::discriminant(&read)
        });
}

#[test]
fn an_archive_is_judged_the_same_however_its_bytes_arrive() {
    const NARROW: Limits = Limits { member_bytes_max: 100, total_bytes_max: 300 };
    const WIDE: Limits = Limits { member_bytes_max: 1_000_000, total_bytes_max: 1_500_000 };
    let honest = zip(&[Entry::honest("a.txt", b"text"), Entry::honest("word/b.xml", &[7; 600])]);
    let lying = zip(&[Entry { zip64: true, ..Entry::honest("c", b"more") }, Entry::honest("d.zip", b"PK")]);
    Target::new("archive")
        .seed(honest)
        .seed(lying)
        .tokens(&[b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b".zip", b"\xff\xff\xff\xff"])
        .bytes_max(2 * 1024)
        .run(|bytes| {
            let in_chunks = |size| {
                let mut sentinel = Sentinel::default();
                bytes.chunks(size).for_each(|chunk| sentinel.observe(chunk));
                assert_eq!(sentinel.seen_bytes(), bytes.len() as u64);
                [NARROW, WIDE].map(|limits| sentinel.verdict(limits).map(Unscannable::as_str))
            };
            let whole = in_chunks(usize::MAX);
            assert_eq!(whole, in_chunks(97));
            assert_eq!(whole, in_chunks(23));
            whole
        });
}
