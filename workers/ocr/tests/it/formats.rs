//! Every kind of document, and every way that a page can lie.

use std::{
    io::{Cursor, Write},
    process::Command,
};

use docfleet_events::TextSource;
use image::{DynamicImage, ImageFormat};
use ocr::{
    Kind, OcrConfig, Unreadable,
    engine::{Engine, Error},
    layout::{PageLayout, Word},
    reading::{PAGE_BREAK, Reading},
};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    TENANT, engine,
    files::{Sheet, pdf, sample},
    one_child, read, reason, worker,
};

/// Of the sample letter.
const SUBJECT: &str = "Jahresabrechnung 2026 und Ihr neuer Abschlag";

fn letter() -> DynamicImage {
    image::load_from_memory(&sample("letter.png")).unwrap().into_luma8().into()
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn only_layout(reading: &Reading) -> &PageLayout {
    let [layout] = reading.layouts().collect::<Vec<_>>().try_into().expect("one page has boxes");
    layout
}

fn find<'a>(layout: &'a PageLayout, text: &str) -> &'a Word {
    layout.words().find(|word| word.text == text).unwrap_or_else(|| panic!("{text} is not there"))
}

/// Where a word stands, within some pixels.
fn assert_at(layout: &PageLayout, text: &str, [left, top, width, height]: [u32; 4]) {
    let word = find(layout, text);
    let off =
        [word.left.abs_diff(left), word.top.abs_diff(top), word.width.abs_diff(width), word.height.abs_diff(height)];
    assert!(off.iter().all(|pixels| *pixels <= 8), "{word:?}, not {left} {top} {width} {height}");
}

#[tokio::test]
async fn every_format_of_pictures_is_read() {
    let engine = engine().await;
    let (grey, colours) = (letter(), DynamicImage::from(letter().into_rgb8()));
    let paletted = DynamicImage::from(letter().into_rgba8());
    for (format, kind, picture) in [
        (ImageFormat::Png, Kind::Picture, &paletted),
        (ImageFormat::Jpeg, Kind::Picture, &colours),
        (ImageFormat::WebP, Kind::Picture, &colours),
        (ImageFormat::Bmp, Kind::Picture, &colours),
        (ImageFormat::Gif, Kind::Picture, &paletted),
        (ImageFormat::Tiff, Kind::Tiff, &grey),
    ] {
        let reading = read(&engine, kind, encoded(picture, format)).await.unwrap();
        assert!(reading.text().contains(SUBJECT), "{format:?}: {}", reading.text());
        let layout = only_layout(&reading);
        assert_eq!((layout.width, layout.height, layout.rotation), (1_240, 1_755, 0), "{format:?}");
        assert_eq!(layout.language.as_deref(), Some("deu"), "{format:?}");
        assert_at(layout, "Stadtwerke", [222, 96, 187, 29]);
    }
}

#[tokio::test]
async fn a_page_that_lies_on_its_side_or_head_is_turned() {
    let engine = engine().await;
    let letter = letter();
    for (lying, rotation) in [(letter.rotate90(), 270), (letter.rotate180(), 180), (letter.rotate270(), 90)] {
        let reading = read(&engine, Kind::Picture, encoded(&lying, ImageFormat::Png)).await.unwrap();
        assert!(reading.text().contains(SUBJECT), "{rotation}: {}", reading.text());
        let layout = only_layout(&reading);
        assert_eq!((layout.width, layout.height, layout.rotation), (1_240, 1_755, rotation));
        assert_at(layout, "Stadtwerke", [222, 96, 187, 29]);
    }
}

/// A JPEG with the note of a camera that was held in another way: 6 is "turn it by 90 degrees to see it".
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"\xFF\xE1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

#[tokio::test]
async fn what_the_camera_says_of_its_position_is_heeded() {
    let engine = engine().await;
    // Short, so that one can not tell from the letters how it lies.
    let words = letter().crop_imm(100, 80, 700, 100);
    for (held, orientation, rotation) in [(words.rotate270(), 6, 90), (words.rotate180(), 3, 180)] {
        let jpeg = with_orientation(&encoded(&held, ImageFormat::Jpeg), orientation);
        let reading = read(&engine, Kind::Picture, jpeg).await.unwrap();
        assert!(reading.text().contains("Stadtwerke Lindenfurt"), "{orientation}: {}", reading.text());
        let layout = only_layout(&reading);
        assert_eq!((layout.width, layout.height, layout.rotation), (700, 100, rotation));
    }
}

/// Laid in by so many degrees clockwise.
fn hanging(picture: &DynamicImage, degrees: f64) -> DynamicImage {
    let picture = picture.to_luma8();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (x0, y0) = (f64::from(picture.width()) / 2.0, f64::from(picture.height()) / 2.0);
    image::GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (dx, dy) = (f64::from(x) - x0, f64::from(y) - y0);
        let (x, y) = (dx * cos + dy * sin + x0, dy * cos - dx * sin + y0);
        let inside = x >= 0.0 && y >= 0.0;
        let pixel = inside.then(|| picture.get_pixel_checked(x.round() as u32, y.round() as u32)).flatten();
        pixel.copied().unwrap_or(image::Luma([255]))
    })
    .into()
}

#[tokio::test]
async fn a_page_that_hangs_is_straightened_and_its_boxes_lie_where_one_sees_them() {
    let engine = engine().await;
    let straight = read(&engine, Kind::Picture, sample("letter.png")).await.unwrap();
    // The sample was laid in by hand too.
    let own = f64::from(only_layout(&straight).skew);
    for degrees in [-4.0, 2.5] {
        let bytes = encoded(&hanging(&letter(), degrees), ImageFormat::Png);
        let reading = read(&engine, Kind::Picture, bytes).await.unwrap();
        // Laid in by whole pixels, letters fray: a capital I may come out as another.
        assert!(reading.text().contains("Jahresabrechnung 2026 und"), "{degrees}: {}", reading.text());
        let layout = only_layout(&reading);
        assert!((f64::from(layout.skew) - own - degrees).abs() < 0.2, "{degrees}: {}", layout.skew);
        let (sin, cos) = degrees.to_radians().sin_cos();
        // The middle of the word's box in the straight picture, laid in by hand.
        let (dx, dy) = (222.0 + 93.5 - 620.0, 96.0 + 14.5 - 877.5);
        let (x, y) = (dx * cos - dy * sin + 620.0, dx * sin + dy * cos + 877.5);
        assert_at(layout, "Stadtwerke", [(x - 93.5) as u32, (y - 14.5) as u32, 187, 29]);
    }
}

#[tokio::test]
async fn a_blank_page_has_no_words_and_does_not_lose_the_others() {
    let engine = engine().await;
    let paper = image::GrayImage::from_fn(1_240, 1_754, |x, y| image::Luma([245 + ((x * 7 + y * 13) % 5) as u8]));
    assert_eq!(
        reason(&engine, Kind::Picture, encoded(&paper.into(), ImageFormat::Png)).await,
        Some(Unreadable::NoText)
    );
    let prose = "The quick brown fox jumps over the lazy dog and so on.";
    let sheets = [Sheet(595, 842, ""), Sheet(595, 842, prose), Sheet(595, 842, "")];
    let reading = read(&engine, Kind::Pdf, pdf(&sheets)).await.unwrap();
    let words: Vec<i32> = reading.pages().iter().map(|page| page.words).collect();
    assert_eq!((words, reading.unread().len()), (vec![0, 12, 0], 0));
}

#[tokio::test]
async fn a_mixed_pdf_is_read_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["contract.pdf", "statement-scan.pdf"] {
        std::fs::write(file(name), sample(name)).unwrap();
    }
    let parts = [file("statement-scan.pdf"), file("contract.pdf"), file("mixed.pdf")];
    assert!(Command::new("pdfunite").args(parts).status().unwrap().success());
    let reading = read(&engine().await, Kind::Pdf, std::fs::read(file("mixed.pdf")).unwrap()).await.unwrap();
    let text = reading.text();
    let pages: Vec<&str> = text.split(PAGE_BREAK).collect();
    assert!(pages[0].contains("Statement of Account") && pages[2].contains("Kontoeröffnungsvertrag"));
    let sources: Vec<TextSource> = reading.pages().iter().map(|page| page.source).collect();
    assert_eq!(sources[..3], [TextSource::Ocr, TextSource::Ocr, TextSource::TextLayer]);
    let layouts: Vec<&PageLayout> = reading.layouts().collect();
    assert_eq!(layouts.len(), pages.len(), "each page has boxes");
    let title = find(layouts[2], "Kontoeröffnungsvertrag");
    // 60 points from the left, 65 from the top.
    assert_eq!((layouts[2].dpi, title.left, title.confidence), (300, 250, None));
    assert!(title.top.abs_diff(271) < 10, "{title:?}");
}

#[tokio::test]
async fn a_page_that_fails_is_named_with_its_reason() {
    let prose = "The quick brown fox jumps over the lazy dog and so on.";
    let sheets = [Sheet(595, 842, prose), Sheet(14_400, 14_400, ""), Sheet(595, 842, prose)];
    let reading = read(&engine().await, Kind::Pdf, pdf(&sheets)).await.unwrap();
    assert_eq!((reading.reason(), reading.unread()), (None, vec![(2, Unreadable::TooLargeImage)]));
    assert_eq!(reading.layouts().map(|layout| layout.number).collect::<Vec<_>>(), [1, 3]);
}

fn package(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[tokio::test]
async fn office_documents_are_read_and_hostile_ones_are_facts() {
    let engine = engine().await;
    let main = |text: &str| format!("<w:document><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:document>");
    let docx = package(&[("word/document.xml", main("Antrag auf Eröffnung eines Kontos").as_bytes())]);
    let reading = read(&engine, Kind::Docx, docx.clone()).await.unwrap();
    assert_eq!((reading.text().as_str(), reading.engine()), ("Antrag auf Eröffnung eines Kontos", None));
    let [page] = reading.pages().try_into().unwrap();
    assert_eq!((page.words, page.source, page.confidence), (5, TextSource::TextLayer, None));
    let odt = package(&[("content.xml", b"<office:text><text:p>Sehr geehrte Frau</text:p></office:text>")]);
    assert_eq!(read(&engine, Kind::Odt, odt).await.unwrap().text(), "Sehr geehrte Frau");

    let bomb = package(&[("word/document.xml", &vec![b'<'; 100_000_000])]);
    let entities = package(&[("content.xml", b"<!DOCTYPE x [<!ENTITY a \"aaaa\">]><text:p>&a;&a;</text:p>")]);
    for (what, kind, document, expected) in [
        ("a bomb", Kind::Docx, bomb, Unreadable::TooLarge),
        ("entities", Kind::Odt, entities, Unreadable::Corrupt),
        ("cut off", Kind::Docx, docx[..docx.len() / 2].to_vec(), Unreadable::Corrupt),
        ("another zip", Kind::Docx, package(&[("a.txt", b"a")]), Unreadable::Corrupt),
        ("without words", Kind::Docx, package(&[("word/document.xml", main("").as_bytes())]), Unreadable::NoText),
    ] {
        assert_eq!(reason(&engine, kind, document).await, Some(expected), "{what}");
    }
    assert_eq!(reason(&engine, Kind::Docx, docx).await, None, "the same child reads on");
}

#[tokio::test]
async fn a_tenants_language_is_loaded_for_its_documents_and_missed_at_the_start() {
    let engine = engine().await;
    let lease = engine.lease(TENANT).await.unwrap().in_languages("eng");
    let stop = tokio_util::sync::CancellationToken::new();
    let reading = lease.read(Kind::Picture, sample("letter.png").into(), &stop).await.unwrap();
    assert!(!reading.text().contains("Uferstraße"), "English has no sharp s");
    assert!(read(&engine, Kind::Picture, sample("letter.png")).await.unwrap().text().contains("Uferstraße"));
    let tenant_languages = [("acme".to_owned(), "tlh".to_owned())].into();
    let error = Engine::start(worker(), OcrConfig { tenant_languages, ..one_child() }).await.err();
    assert!(matches!(error, Some(Error::Start(why)) if why.contains("tlh")));
}
