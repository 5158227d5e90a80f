//! Where a virus may hide, each place with a stated outcome, on the real clamd.

use av_scan::reply::Answer;
use docfleet_pipeline::Handler;

use crate::{
    Store, context,
    dated::{crc32, gzip, member},
    eicar, key, message,
    own_clamd::{OwnClamd, STREAM_BYTES_MAX},
    sample::{Entry, zip},
};

/// Found wherever it stands: EICAR itself counts only at the beginning of a file.
const MARK: &[u8] = b"docfleet-mark-that-counts-anywhere";

async fn engine() -> OwnClamd {
    let hex: String = MARK.iter().map(|byte| format!("{byte:02x}")).collect();
    let sighted = include_str!("../../../../deploy/clamav/docfleet.ndb").trim();
    OwnClamd::start(&format!("{sighted}\nMark:0:*:{hex}\n")).await
}

#[derive(Debug, PartialEq)]
enum Expected {
    Infected,
    Clean,
    Unscannable(&'static str),
    /// Which of the others depends on the engine's version.
    NotClean,
}
use Expected::{Clean, Infected, NotClean, Unscannable as Not};

async fn all_are(cases: Vec<(&str, Vec<u8>, Expected)>) {
    let (store, clamd) = (Store::new(), engine().await);
    let mut wrong = Vec::new();
    for (name, bytes, expected) in cases {
        let answer = store.scan(&clamd.config(), bytes).await.unwrap().answer;
        let found = match &answer {
            Answer::Clean => Clean,
            Answer::Infected { .. } => Infected,
            Answer::Unscannable(why) => Not(why.as_str()),
        };
        if found != expected && (expected != NotClean || found == Clean) {
            wrong.push(format!("{name}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn packed<'a>(name: &'a str, bytes: &'a [u8]) -> Entry<'a> {
    Entry { method: 8, ..Entry::honest(name, bytes) }
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    [member(name, content), vec![0; 1_024]].concat()
}

/// One page whose content stream is this.
fn pdf(stream: &[u8], filter: &str) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n\
        3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>\nendobj\n".to_vec();
    file.extend(format!("4 0 obj\n<< /Length {} {filter} >>\nstream\n", stream.len()).bytes());
    file.extend(stream);
    file.extend(b"\nendstream\nendobj\ntrailer << /Size 5 /Root 1 0 R >>\n%%EOF\n");
    file
}

/// `content` is packed with zlib.
fn flate_pdf(content: &[u8]) -> Vec<u8> {
    pdf(&miniz_oxide::deflate::compress_to_vec_zlib(content, 6), "/Filter /FlateDecode")
}

/// One file, stored, of less than 128 bytes. Its sum stands with the file, or as lawfully with its folder, where the engine
/// does not look for it, and then not at the file either.
fn seven_zip(content: &[u8], sum_of_folder: bool) -> Vec<u8> {
    let size = u8::try_from(content.len()).unwrap();
    let sum = [&[10, 1][..], &crc32(content).to_le_bytes()].concat();
    let mut header = vec![1, 4, 6, 0, 1, 9, size, 0, 7, 11, 1, 0, 1, 1, 0, 12, size];
    match sum_of_folder {
        true => header.extend([&sum[..], &[0]].concat()),
        false => header.extend([&[0, 8][..], &sum, &[0]].concat()),
    }
    header.extend([0, 5, 1, 17, 5, 0, b'a', 0, 0, 0, 0, 0]);
    let mut start = u64::from(size).to_le_bytes().to_vec();
    start.extend((header.len() as u64).to_le_bytes());
    start.extend(crc32(&header).to_le_bytes());
    [b"7z\xbc\xaf\x27\x1c\0\x04", &crc32(&start).to_le_bytes()[..], &start, content, &header].concat()
}

/// RAR 4, one file, stored.
fn rar(content: &[u8]) -> Vec<u8> {
    let block = |rest: &[u8]| [&crc32(rest).to_le_bytes()[..2], rest].concat();
    let size = u32::try_from(content.len()).unwrap().to_le_bytes();
    let mut file = vec![0x74, 0, 0x80, 33, 0];
    file.extend([size, size].concat());
    file.push(0);
    file.extend(crc32(content).to_le_bytes());
    file.extend([0x21, 0, 0, 0, 20, 0x30, 1, 0, 0x20, 0, 0, 0, b'a']);
    let start = b"Rar!\x1a\x07\0".to_vec();
    [
        start,
        block(&[0x73, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0]),
        block(&file),
        content.to_vec(),
        block(&[0x7b, 0, 0x40, 7, 0]),
    ]
    .concat()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |group: &[u8]| {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let digit = |nth: usize| if nth <= group.len() { DIGITS[(bits >> (18 - 6 * nth) & 63) as usize] } else { b'=' };
        (0..4).map(digit).map(char::from).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

fn e_mail(attachment: &[u8]) -> Vec<u8> {
    let body: Vec<String> =
        base64(attachment).as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    format!(
        "From: a@b\r\nTo: c@d\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream; name=\"a.com\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        body.join("\r\n")
    )
    .into_bytes()
}

#[tokio::test]
async fn the_test_file_is_found_wherever_the_engine_looks() {
    let virus = eicar();
    let zipped = zip(&[packed("a.com", &virus)]);
    all_are(vec![
        ("bare", virus.clone(), Infected),
        ("with a line end", [&virus[..], b"\r\n"].concat(), Infected),
        ("in a ZIP", zipped.clone(), Infected),
        ("in a ZIP in a ZIP", zip(&[packed("inner.zip", &zipped)]), Infected),
        ("in an office document", zip(&[packed("word/document.xml", b"<w/>"), packed("word/x.bin", &virus)]), Infected),
        ("in a tar file", tar("a.com", &virus), Infected),
        ("in gzip", gzip(&virus), Infected),
        ("in a packed tar file", gzip(&tar("a.com", &virus)), Infected),
        ("in 7-Zip", seven_zip(&virus, false), Infected),
        ("in an e-mail", e_mail(&virus), Infected),
        ("in an e-mail in a ZIP", zip(&[packed("mail.eml", &e_mail(&virus))]), Infected),
        ("in a PDF", pdf(&virus, ""), Infected),
        ("packed in a PDF", flate_pdf(&virus), Infected),
        ("in a PDF in a ZIP", zip(&[packed("a.pdf", &flate_pdf(&virus))]), Infected),
    ])
    .await;
}

#[tokio::test]
async fn a_document_is_read_to_its_last_byte_or_is_not_clean() {
    let ending = |bytes: usize| [vec![b'a'; bytes - MARK.len()], MARK.to_vec()].concat();
    let zipped = |bytes: usize| zip(&[packed("a", &ending(bytes))]);
    all_are(vec![
        ("at the end of the largest document", ending(STREAM_BYTES_MAX), Infected),
        ("at the end of one too large", ending(STREAM_BYTES_MAX + 1), Not("too-large")),
        ("at the end of one far too large", ending(9 * STREAM_BYTES_MAX), Not("too-large")),
        ("at the end of the largest member", zipped(STREAM_BYTES_MAX - 1), Infected),
        ("at the end of a member too large", zipped(STREAM_BYTES_MAX + 1), NotClean),
        ("the same, packed once more", zip(&[packed("image1.png", &zipped(STREAM_BYTES_MAX + 1))]), NotClean),
        ("the same in a tar file", tar("a.zip", &zipped(STREAM_BYTES_MAX + 1)), NotClean),
        ("the same in gzip", gzip(&zipped(STREAM_BYTES_MAX + 1)), NotClean),
        ("the same in an e-mail", e_mail(&zipped(STREAM_BYTES_MAX + 1)), NotClean),
        ("in a stream of a PDF", flate_pdf(&ending(STREAM_BYTES_MAX - 1)), Infected),
        ("in one too large", flate_pdf(&ending(STREAM_BYTES_MAX + 1)), Not("limits-exceeded")),
    ])
    .await;
}

#[tokio::test]
async fn what_the_engine_passes_over_in_silence_is_not_clean() {
    let virus = eicar();
    let bomb = vec![0; 20 * STREAM_BYTES_MAX];
    let lie = |claimed| Entry { claimed_bytes: Some(claimed), ..packed("a", &bomb) };
    let nested = |depth| (0..depth).fold(virus.clone(), |inner, _| zip(&[packed("inner", &inner)]));
    all_are(vec![
        ("RAR", rar(&virus), Not("archive-not-covered")),
        (
            "RAR in an office document",
            zip(&[packed("word/media/image1.png", &rar(&virus))]),
            Not("archive-not-covered"),
        ),
        ("a cabinet", [&b"MSCF\0\0\0\0"[..], &[0; 60]].concat(), Not("archive-not-covered")),
        ("7-Zip with its sum elsewhere", seven_zip(&virus, true), Not("archive-not-covered")),
        ("harmless 7-Zip", seven_zip(b"letter", false), Not("archive-not-covered")),
        ("harmless gzip", gzip(b"letter"), Not("archive-not-covered")),
        ("LZMA in a ZIP", zip(&[Entry { method: 14, ..Entry::honest("a", &virus) }]), NotClean),
        ("ZIP64", zip(&[Entry { zip64: true, ..Entry::honest("a", &virus) }]), Not("archive-not-covered")),
        ("a bomb", zip(&[packed("a", &bomb)]), Not("limits-exceeded")),
        ("a bomb that lies", zip(&[lie(1_000)]), NotClean),
        ("encrypted", zip(&[Entry { flags: 1, ..Entry::honest("a", &[7; 64]) }]), Not("encrypted")),
        (
            "encrypted in a ZIP",
            zip(&[packed("a", &zip(&[Entry { flags: 1, ..Entry::honest("a", &[7; 64]) }]))]),
            Not("encrypted"),
        ),
        ("nested as deep as the engine goes", nested(16), Infected),
        ("nested deeper", nested(17), Not("limits-exceeded")),
        (
            "nested deeper, and packed otherwise",
            (0..30).fold(virus.clone(), |inner, _| gzip(&inner)),
            Not("limits-exceeded"),
        ),
        (
            "nothing in it, nested deeper than is looked here",
            zip(&[packed("a", &nested_text(3))]),
            Not("archive-not-covered"),
        ),
        ("nothing in it", zip(&[packed("a", &nested_text(2))]), Clean),
    ])
    .await;
}

fn nested_text(depth: usize) -> Vec<u8> {
    (0..depth).fold(b"a letter".to_vec(), |inner, _| zip(&[packed("inner", &inner)]))
}

#[tokio::test]
async fn a_zip_that_is_cut_anywhere_is_never_clean() {
    let whole = zip(&[packed("letter.txt", &[b'a'; 4_000]), packed("a.com", &eicar())]);
    let cuts = (1..10).map(|tenth| ("cut", whole[..whole.len() * tenth / 10].to_vec(), NotClean));
    all_are(cuts.collect()).await;
}

#[tokio::test]
async fn hostile_names_change_nothing() {
    let (long, virus) = ("n".repeat(4_000), eicar());
    for name in ["../../../../etc/passwd", "a\u{1}\u{1b}[2J\nb", "\u{202e}fdp.exe", &long] {
        all_are(vec![
            ("a virus of this name", zip(&[packed(name, &virus)]), Infected),
            ("a letter of this name", zip(&[packed(name, b"Dear all")]), Clean),
        ])
        .await;
        let (store, clamd) = (Store::new(), engine().await);
        store.blobs.put(&key(), "Dear all".into()).await.unwrap();
        let mut upload = message(&key(), 8);
        upload.event.file_name = name.to_owned();
        let worker = av_scan::AvScan::over(store.blobs.clone(), &clamd.config());
        assert_eq!(worker.work(&upload, &context()).await.unwrap().unwrap().answer, Answer::Clean, "{name:.40?}");
    }
    let traversal = tar("../../../../tmp/docfleet-was-here", &virus);
    all_are(vec![("in a tar file", traversal, Infected)]).await;
    assert!(!std::path::Path::new("/tmp/docfleet-was-here").exists());
}
