use docfleet_fuzz::Target;

use super::{tiff::Tiff, tsv};

#[test]
fn a_tiff_has_no_more_pages_than_agreed_and_each_is_whole_or_refused() {
    const PAGES_MAX: u32 = 8;
    Target::new("tiff")
        .seed(tiff(3))
        .seed(tiff(12))
        .sample("passport-pages.tiff")
        .tokens(&[b"II\x2a\0", b"MM\0\x2a", b"\0\x01\x03\0", b"\x01\x01\x04\0", b"\x08\0\0\0"])
        .bytes_max(16 * 1024)
        .run(|bytes| {
            let tiff = match Tiff::open(bytes.to_vec(), PAGES_MAX) {
                Ok(tiff) => tiff,
                Err(reason) => return (0, reason.to_string()),
            };
            // One more says that there are too many.
            assert!((1..=PAGES_MAX + 1).contains(&tiff.pages()));
            for number in 1..=tiff.pages() {
                if let Ok(page) = tiff.page(number, 1_000_000) {
                    assert_eq!(page.len(), bytes.len());
                    assert!(Tiff::open(page, PAGES_MAX).is_ok(), "its first page is there");
                }
            }
            assert!(tiff.page(0, 1_000_000).is_err() && tiff.page(tiff.pages() + 1, 1_000_000).is_err());
            (tiff.pages(), String::new())
        });
}

#[test]
fn a_table_gives_words_with_text_and_confidence_whatever_is_in_it() {
    Target::new("tsv")
        .seed(*b"5\t1\t1\t1\t1\t1\t222\t96\t210\t33\t96.5\tStadtwerke\n4\t1\t1\t1\t1\t0\t0\t0\t9\t9\t-1\t\n")
        .tokens(&[b"\t", b"\n5\t", b"\n4\t", b"-1", b"NaN", b"1e99", b"inf", b"4294967296", b" "])
        .bytes_max(4 * 1024)
        .run(|bytes| {
            let table = String::from_utf8_lossy(bytes);
            let lines = tsv::lines(&table);
            let words: Vec<_> = lines.iter().flat_map(|line| &line.words).collect();
            assert!(words.len() <= table.lines().count());
            assert!(lines.iter().all(|line| !line.words.is_empty()));
            for word in &words {
                assert!(!word.text.trim().is_empty() && !word.text.contains('\n'));
                assert!(word.confidence.is_none_or(|confidence| (0.0..=100.0).contains(&confidence)));
            }
            (lines.len().min(4), words.len().min(8))
        });
}

/// Pages of one pixel, as directories of width and height alone.
fn tiff(pages: u32) -> Vec<u8> {
    let mut bytes = b"II\x2a\0\x08\0\0\0".to_vec();
    for page in 1..=pages {
        bytes.extend(2_u16.to_le_bytes());
        for tag in [256_u16, 257] {
            bytes.extend([tag.to_le_bytes(), 3_u16.to_le_bytes()].concat());
            bytes.extend([1_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat());
        }
        let next = if page == pages { 0 } else { u32::try_from(bytes.len()).unwrap_or_default() + 4 };
        bytes.extend(next.to_le_bytes());
    }
    bytes
}
