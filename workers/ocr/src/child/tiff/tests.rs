#![allow(clippy::unwrap_used)]
use super::*;

const PIXELS_MAX: u64 = 1_000_000;

/// Directories of a width and a height each, back to back from byte 8; the last one's link is `end`.
fn tiff(order: Order, sizes: &[(u32, u32)], end: u32) -> Vec<u8> {
    let u16 = |n: u16| match order {
        Order::Little => n.to_le_bytes(),
        Order::Big => n.to_be_bytes(),
    };
    let mut bytes = match order {
        Order::Little => b"II\x2a\0".to_vec(),
        Order::Big => b"MM\0\x2a".to_vec(),
    };
    bytes.extend(order.bytes_of(8));
    for (index, (width, height)) in sizes.iter().enumerate() {
        bytes.extend(u16(2));
        for (tag, value) in [(IMAGE_WIDTH, width), (IMAGE_LENGTH, height)] {
            bytes.extend(u16(tag));
            bytes.extend(u16(4));
            bytes.extend(order.bytes_of(1));
            bytes.extend(order.bytes_of(*value));
        }
        let next = u32::try_from(bytes.len() + 4).unwrap();
        bytes.extend(order.bytes_of(if index + 1 == sizes.len() { end } else { next }));
    }
    bytes
}

#[test]
fn each_page_comes_first_in_its_own_copy() {
    for order in [Order::Little, Order::Big] {
        let tiff = Tiff::open(tiff(order, &[(10, 20), (30, 40), (50, 60)], 0), 100).unwrap();
        assert_eq!(tiff.pages(), 3);
        for number in 1..=3 {
            let page = tiff.page(number, PIXELS_MAX).unwrap();
            let again = Tiff::open(page, 100).unwrap();
            assert_eq!(again.tag(again.directories[0], IMAGE_WIDTH), Ok(u64::from(number) * 20 - 10));
        }
        assert_eq!(tiff.page(0, PIXELS_MAX), Err(Unreadable::Corrupt));
        assert_eq!(tiff.page(4, PIXELS_MAX), Err(Unreadable::Corrupt));
    }
}

#[test]
fn a_chain_that_comes_back_or_never_ends_is_bounded() {
    assert_eq!(Tiff::open(tiff(Order::Little, &[(1, 1), (1, 1)], 8), 100).err(), Some(Unreadable::Corrupt));
    let long = Tiff::open(tiff(Order::Big, &[(1, 1); 50], 0), 10).unwrap();
    assert_eq!(long.pages(), 11, "one more than allowed says enough");
}

#[test]
fn a_chain_that_leaves_the_file_keeps_the_pages_before() {
    let tiff = Tiff::open(tiff(Order::Little, &[(7, 7), (8, 8)], 0xFFFF_FFF0), 100).unwrap();
    assert_eq!(tiff.pages(), 2);
}

#[test]
fn a_page_with_too_many_pixels_or_no_size_is_refused_alone() {
    let tiff = Tiff::open(tiff(Order::Little, &[(60_000, 60_000), (8, 8)], 0), 100).unwrap();
    assert_eq!(tiff.page(1, PIXELS_MAX), Err(Unreadable::TooLargeImage));
    assert!(tiff.page(2, PIXELS_MAX).is_ok());
}

#[test]
fn every_cut_is_an_error_or_fewer_pages_and_never_a_panic() {
    let whole = tiff(Order::Big, &[(10, 20), (30, 40)], 0);
    for end in 0..whole.len() {
        if let Ok(cut) = Tiff::open(whole[..end].to_vec(), 100) {
            for number in 1..=cut.pages() {
                cut.page(number, PIXELS_MAX).ok();
            }
        }
    }
    assert_eq!(Tiff::open(b"II\x2b\0\0\0\0\0".to_vec(), 1).err(), Some(Unreadable::UnsupportedType));
}
