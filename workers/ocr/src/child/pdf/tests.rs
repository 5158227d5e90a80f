#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn pages_and_their_sizes_are_read_from_the_listing() {
    let listing = "Title:          Vertrag\nPages:          2\nEncrypted:      no\n\
                   Page    1 size: 595.276 x 841.89 pts (A4)\nPage    1 rot:  0\nPage    2 size: 842 x 595 pts\nFile size:      9 bytes\n";
    let described = described(listing).unwrap();
    assert_eq!(described, (2, vec![Size(595.276, 841.89), Size(842.0, 595.0)]));
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
    assert!((drawn_area(row).unwrap() - 8.266 * 11.7).abs() < 0.1);
    let inline = "   1     0 image     620   877  gray    1   8  image  no   [inline]     75    75  531K 100%";
    assert!((drawn_area(inline).unwrap() - 8.266 * 11.7).abs() < 0.1);
    for row in [
        "",
        "page   num  type   width height color comp bpc  enc interp  object ID x-ppi y-ppi size ratio",
        "   1     1 smask    1240  1755  gray    1   8  image  no         9  0   150   150 61.2K 2.9%",
        "   1     0 image    1240  1755  gray    1   8  jpeg   no         9  0     0     0 61.2K 2.9%",
    ] {
        assert!(drawn_area(row).is_none(), "{row}");
    }
}

#[test]
fn the_resolution_falls_with_the_size_of_the_page_down_to_a_limit() {
    let config = OcrConfig::default();
    assert_eq!(resolution(Size(595.0, 842.0), &config), Ok(200));
    assert_eq!(resolution(Size(4_000.0, 4_000.0), &config), Ok(142));
    assert_eq!(resolution(Size(14_400.0, 14_400.0), &config), Err(Unreadable::TooLargeImage));
    assert_eq!(resolution(Size(100_000.0, 1.0), &config), Err(Unreadable::TooLargeImage));
    assert_eq!(resolution(Size(0.0, 842.0), &config), Err(Unreadable::Corrupt));
    assert_eq!(resolution(Size(f64::NAN, 842.0), &config), Err(Unreadable::Corrupt));
}
