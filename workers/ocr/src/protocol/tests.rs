#![allow(clippy::unwrap_used)]
use super::*;

const BODY_MAX: usize = 1_000;

fn frame(message: &Reply, body: &[u8]) -> Vec<u8> {
    let mut bytes = frame_start(message, body.len()).unwrap();
    bytes.extend_from_slice(body);
    bytes
}

async fn received(bytes: &[u8]) -> Result<(Reply, Vec<u8>), FrameError> {
    let mut stream = bytes;
    receive_frame(&mut stream, BODY_MAX).await
}

#[tokio::test]
async fn what_is_framed_is_read_back_on_both_sides() {
    let page = Reply::Page { source: TextSource::Ocr, confidence: Some(91.25), words: 3, text_bytes: 20 };
    let bytes = frame(&page, "drei schöne Wörter".as_bytes());
    let expected = (page, "drei schöne Wörter".as_bytes().to_vec());
    assert_eq!(received(&bytes).await.unwrap(), expected);
    let mut stream = bytes.as_slice();
    assert_eq!(read_frame::<Reply>(&mut stream, BODY_MAX).unwrap(), Some(expected));
    assert_eq!(read_frame::<Reply>(&mut stream, BODY_MAX).unwrap(), None, "the end between frames");
}

#[tokio::test]
async fn hostile_lengths_are_refused_before_anything_is_allocated() {
    for (head, body) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX), (16 * 1024 + 1, 0), (2, 1_001)] {
        let bytes = [head.to_be_bytes(), body.to_be_bytes()].concat();
        assert!(matches!(received(&bytes).await, Err(FrameError::TooLarge { .. })), "{head} {body}");
        assert!(matches!(read_frame::<Reply>(&mut bytes.as_slice(), BODY_MAX), Err(FrameError::TooLarge { .. })));
    }
    assert!(frame_start(&Reply::Broken { why: "x".repeat(16 * 1024) }, 0).is_err());
}

#[tokio::test]
async fn a_frame_cut_anywhere_is_an_error() {
    let bytes = frame(&Reply::Opened { pages: 3 }, b"body");
    for end in 0..bytes.len() {
        assert!(matches!(received(&bytes[..end]).await, Err(FrameError::Stream(_))), "cut at {end}");
        if end > 0 {
            assert!(read_frame::<Reply>(&mut &bytes[..end], BODY_MAX).is_err(), "cut at {end}");
        }
    }
}

#[tokio::test]
async fn a_head_of_another_language_is_an_error() {
    for head in [
        "",
        "{}",
        "null",
        r#"{"reply":"shell"}"#,
        r#"{"reply":"opened","pages":-1}"#,
        r#"{"reply":"opened","pages":1,"more":2}"#,
        r#"{"reply":"unreadable","reason":"whatever I like"}"#,
    ] {
        let mut bytes = u32::try_from(head.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(head.as_bytes());
        assert!(matches!(received(&bytes).await, Err(FrameError::Head(_))), "{head}");
    }
}
