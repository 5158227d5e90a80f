use docfleet_fuzz::Target;

use crate::{Day, find};

#[test]
fn zones_are_lines_of_their_own_whatever_the_text() {
    let today = Day { year: 2026, month: 11, day: 25 };
    Target::new("zones")
        .seed(*b"P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10")
        .seed(*b"I<UTOD231458907<<<<<<<<<<<<<<<\n7408122F1204159UTO<<<<<<<<<<<6\nERIKSSON<<ANNA<MARIA<<<<<<<<<<")
        .seed(*b"I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<\nD231458907UTO7408122F1204159<<<<<<<6")
        .tokens(&[
            b"<<",
            b"<",
            b"\n",
            b"\n\n",
            b"P<",
            b"I<",
            b"UTO",
            b"K",
            b"O",
            b"0",
            b" ",
            "«".as_bytes(),
            "ß".as_bytes(),
        ])
        .bytes_max(1_024)
        .run(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            let zones = find(&text, today);
            let mut end = 0;
            for zone in &zones {
                assert!(zone.lines.start >= end && zone.lines.start < zone.lines.end, "no line belongs to two");
                end = zone.lines.end;
            }
            assert!(end <= text.split('\n').count());
            (zones.len().min(4), zones.iter().filter(|zone| zone.is_valid()).count().min(4))
        });
}
