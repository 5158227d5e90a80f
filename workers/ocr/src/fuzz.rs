//! What a child can say that was taken over, and what a document can be.

#![allow(clippy::expect_used)]

use docfleet_fuzz::Target;

use crate::protocol::{FrameError, Reply, Request, frame_start, read_frame, receive_frame};

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
