use ocr::{Kind, OcrConfig, Unreadable, engine::Engine};

use super::{
    engine,
    files::{Sheet, fixture, pdf, png_header, sample, white_bmp},
    one_child, read, reason, worker,
};

const PROSE: &str = "The quick brown fox jumps over the lazy dog beside the river bank.";

#[tokio::test]
async fn damaged_documents_are_facts_and_the_child_reads_on() {
    let engine = engine().await;
    let letter = sample("letter.png");
    let statement = sample("statement-scan.pdf");
    for (what, kind, document, expected) in [
        ("0 bytes", Kind::Picture, vec![], Unreadable::Empty),
        ("0 bytes as PDF", Kind::Pdf, vec![], Unreadable::Empty),
        ("one byte", Kind::Picture, vec![0x89], Unreadable::Corrupt),
        ("a truncated PNG", Kind::Picture, letter[..letter.len() / 2].to_vec(), Unreadable::Corrupt),
        ("a PNG's header alone", Kind::Picture, png_header(100, 100), Unreadable::Corrupt),
        ("a truncated PDF", Kind::Pdf, sample("broken.pdf"), Unreadable::Corrupt),
        ("a PDF's header alone", Kind::Pdf, b"%PDF-1.7\n".to_vec(), Unreadable::Corrupt),
        ("a TIFF's header alone", Kind::Tiff, b"II\x2a\0\x08\0\0\0".to_vec(), Unreadable::Corrupt),
        ("a PNG that is called TIFF", Kind::Tiff, letter.clone(), Unreadable::Corrupt),
        ("a PDF that is called PNG", Kind::Picture, statement, Unreadable::Corrupt),
        ("an encrypted PDF", Kind::Pdf, fixture("encrypted.pdf"), Unreadable::Encrypted),
        ("no page", Kind::Pdf, pdf(&[]), Unreadable::Empty),
        ("a flood of pixels", Kind::Picture, png_header(60_000, 60_000), Unreadable::TooLargeImage),
        ("one white pixel", Kind::Picture, white_bmp(1, 1), Unreadable::NoText),
        ("a blank page", Kind::Picture, white_bmp(600, 800), Unreadable::NoText),
        ("a blank page in a PDF", Kind::Pdf, pdf(&[Sheet(595, 842, "")]), Unreadable::NoText),
        ("a page as large as a house", Kind::Pdf, pdf(&[Sheet(14_400, 14_400, "")]), Unreadable::TooLargeImage),
        ("blank text", Kind::Plain, b" \r\n\t".to_vec(), Unreadable::NoText),
    ] {
        assert_eq!(reason(&engine, kind, document).await, Some(expected), "{what}");
    }
    assert_eq!(reason(&engine, Kind::Picture, letter).await, None, "the same child reads a good letter");
}

#[tokio::test]
async fn a_document_cut_anywhere_never_ends_the_child() {
    let engine = engine().await;
    for (name, kind) in
        [("letter.png", Kind::Picture), ("passport-pages.tiff", Kind::Tiff), ("contract.pdf", Kind::Pdf)]
    {
        let whole = sample(name);
        for cut in 1..8 {
            read(&engine, kind, whole[..whole.len() * cut / 8].to_vec()).await.expect(name);
        }
    }
}

#[tokio::test]
async fn a_cut_tiff_keeps_the_pages_that_are_whole() {
    let whole = sample("passport-pages.tiff");
    let mut damaged = whole.clone();
    // The first page's strips lie at the beginning; the directories and the other pages behind them.
    damaged[8..40_000].fill(0xAA);
    let reading = read(&engine().await, Kind::Tiff, damaged).await.unwrap();
    let numbers: Vec<i32> = reading.pages().iter().map(|page| page.number).collect();
    assert!(numbers.ends_with(&[2, 3]), "{numbers:?}");
    assert!(reading.text().contains("Ruritania"));
}

#[tokio::test]
async fn too_many_pages_are_refused_before_one_is_read() {
    let engine = engine().await;
    let book = vec![Sheet(595, 842, PROSE); 5_000];
    assert_eq!(reason(&engine, Kind::Pdf, pdf(&book)).await, Some(Unreadable::TooManyPages));
    assert_eq!(reason(&engine, Kind::Pdf, pdf(&book[..3])).await, None);
}

#[tokio::test]
async fn a_page_that_can_not_be_rendered_does_not_lose_the_others() {
    let sheets = [Sheet(595, 842, PROSE), Sheet(14_400, 14_400, ""), Sheet(595, 842, PROSE)];
    let reading = read(&engine().await, Kind::Pdf, pdf(&sheets)).await.unwrap();
    assert_eq!(reading.reason(), None);
    assert_eq!(reading.pages().iter().map(|page| page.number).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test]
async fn more_text_than_agreed_is_a_fact() {
    let config = OcrConfig { text_bytes_max: 150, ..one_child() };
    let engine = Engine::start(worker(), config).await.unwrap();
    assert_eq!(reason(&engine, Kind::Plain, vec![b'a'; 200]).await, Some(Unreadable::TooLarge));
    let three = vec![Sheet(595, 842, PROSE); 3];
    assert_eq!(
        reason(&engine, Kind::Pdf, pdf(&three)).await,
        Some(Unreadable::TooLarge),
        "each page is within, all are not"
    );
    assert_eq!(reason(&engine, Kind::Pdf, pdf(&three[..1])).await, None);
}
