use docfleet_events::TextSource;
use ocr::{
    Kind,
    reading::{PAGE_BREAK, Reading, excerpt},
};

use super::{
    engine,
    files::{fixture, sample},
    read,
};

async fn reading_of(name: &str, kind: Kind) -> Reading {
    let reading = read(&engine().await, kind, sample(name)).await.expect("it is read");
    assert_eq!(reading.reason(), None);
    reading
}

fn assert_says(text: &str, phrases: &[&str]) {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for phrase in phrases {
        assert!(line.contains(phrase), "{phrase:?} is not in {line:?}");
    }
}

#[tokio::test]
async fn a_scanned_german_letter_is_read() {
    let reading = reading_of("letter.png", Kind::Picture).await;
    let text = reading.text();
    assert_says(
        &text,
        &[
            "Katharina Beispiel-Wagner",
            "Uferstraße 12",
            "Jahresabrechnung 2026 und Ihr neuer Abschlag",
            "Der abgelesene Zählerstand beträgt 48.213 Kilowattstunden",
            "62,64 EUR",
            "Mit freundlichen Grüßen",
        ],
    );
    assert!(reading.confidence().is_some_and(|c| c > 85.0), "{:?}", reading.confidence());
    assert_eq!(excerpt(&text).unwrap().split(' ').next(), Some("Stadtwerke"));
    let [page] = reading.pages().try_into().unwrap();
    assert!((120..200).contains(&page.words) && page.source == TextSource::Ocr, "{page:?}");
    assert!(reading.engine().unwrap().starts_with("tesseract 5."), "{:?}", reading.engine());
}

#[tokio::test]
async fn both_pages_of_a_scanned_pdf_are_read() {
    let reading = reading_of("statement-scan.pdf", Kind::Pdf).await;
    let text = reading.text();
    let (first, second) = text.split_once(PAGE_BREAK).expect("two pages");
    assert_says(first, &["Mr Arthur Placeholder", "Statement of Account", "Salary, Paperclip Works Ltd", "2,214.94"]);
    assert_says(second, &["Closing balance on 31 October 2026: 2,057.08", "Eleanor Nobody"]);
    assert!(
        reading.pages().iter().all(|p| p.source == TextSource::Ocr && p.confidence.is_some_and(|c| c > 85.0)),
        "{:?}",
        reading.pages()
    );
}

#[tokio::test]
async fn the_text_layer_of_a_born_digital_pdf_is_taken_as_it_is() {
    let reading = reading_of("contract.pdf", Kind::Pdf).await;
    assert_says(
        &reading.text(),
        &[
            "Kontoeröffnungsvertrag",
            "§ 2 Feststellung der Identität",
            "geboren am 29. Februar 1988 in Erfundenhausen",
            "The monthly fee is 3.90 EUR.",
            "Dr. Theodora Niemand",
        ],
    );
    assert!(reading.pages().iter().all(|p| p.source == TextSource::TextLayer && p.confidence.is_none()));
    assert!(!reading.used_ocr());
    assert!(reading.engine().unwrap().starts_with("poppler "), "{:?}", reading.engine());
}

#[tokio::test]
async fn all_pages_of_a_tiff_are_read_whatever_their_compression() {
    let reading = reading_of("passport-pages.tiff", Kind::Tiff).await;
    let text = reading.text();
    let [data, visa, notes] = text.split(PAGE_BREAK).collect::<Vec<_>>().try_into().expect("three pages");
    assert_says(data, &["REPUBLIC OF UTOPIA", "ANNA MARIA", "L898902C3", "P<UTOSPECIMEN<<ANNA<MARIA"]);
    assert_says(visa, &["Kingdom of Ruritania", "Valid until 31 December 2026"]);
    assert_says(notes, &["3 Anyder Quay", "Neither this republic nor its passports exist."]);
    assert!(reading.confidence().is_some_and(|c| c > 80.0), "{:?}", reading.pages());
}

#[tokio::test]
async fn a_pdf_that_only_forbids_copying_is_read() {
    let reading = read(&engine().await, Kind::Pdf, fixture("owner-locked.pdf")).await.unwrap();
    assert_says(&reading.text(), &["Bank am Nirgendplatz AG"]);
}

#[tokio::test]
async fn plain_text_is_taken_as_it_is() {
    let reading = read(&engine().await, Kind::Plain, b"Name;Ort\r\nM\xFCller;K\xF6ln\r\n".to_vec()).await.unwrap();
    assert_eq!(reading.text(), "Name;Ort\nMüller;Köln");
    assert_eq!((reading.pages()[0].words, reading.engine()), (2, None));
}
