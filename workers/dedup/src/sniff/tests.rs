#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

fn sniffed_in_chunks(bytes: &[u8], chunk: usize) -> Sniffed {
    let mut sniffer = Sniffer::default();
    bytes.chunks(chunk).for_each(|chunk| sniffer.observe(chunk));
    sniffer.finish()
}

fn sniffed(bytes: &[u8]) -> Sniffed {
    let whole = sniffed_in_chunks(bytes, usize::MAX);
    assert_eq!(sniffed_in_chunks(bytes, 1), whole);
    assert_eq!(sniffed_in_chunks(bytes, 7), whole);
    whole
}

/// The kind of bytes that are of one type only.
fn kind(bytes: impl AsRef<[u8]>) -> Kind {
    let Sniffed { kind, flaw } = sniffed(bytes.as_ref());
    assert_eq!(flaw, None, "{kind:?}");
    kind
}

/// A ZIP of empty members; the first one may have bytes.
fn zip(first_bytes: &[u8], names: &[&str]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (nth, name) in names.iter().enumerate() {
        let bytes = if nth == 0 { first_bytes } else { b"" };
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        file.extend(b"PK\x03\x04");
        file.extend([0; 22]);
        file.extend(length);
        file.extend([0; 2]);
        file.extend(name.as_bytes());
        file.extend(bytes);
        directory.extend(b"PK\x01\x02");
        directory.extend([0; 24]);
        directory.extend(length);
        directory.extend([0; 16]);
        directory.extend(name.as_bytes());
    }
    let (count, size) = (u16::try_from(names.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let start = u32::try_from(file.len()).unwrap();
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}

const DOCX: [&str; 3] = ["[Content_Types].xml", "_rels/.rels", "word/document.xml"];

fn bmp() -> Vec<u8> {
    let mut bytes = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bytes.resize(70, 0);
    bytes
}

#[test]
fn accepted_types_are_known_by_their_bytes() {
    assert_eq!(kind(b""), Kind::Empty);
    assert_eq!(kind(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"), Kind::Pdf);
    assert_eq!(kind(b"\xef\xbb\xbf\r\n%PDF-1.4\n\0"), Kind::Pdf);
    assert_eq!(kind(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"), Kind::Png);
    assert_eq!(kind(b"\xff\xd8\xff\xe0\0\x10JFIF\0"), Kind::Jpeg);
    assert_eq!(kind(b"II*\0\x08\0\0\0"), Kind::Tiff);
    assert_eq!(kind(b"MM\0*\0\0\0\x08"), Kind::Tiff);
    assert_eq!(kind(b"II+\0\x08\0\0\0"), Kind::Tiff, "BigTIFF");
    assert_eq!(kind(b"GIF89a\x01\0\x01\0"), Kind::Gif);
    assert_eq!(kind(b"RIFF\x1a\0\0\0WEBPVP8 "), Kind::Webp);
    assert_eq!(kind(bmp()), Kind::Bmp);
    assert_eq!(kind(zip(b"", &DOCX)), Kind::Docx);
    assert_eq!(kind(zip(b"", &["[Content_Types].xml", "xl/workbook.xml"])), Kind::Xlsx);
    let odt = Kind::Odt.mime().as_bytes();
    assert_eq!(kind(zip(odt, &["mimetype", "content.xml"])), Kind::Odt);
    assert_eq!(kind("Sehr geehrte Damen und Herren,\r\n\tGrüße\n"), Kind::Text);
    assert_eq!(kind(b"Gr\xfc\xdfe in Windows-1252"), Kind::Text);
    assert_eq!(kind("name;amount\nA;1\n\"B;C\";2\n"), Kind::Csv);
    assert_eq!(kind("a\tb\r\nc\td\r\n"), Kind::Csv);
}

#[test]
fn a_corrupted_document_keeps_its_type() {
    for (cut, expected) in [
        (&b"%PDF"[..], Kind::Pdf),
        (b"%PDF-", Kind::Pdf),
        (b"%PDF-1.7 only text follows", Kind::Pdf),
        (b"\x89PNG\r\n\x1a\n", Kind::Png),
        (b"\xff\xd8\xff", Kind::Jpeg),
        (b"MM\0*", Kind::Tiff),
    ] {
        assert_eq!(kind(cut), expected, "{cut:?}");
    }
}

#[test]
fn prose_is_not_taken_for_a_program_by_its_first_letters() {
    for prose in [
        "BMW AG, Munich",
        "MZ is a town's plate",
        "Rar! was what he said",
        "PKs are public keys",
        "%!",
        "BM",
        "ID3 and so on",
    ] {
        assert_eq!(kind(prose), Kind::Text, "{prose}");
    }
}

#[test]
fn what_is_not_accepted_has_its_name() {
    for (bytes, mime) in [
        (&b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0"[..], "application/vnd.microsoft.portable-executable"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "application/x-executable"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "application/x-7z-compressed"),
        (b"Rar!\x1a\x07\x01\0", "application/vnd.rar"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "application/gzip"),
        (b"#!/bin/sh\necho hi\n", "text/x-shellscript"),
        (b"\n <!DOCTYPE html><p>hi", "text/html"),
        (b"<ScRiPt>alert(1)</script>", "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><a/>", "text/xml"),
        (b"{\\rtf1\\ansi hello}", "application/rtf"),
        (b"%!PS-Adobe-3.0\n", "application/postscript"),
        (b"\x01\x02\x03\x04 nobody knows", "application/octet-stream"),
        (b"BM\0\0 not a picture", "application/octet-stream"),
        (b"PK\x03\x04 cut off", "application/zip"),
        (b"II*\0\x10\0\0\0CR\x02\0", "image/x-canon-cr2"),
    ] {
        assert_eq!(kind(bytes), Kind::Other(mime));
    }
    assert_eq!(kind(zip(b"", &["a.txt"])), Kind::Other("application/zip"));
    assert_eq!(kind(zip(b"", &["META-INF/MANIFEST.MF", "A.class"])), Kind::Other("application/zip"));
    let template = [Kind::Odt.mime(), "-template"].concat();
    assert_eq!(kind(zip(template.as_bytes(), &["mimetype", "content.xml"])), Kind::Other("application/zip"));
}

#[test]
fn a_binary_byte_far_behind_the_head_ends_a_text() {
    let mut bytes = "A line of prose.\n".repeat(5_000).into_bytes();
    assert_eq!(kind(&bytes), Kind::Text);
    bytes.push(0);
    assert_eq!(kind(&bytes), Kind::Other("application/octet-stream"));
}

#[test]
fn two_types_in_one_file_are_ambiguous() {
    let ambiguous = |bytes: &[u8]| sniffed(bytes).flaw == Some(Flaw::Ambiguous);
    assert!(ambiguous(b"GIF89a\x01\0\x01\0\0\0;\n%PDF-1.4\n"));
    assert!(ambiguous(b"a text that says %PDF-1.7 early on"));
    assert!(ambiguous(&[b"\x89PNG\r\n\x1a\n".as_slice(), &zip(b"", &DOCX)].concat()));
    assert!(ambiguous(&[b"%PDF-1.7\n".as_slice(), &zip(b"", &["a.exe"])].concat()));
    assert!(ambiguous(&zip(b"%PDF-1.4", &["a"])));
    let late = ["x".repeat(2_000).as_str(), "%PDF-"].concat();
    assert!(!ambiguous(late.as_bytes()), "no reader looks there");
    let attached = [b"%PDF-1.7\n".as_slice(), &zip(b"", &DOCX), b"\n%%EOF\n"].concat();
    assert!(!ambiguous(&attached), "an archive inside of a PDF is an attachment");
}

#[test]
fn an_archive_behind_the_end_of_a_pdf_is_ambiguous_and_one_inside_is_not() {
    let flaw = |parts: &[&[u8]]| sniffed(&parts.concat()).flaw;
    let pdf = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\nstartxref\n9\n%%EOF\n".as_slice();
    let padding = vec![0xa5; 20_000];
    for archive in [&b"Rar!\x1a\x07\x01\0"[..], b"Rar!\x1a\x07\0", b"7z\xbc\xaf\x27\x1c\0\x04", &zip(b"x", &["a.exe"])]
    {
        assert_eq!(flaw(&[pdf, archive]), Some(Flaw::Ambiguous), "{archive:?}");
        assert_eq!(flaw(&[pdf, &padding, archive, b"bytes behind it"]), Some(Flaw::Ambiguous));
        assert_eq!(flaw(&[pdf, archive, b"\n%%EOF\n"]), Some(Flaw::Ambiguous), "another end hides nothing");
        let attached = [b"2 0 obj\nstream\n", archive, b"\nendstream\nendobj\n%%EOF\n"].concat();
        assert_eq!(flaw(&[b"%PDF-1.7\n", &attached]), None);
        assert_eq!(flaw(&[pdf, &attached]), None, "an update of the PDF");
    }
    assert_eq!(flaw(&[pdf, &padding]), None, "padding is no archive");
    assert_eq!(flaw(&[b"about %%EOF and\n", b"Rar!"]), None, "a text");
}

#[test]
fn a_picture_with_a_program_or_an_archive_in_it_is_ambiguous() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0IEND\xae\x42\x60\x82".as_slice();
    let archive = zip(b"", &["a.txt"]);
    for tail in [
        b"<?php system($_GET['c']);".as_slice(),
        b"<ScRiPt src=//x></ScRiPt>",
        b"<!DOCTYPE html><p>",
        b"Rar!\x1a\x07\x01\0",
        b"7z\xbc\xaf\x27\x1c\0\x04",
        &[archive.as_slice(), b"and bytes behind it"].concat(),
    ] {
        let far = [png, &vec![0xa5; 20_000], tail].concat();
        assert_eq!(sniffed(&far).flaw, Some(Flaw::Ambiguous), "{tail:?}");
    }
    for script in ["GIF89a=1;alert(document.domain)", "GIF89a/*\0\0*/=1;alert(1)//"] {
        assert_eq!(sniffed(script.as_bytes()).flaw, Some(Flaw::Ambiguous), "{script}");
    }
    let page = b"%PDF-1.4\n<html><script>alert(1)</script>\n1 0 obj \0";
    assert_eq!(sniffed(page).flaw, Some(Flaw::Ambiguous));
}

#[test]
fn an_office_document_with_a_program_a_password_or_an_archive_in_it_says_so() {
    let with = |further: &'static str| zip(b"", &[DOCX.as_slice(), &[further]].concat());
    for (member, flaw) in [
        ("word/vbaProject.bin", Flaw::Macros),
        ("word/vbaData.xml", Flaw::Macros),
        ("word/activeX/activeX1.bin", Flaw::Macros),
        ("word/embeddings/a.ZIP", Flaw::ArchiveNested),
        ("word/embeddings/a.iso", Flaw::ArchiveNested),
        ("word/document.xml", Flaw::Ambiguous),
    ] {
        assert_eq!(sniffed(&with(member)).flaw, Some(flaw), "{member}");
    }
    let odt = zip(Kind::Odt.mime().as_bytes(), &["mimetype", "content.xml", "Basic/Standard/script-lb.xml"]);
    assert_eq!(sniffed(&odt).flaw, Some(Flaw::Macros));
    let mut locked = zip(b"", &DOCX);
    let entry = locked.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    locked[entry + 8] |= 1;
    assert_eq!(sniffed(&locked).flaw, Some(Flaw::Encrypted));
    let package: Vec<u8> = "EncryptedPackage".bytes().flat_map(|byte| [byte, 0]).collect();
    let ole = [OLE, &[0; 3_000], &package, &[0; 3_000]].concat();
    assert_eq!(sniffed(&ole), Sniffed { kind: Kind::Other("application/encrypted"), flaw: Some(Flaw::Encrypted) });
}

#[test]
fn an_office_document_that_unpacks_to_far_more_than_it_has_is_a_bomb() {
    let stating = |packed: u32, bytes: u32| {
        let mut file = zip(b"", &DOCX);
        let entry = file.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        file[entry + 20..entry + 24].copy_from_slice(&packed.to_le_bytes());
        file[entry + 24..entry + 28].copy_from_slice(&bytes.to_le_bytes());
        sniffed(&file).flaw
    };
    assert_eq!(stating(10, 30_000_000), None, "small, whatever its ratio");
    assert_eq!(stating(10, 40_000_000), Some(Flaw::ArchiveBomb));
    assert_eq!(stating(10, u32::MAX), Some(Flaw::ArchiveBomb));
    assert_eq!(stating(1_000_000, 10), Some(Flaw::ArchiveBomb), "members that lie over each other");
}

#[test]
fn utf_16_with_its_mark_is_text_and_a_page_in_it_is_a_page() {
    let utf16 = |mark: [u8; 2], unit: fn(u16) -> [u8; 2], text: &str| {
        let units: Vec<u8> = text.encode_utf16().flat_map(unit).collect();
        [mark.as_slice(), &units].concat()
    };
    for (mark, unit) in [([0xff, 0xfe], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xfe, 0xff], u16::to_be_bytes)] {
        assert_eq!(kind(utf16(mark, unit, "Grüße, 5 €\r\n")), Kind::Text);
        assert_eq!(kind(utf16(mark, unit, "a;b\nc;d\n")), Kind::Csv);
        assert_eq!(kind(utf16(mark, unit, " <script>x</script>")), Kind::Other("text/html"));
        assert_eq!(kind(utf16(mark, unit, "a\0b")), Kind::Other("application/octet-stream"));
    }
}

#[test]
fn a_long_office_document_is_known_by_its_end() {
    let picture = vec![0xaa; 1_500_000];
    assert_eq!(sniffed_in_chunks(&zip(&picture, &DOCX), 8_192).kind, Kind::Docx);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_chunks_do_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..300), chunk in 1_usize..50) {
        prop_assert_eq!(sniffed_in_chunks(&bytes, chunk), sniffed_in_chunks(&bytes, usize::MAX));
    }

    #[test]
    fn a_bent_archive_does_not_make_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = zip(b"", &DOCX);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        sniffed_in_chunks(&bytes, 13);
    }
}
