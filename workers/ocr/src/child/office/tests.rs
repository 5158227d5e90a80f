#![allow(clippy::unwrap_used)]
use std::io::{Cursor, Write};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::*;

const MAIN: &str = "word/document.xml";

fn package(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn word(body: &str) -> Vec<u8> {
    let xml = format!(r#"<?xml version="1.0"?><w:document xmlns:w="w"><w:body>{body}</w:body></w:document>"#);
    xml.into_bytes()
}

fn docx(body: &str) -> Vec<u8> {
    package(&[(MAIN, &word(body))])
}

fn odt(content: &str) -> Vec<u8> {
    package(&[("mimetype", b"application/vnd.oasis.opendocument.text"), ("content.xml", content.as_bytes())])
}

fn read(kind: Kind, bytes: &[u8]) -> Result<String, Unreadable> {
    text(kind, bytes, &OcrConfig { text_bytes_max: 100_000, ..OcrConfig::default() })
}

#[test]
fn paragraphs_tabs_and_characters_of_a_docx_are_read() {
    let body = r"<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>M&#252;ller &amp; S</w:t></w:r><w:r><w:t>ohn</w:t></w:r></w:p>
        <w:p><w:r><w:t>Konto</w:t><w:tab/><w:t>4711</w:t><w:br/><w:t>x</w:t></w:r></w:p>";
    assert_eq!(read(Kind::Docx, &docx(body)).unwrap(), "Müller & Sohn\nKonto\t4711\nx\n");
}

#[test]
fn tables_are_rows_of_cells() {
    let cell = |text: &str| format!("<w:tc><w:tcPr/><w:p><w:r><w:t>{text}</w:t></w:r></w:p><w:p/></w:tc>");
    let row = |texts: &[&str]| format!("<w:tr>{}</w:tr>", texts.iter().map(|t| cell(t)).collect::<String>());
    let body = format!("<w:tbl>{}{}</w:tbl>", row(&["Posten", "Betrag"]), row(&["Strom", "62,64"]));
    assert_eq!(read(Kind::Docx, &docx(&body)).unwrap(), "Posten\tBetrag\nStrom\t62,64\n");
}

#[test]
fn headers_notes_and_footers_stand_around_the_body() {
    let say = |text: &str| word(&format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"));
    let bytes = package(&[
        ("word/footer1.xml", &say("Seite")),
        ("word/footnotes.xml", &say("Note")),
        (MAIN, &say("Rumpf")),
        ("word/header2.xml", &say("Kopf 2")),
        ("word/header1.xml", &say("Kopf")),
        ("word/headers-of-another-kind.xml", &say("nichts")),
    ]);
    assert_eq!(read(Kind::Docx, &bytes).unwrap(), "Kopf\nKopf 2\nRumpf\nNote\nSeite\n");
}

#[test]
fn what_was_deleted_moved_or_said_twice_is_not_text() {
    let body = "<w:p><w:del><w:r><w:delText>weg</w:delText></w:r></w:del><w:moveFrom><w:r><w:t>alt</w:t></w:r></w:moveFrom>\
        <w:r><w:t>da</w:t><w:instrText>PAGE</w:instrText></w:r><mc:AlternateContent><mc:Choice><w:t>!</w:t></mc:Choice>\
        <mc:Fallback><w:t>?</w:t></mc:Fallback></mc:AlternateContent></w:p>";
    assert_eq!(read(Kind::Docx, &docx(body)).unwrap(), "da!\n");
}

#[test]
fn the_main_part_may_have_another_name() {
    let relations = br#"<Relationships><Relationship Type="x/styles" Target="a.xml"/><Relationship Type="http://x/officeDocument" Target="/word/document2.xml"/></Relationships>"#;
    let bytes = package(&[("_rels/.rels", relations), ("word/document2.xml", &word("<w:p><w:t>ja</w:t></w:p>"))]);
    assert_eq!(read(Kind::Docx, &bytes).unwrap(), "ja\n");
}

#[test]
fn an_odt_has_its_paragraphs_notes_tables_and_headers() {
    let content = r#"<office:document-content><office:body><office:text>
        <text:tracked-changes><text:p>gelöscht</text:p></text:tracked-changes>
        <text:h>Vertrag</text:h>
        <text:p>Ein   <text:span>langer</text:span><text:s text:c="2"/>Satz<text:note><text:note-citation>1</text:note-citation>
          <text:note-body><text:p>Die Note.</text:p></text:note-body></text:note>.<text:line-break/>Zeile</text:p>
        <table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell><table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table>
        </office:text></office:body></office:document-content>"#;
    let styles = "<s><style:style><text:p>nichts</text:p></style:style><style:master-page><style:header><text:p>Kopf</text:p></style:header>\
        <style:footer><text:p>Fuß</text:p></style:footer></style:master-page></s>";
    let bytes = package(&[("styles.xml", styles.as_bytes()), ("content.xml", content.as_bytes())]);
    assert_eq!(read(Kind::Odt, &bytes).unwrap(), "Kopf\nVertrag\nEin langer  Satz.\nZeile\na\tb\nDie Note.\nFuß\n");
}

#[test]
fn documents_with_a_password_say_so() {
    let manifest = b"<manifest><file-entry><encryption-data/></file-entry></manifest>";
    let bytes = package(&[("META-INF/manifest.xml", manifest), ("content.xml", &[0x13, 0x37, 0xFF])]);
    assert_eq!(read(Kind::Odt, &bytes), Err(Unreadable::Encrypted));
}

#[test]
fn missing_parts_and_other_zips_are_corrupt() {
    let empty = package(&[("readme.txt", b"x")]);
    for kind in [Kind::Docx, Kind::Odt] {
        assert_eq!(read(kind, &empty), Err(Unreadable::Corrupt));
        for bytes in [&b""[..], b"PK\x05\x06", b"no zip", &[0; 100]] {
            assert_eq!(read(kind, bytes), Err(Unreadable::Corrupt));
        }
    }
    let relations = br#"<Relationships><Relationship Type="/officeDocument" Target="gone.xml"/></Relationships>"#;
    assert_eq!(read(Kind::Docx, &package(&[("_rels/.rels", relations)])), Err(Unreadable::Corrupt));
}

#[test]
fn every_cut_of_a_document_is_an_error_or_text_and_never_a_panic() {
    let whole = docx(&"<w:p><w:r><w:t>Bank am Nirgendplatz</w:t></w:r></w:p>".repeat(40));
    for cut in 0..whole.len() {
        assert!(read(Kind::Docx, &whole[..cut]).is_err(), "{cut}");
    }
    for at in (0..whole.len()).step_by(3) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        // Either way; what counts is that it ends.
        read(Kind::Docx, &damaged).ok();
    }
}

#[test]
fn a_bomb_is_too_large_before_it_unfolds() {
    let zeros = vec![b' '; 40 * 1024 * 1024];
    assert_eq!(read(Kind::Docx, &package(&[(MAIN, &zeros)])), Err(Unreadable::TooLarge));
    // The same, with a size that lies: what is read counts.
    let mut liar = package(&[(MAIN, &zeros)]);
    let directory = liar.windows(4).rposition(|four| four == b"PK\x01\x02").unwrap();
    liar[directory + 24..directory + 28].copy_from_slice(&1_000_u32.to_le_bytes());
    assert!(read(Kind::Docx, &liar).is_err());
    let text = format!("<w:p><w:t>{}</w:t></w:p>", "a ".repeat(60_000));
    assert_eq!(read(Kind::Docx, &docx(&text)), Err(Unreadable::TooLarge), "more text than is kept");
}

#[test]
fn thousands_of_parts_are_refused_by_the_number_in_the_directory() {
    let names: Vec<String> = (0..4_001).map(|nth| format!("{nth}.xml")).collect();
    let parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(read(Kind::Docx, &package(&parts)), Err(Unreadable::TooLarge));
}

#[test]
fn entities_do_not_grow() {
    let bomb = br#"<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><w:document><w:p><w:t>&b;</w:t></w:p></w:document>"#;
    assert_eq!(read(Kind::Docx, &package(&[(MAIN, bomb)])), Err(Unreadable::Corrupt));
    let outside =
        br#"<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><office:text><text:p>&a;</text:p></office:text>"#;
    assert_eq!(read(Kind::Odt, &odt(&String::from_utf8_lossy(outside))), Err(Unreadable::Corrupt));
    assert_eq!(read(Kind::Docx, &docx("<w:p><w:t>&own;</w:t></w:p>")), Err(Unreadable::Corrupt));
}

#[test]
fn depth_costs_nothing() {
    let deep = format!("{}<w:p><w:t>tief</w:t></w:p>{}", "<w:x>".repeat(100_000), "</w:x>".repeat(100_000));
    assert_eq!(read(Kind::Docx, &docx(&deep)).unwrap(), "tief\n");
}
