use super::{
    Case, Content, Outcome,
    Outcome::{Infected, NotAccepted, Read, ReadOrUnreadable, Refused, Unreadable},
    forms::{object_streams, page, pdf, swollen, words},
    make::{docx, docx_of, odt, ole, packed, pdf_page, stored, stream, xlsx, zip},
    pictures::{BMP, GIF, JPEG, TIFF, WEBP, flood},
};
use crate::{documents::png, servers::eicar};

const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const ODT: &str = "application/vnd.oasis.opendocument.text";
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const ANY: &str = "application/octet-stream";
const PDF: &str = "application/pdf";
/// Office documents are read, or are of a type that has nothing to read yet.
const OFFICE: Outcome = ReadOrUnreadable(&["unsupported-type"]);
const CUT: Outcome = ReadOrUnreadable(&["corrupt", "no-text", "empty"]);
const BOMB: Outcome = ReadOrUnreadable(&["corrupt", "no-text", "too-slow", "too-large"]);

fn case(row: &'static str, name: &str, mime: &'static str, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Case {
    Case { row, file_name: name.into(), mime, content: Content::Bytes(bytes.into()), outcome }
}

/// The whole corpus.
pub fn all() -> Vec<Case> {
    let mut cases = honest();
    cases.extend(
        [lies(), polyglots(), forbidden(), bombs(), cut_off(), locked(), edges(), viruses(), names()]
            .into_iter()
            .flatten(),
    );
    cases
}

fn honest() -> Vec<Case> {
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(words("UTF-16").encode_utf16().flat_map(u16::to_le_bytes)).collect();
    vec![
        case("text", "note.txt", "text/plain", words("UTF-8: Grüße"), Read),
        case("text in UTF-16", "note.txt", "text/plain", utf16, Read),
        case("CSV", "list.csv", "text/csv", "number,text\n1,a document\n2,a text\n", Read),
        case("PDF", "letter.pdf", PDF, pdf("honesty"), Read),
        case("PNG", "scan.png", "image/png", png(1_000), Read),
        case("JPEG", "scan.jpg", "image/jpeg", JPEG, Read),
        case("TIFF", "scan.tiff", "image/tiff", TIFF, Read),
        case("GIF", "scan.gif", "image/gif", GIF, Read),
        case("BMP", "scan.bmp", "image/bmp", BMP, Read),
        case("WebP", "scan.webp", "image/webp", WEBP, Read),
        case("DOCX", "letter.docx", DOCX, docx(&words("DOCX"), vec![]), OFFICE),
        case("ODT", "letter.odt", ODT, odt(&words("ODT")), OFFICE),
        case("XLSX", "sheet.xlsx", XLSX, xlsx(), Unreadable("unsupported-type")),
    ]
}

fn lies() -> Vec<Case> {
    const LIE: Outcome = Refused("type-mismatch");
    vec![
        case("a program called PDF", "invoice.pdf", PDF, program(1), LIE),
        case("a PDF called photo", "photo.jpg", "image/jpeg", pdf("a photo"), LIE),
        case("a PNG declared as PDF", "letter.png", PDF, png(1_001), LIE),
        case("a page called text", "letter.txt", "text/plain", "<html><body>a document</body></html>", LIE),
        case("an archive called DOCX", "letter.docx", DOCX, zip(&[stored("a.txt", "a text")]), LIE),
        case("wrong ending: a PDF called program", "letter.pdf.exe", PDF, pdf("endings"), LIE),
        case("wrong ending: a PNG called JPEG", "scan.jpeg", "image/jpeg", png(1_002), LIE),
    ]
}

fn polyglots() -> Vec<Case> {
    const TWO: Outcome = Refused("type-ambiguous");
    let archive = zip(&[stored("a.txt", "a text in an archive")]);
    vec![
        case("GIF and PDF", "scan.gif", "image/gif", [&GIF[..800], &pdf("a GIF")[..]].concat(), TWO),
        case("PDF, header not at 0", "letter.pdf", PDF, [&[b'x'; 100][..], &pdf("late")].concat(), TWO),
        case(
            "PDF and ZIP",
            "letter.pdf",
            PDF,
            [pdf("an archive"), archive.clone()].concat(),
            Outcome::Unscannable("archive-not-covered"),
        ),
        case(
            "JPEG and ZIP",
            "scan.jpg",
            "image/jpeg",
            [JPEG, &archive].concat(),
            Outcome::Unscannable("archive-not-covered"),
        ),
        case("JPEG, ZIP and a tail", "scan.jpg", "image/jpeg", [JPEG, &archive, b"tail"].concat(), TWO),
        case("PNG and PHP", "scan.png", "image/png", [&png(1_003)[..], b"<?php system($_GET['c']); ?>"].concat(), TWO),
        case("GIF and JavaScript", "scan.gif", "image/gif", "GIF89a=1;alert(document.cookie)//", TWO),
        case(
            "GIF, JavaScript in a comment",
            "scan.gif",
            "image/gif",
            [b"GIF89a/*".as_slice(), &GIF[8..], b"*/=1;alert(1)"].concat(),
            TWO,
        ),
        case(
            "PDF and HTML",
            "letter.pdf",
            PDF,
            [b"%PDF-1.4\n%<html><script>alert(1)</script>\n".as_slice(), &pdf("a page")[9..]].concat(),
            TWO,
        ),
        case("BMP and RAR", "scan.bmp", "image/bmp", [BMP, b"Rar!\x1a\x07\x01\x00 and so on"].concat(), TWO),
        case(
            "DOCX, two documents of one name",
            "letter.docx",
            DOCX,
            docx("one", vec![packed("word/document.xml", "<other/>")]),
            TWO,
        ),
    ]
}

fn forbidden() -> Vec<Case> {
    const NO: Outcome = Refused("type-not-accepted");
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(200, 0);
    let macros = || docx("macros", vec![stored("word/vbaProject.bin", "Sub AutoOpen")]);
    vec![
        case("program of Windows", "setup.exe", ANY, program(2), NO),
        case("program of Linux", "setup", ANY, elf, NO),
        case("script", "run.sh", "text/x-shellscript", "#!/bin/sh\nrm -rf /\n", NO),
        case("HTML", "page.html", "text/html", "<!DOCTYPE html><p>a document</p>", NO),
        case("SVG", "image.svg", "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>", NO),
        case("RTF", "letter.rtf", "application/rtf", "{\\rtf1\\ansi a document}", NO),
        case("archive", "all.zip", "application/zip", zip(&[stored("b.txt", "a text")]), NO),
        case("old Word", "old.doc", "application/msword", ole("WordDocument"), NO),
        case("macros, honest", "letter.docm", ANY, macros(), Refused("macros")),
        case(
            "macros in a DOCX",
            "letter.docx",
            DOCX,
            docx("more macros", vec![stored("word/vbaProject.bin", "Sub AutoClose")]),
            Refused("macros"),
        ),
    ]
}

fn bombs() -> Vec<Case> {
    let laughs = format!(
        r#"<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">{}]><w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>&j;</w:t></w:r></w:p></w:body></w:document>"#,
        ('b'..='j')
            .zip('a'..)
            .map(|(this, last)| format!("<!ENTITY {this} \"{}\">", format!("&{last};").repeat(10)))
            .collect::<String>()
    );
    let lying = {
        let mut m = packed("word/media/a.xml", vec![b' '; 1 << 20]);
        m.stated_bytes = Some(900_000_000);
        m
    };
    vec![
        case(
            "ZIP bomb as DOCX",
            "letter.docx",
            DOCX,
            docx("a bomb", vec![packed("word/media/a.xml", vec![b' '; 60 << 20])]),
            Refused("archive-bomb"),
        ),
        case(
            "ZIP bomb by its own directory",
            "letter.docx",
            DOCX,
            docx("a stated bomb", vec![lying]),
            Outcome::Unscannable("limits-exceeded"),
        ),
        case(
            "archive in a DOCX",
            "letter.docx",
            DOCX,
            docx("nesting", vec![stored("word/embeddings/a.zip", zip(&[stored("c", "d")]))]),
            Refused("archive-nested"),
        ),
        case(
            "XML entities in a DOCX",
            "letter.docx",
            DOCX,
            docx_of(laughs, vec![]),
            ReadOrUnreadable(&["corrupt", "too-large", "unsupported-type", "no-text"]),
        ),
        case("PDF that swells", "letter.pdf", PDF, swollen(200), BOMB),
        case("PDF object streams", "letter.pdf", PDF, object_streams(8, 8), BOMB),
        case("pixel flood", "scan.png", "image/png", flood(60_000), Unreadable("too-large-image")),
    ]
}

/// Every form that has more than a signature, cut off at every tenth.
fn cut_off() -> Vec<Case> {
    let whole = [
        ("PDF, cut off", "letter.pdf", PDF, pdf("cuts")),
        ("PNG, cut off", "scan.png", "image/png", png(1_004)),
        ("JPEG, cut off", "scan.jpg", "image/jpeg", JPEG.to_vec()),
        ("TIFF, cut off", "scan.tiff", "image/tiff", TIFF.to_vec()),
    ];
    let tenth = |(row, name, mime, bytes): &(&'static str, &str, &'static str, Vec<u8>), n: usize| {
        case(row, name, mime, &bytes[..bytes.len() * n / 10], CUT)
    };
    let mut cases: Vec<Case> = whole.iter().flat_map(|form| (1..10).map(move |n| tenth(form, n))).collect();
    // A ZIP has its directory at its end: without that it is no DOCX, and its name lies.
    let office = docx(&words("cuts"), vec![]);
    let cut = |n: usize| {
        case(
            "DOCX, cut off",
            "letter.docx",
            DOCX,
            &office[..office.len() * n / 10],
            Outcome::Unscannable("archive-not-covered"),
        )
    };
    cases.extend((1..10).map(cut));
    cases
}

fn locked() -> Vec<Case> {
    let mut member = packed("word/styles.xml", "<styles/>");
    member.encrypted = true;
    vec![
        case(
            "encrypted PDF",
            "letter.pdf",
            PDF,
            include_bytes!("encrypted.pdf").as_slice(),
            Outcome::Unscannable("encrypted"),
        ),
        case("encrypted ZIP", "letter.docx", DOCX, docx("a password", vec![member]), Outcome::Unscannable("encrypted")),
        case("encrypted Office document", "letter.docx", DOCX, ole("EncryptedPackage"), Refused("encrypted")),
    ]
}

fn edges() -> Vec<Case> {
    let gigabyte = Content::Zeros(1 << 30);
    vec![
        case("0 bytes", "nothing.pdf", PDF, "", Unreadable("empty")),
        Case {
            row: "1 GB of nothing",
            file_name: b"big.pdf".to_vec(),
            mime: PDF,
            content: gigabyte,
            outcome: NotAccepted(413, "too-large"),
        },
        case(
            "noise",
            "noise.bin",
            ANY,
            (0..9_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
            Refused("type-not-accepted"),
        ),
    ]
}

fn viruses() -> Vec<Case> {
    let zipped = zip(&[packed("a.com", eicar())]);
    let in_pdf = pdf_page(page("a virus"), vec![stream("/Type/EmbeddedFile", &eicar(), 1)]);
    // The test file is one that begins with its signature; behind other bytes it is none.
    let behind = [words("harmless things\n").repeat(40_000).into_bytes(), eicar()].concat();
    vec![
        case("EICAR", "eicar.com", ANY, eicar(), Infected),
        case("EICAR, zipped", "eicar.zip", "application/zip", zipped.clone(), Infected),
        case("EICAR, zipped twice", "eicar.zip", "application/zip", zip(&[packed("a.zip", zipped)]), Infected),
        case("EICAR in a PDF", "letter.pdf", PDF, in_pdf, Infected),
        case(
            "EICAR in a DOCX",
            "letter.docx",
            DOCX,
            docx("a virus", vec![packed("word/media/a.com", eicar())]),
            Infected,
        ),
        case(
            "EICAR at the end of a large archive",
            "all.zip",
            "application/zip",
            zip(&[stored("a.txt", vec![b'a'; 10 << 20]), packed("z.com", eicar())]),
            Infected,
        ),
        case("EICAR behind a large text", "note.txt", "text/plain", behind, Read),
    ]
}

fn names() -> Vec<Case> {
    let long = ["a".repeat(3_996), ".txt".to_owned()].concat();
    let texts: [(&'static str, &[u8]); 6] = [
        ("name: path traversal", b"../../../../etc/cron.d/a.txt"),
        ("name: path of Windows", b"C:\\Windows\\System32\\a.txt"),
        ("name: control bytes", b"a\x01\x1b[2Jb\x7f.txt"),
        ("name: 4,000 characters", long.as_bytes()),
        ("name: right to left", "gnp.\u{202e}txt.txt".as_bytes()),
        ("name: no name", b""),
    ];
    let of = |(row, name): (&'static str, &[u8])| Case {
        row,
        file_name: name.to_vec(),
        mime: "text/plain",
        content: Content::Bytes(words(row).into_bytes()),
        // Such bytes are no header: nothing of it is taken in.
        outcome: if row == "name: control bytes" { NotAccepted(400, "invalid-multipart") } else { Read },
    };
    texts.into_iter().map(of).collect()
}

/// The head of a program (PE format: "MZ", the offset of "PE").
fn program(number: u8) -> Vec<u8> {
    let mut bytes = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0".to_vec();
    bytes.resize(60, 0);
    bytes.extend([64, 0, 0, 0]);
    bytes.extend(b"PE\0\0\x64\x86");
    bytes.resize(512, number);
    bytes
}
