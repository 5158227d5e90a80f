#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn pages_and_their_sizes_are_read_from_the_listing() {
    let listing = "Title:          Vertrag\nPages:          2\nEncrypted:      no\n\
                   Page    1 size: 595.276 x 841.89 pts (A4)\nPage    1 rot:  0\nPage    2 size: 842 x 595 pts\nPage    2 rot:  90\nFile size:      9 bytes\n";
    let described = described(listing).unwrap();
    assert_eq!(
        described,
        (
            2,
            vec![
                Size { width: 595.276, height: 841.89, rotation: 0 },
                Size { width: 842.0, height: 595.0, rotation: 90 }
            ]
        )
    );
}

#[test]
fn a_title_that_pretends_to_be_the_number_of_pages_is_not_believed() {
    let listing =
        "Title:          x\nPages:          1\nPage    1 size: 1 x 1 pts\nPages:          300\nEncrypted:      no\n";
    assert_eq!(described(listing), Some((300, vec![])));
}

#[test]
fn nonsense_describes_nothing() {
    for listing in ["", "Pages:", "Pages: many", "\nPages: -1\n", "\nPages: 99999999999999\n"] {
        assert!(described(listing).is_none(), "{listing:?}");
    }
    for line in ["Page size: 1 x 1", "Page    1 size:", "Page    1 size: a x b pts", "Page    1 rot: 0"] {
        assert!(size_in(line).is_none(), "{line}");
    }
}

#[test]
fn a_picture_is_measured_on_the_page() {
    let row = "   1     0 image    1240  1755  gray    1   8  jpeg   no         9  0   150   150 61.2K 2.9%";
    assert!((drawn(row).unwrap().area - 8.266 * 11.7).abs() < 0.1);
    let inline = "   1     0 image     620   877  gray    1   8  image  no   [inline]     75    75  531K 100%";
    assert!((drawn(inline).unwrap().area - 8.266 * 11.7).abs() < 0.1);
    for row in [
        "",
        "page   num  type   width height color comp bpc  enc interp  object ID x-ppi y-ppi size ratio",
        "   1     1 smask    1240  1755  gray    1   8  image  no         9  0   150   150 61.2K 2.9%",
        "   1     0 image    1240  1755  gray    1   8  jpeg   no         9  0     0     0 61.2K 2.9%",
    ] {
        assert!(drawn(row).is_none(), "{row}");
    }
}
