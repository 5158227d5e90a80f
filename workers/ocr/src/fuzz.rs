//! What a child can say that was taken over, and what a document can be.

#![allow(clippy::expect_used)]

use docfleet_fuzz::Target;

use crate::{
    layout::{Line, PageLayout, Word},
    protocol::{FrameError, Reply, Request, frame_start, read_frame, receive_frame},
};

#[test]
fn a_frame_is_read_alike_on_both_sides_and_never_beyond_its_cap() {
    const BODY_MAX: usize = 1_000;
    let framed =
        |reply: &Reply, body: &[u8]| [frame_start(reply, body.len()).unwrap_or_default(), body.to_vec()].concat();
    let page =
        Reply::Page { source: docfleet_events::TextSource::Ocr, confidence: Some(91.5), words: 3, text_bytes: 4 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without timers");
    Target::new("child-frame")
        .seed(framed(&Reply::Opened { pages: 3 }, b""))
        .seed(framed(&page, b"text"))
        .seed(framed(&Reply::Broken { why: "no data".to_owned() }, b""))
        .seed(frame_start(&Request::Page { number: 7 }, 0).unwrap_or_default())
        .tokens(&[b"\0\0\0\x10", b"{\"reply\":\"", b"unreadable", b"\"pages\":", b"-1", b"1e999", b"null", b"{}"])
        .bytes_max(4 * 1024)
        .run(|bytes| {
            let told = read_frame::<Reply>(&mut &*bytes, BODY_MAX);
            let heard = runtime.block_on(receive_frame::<Reply>(&mut &*bytes, BODY_MAX));
            match (told, heard) {
                (Ok(Some(told)), Ok(heard)) => {
                    assert_eq!(told, heard);
                    assert!(told.1.len() <= BODY_MAX);
                    let again = framed(&told.0, &told.1);
                    let read = read_frame(&mut again.as_slice(), BODY_MAX).expect("what is framed is read");
                    assert_eq!(read, Some(told.clone()));
                    (0, Some(std::mem::discriminant(&told.0)))
                }
                (Ok(None), Err(FrameError::Stream(_))) => (1, None),
                (Err(told), Err(heard)) => {
                    assert_eq!(std::mem::discriminant(&told), std::mem::discriminant(&heard));
                    (2 + u8::from(matches!(told, FrameError::Head(_))), None)
                }
                (told, heard) => panic!("{told:?} on one side, {heard:?} on the other"),
            }
        });
}

#[test]
fn a_claimed_layout_lies_on_its_page() {
    let word = Word { left: 10, top: 10, width: 50, height: 12, confidence: Some(90.0), text: "word".to_owned() };
    let layout = PageLayout {
        number: 1,
        width: 100,
        height: 200,
        dpi: 200,
        rotation: 90,
        skew: 0.5,
        language: Some("deu+eng".to_owned()),
        lines: vec![Line { left: 10, top: 10, width: 50, height: 12, words: vec![word.clone(), word] }],
    };
    Target::new("page-layout")
        .seed(serde_json::to_vec(&layout).unwrap_or_default())
        .tokens(&[b"4294967295", b"0", b"-1", b"1e39", b"null", b"\\u0000", b"\"words\":[]", b"{}", b"[", b"\"\""])
        .bytes_max(4 * 1024)
        .run(|json| {
            let claimed = PageLayout::claimed(json, 1);
            if let Ok(Some(page)) = &claimed {
                assert!(page.lines.iter().all(|line| !line.words.is_empty()));
                assert!([0, 90, 180, 270].contains(&page.rotation) && page.skew.is_finite());
                for word in page.words() {
                    assert!(u64::from(word.left) + u64::from(word.width) <= u64::from(page.width));
                    assert!(u64::from(word.top) + u64::from(word.height) <= u64::from(page.height));
                    assert!(word.confidence.is_none_or(|confidence| (0.0..=100.0).contains(&confidence)));
                }
                // What is told on is read again.
                let told = serde_json::to_vec(page).expect("numbers are finite");
                assert_eq!(PageLayout::claimed(&told, 1).as_ref(), Ok(&claimed.clone().unwrap_or_default()));
            }
            claimed.map(|page| page.map(|page| page.lines.len().min(4)))
        });
}
