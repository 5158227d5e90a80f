//! Small documents of every kind, each with the fate it must have.

use crate::servers::eicar;

/// What must become of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Read: its text holds the words "document N".
    Read,
    /// The same content as an earlier one: exactly one of them is unique and read.
    OneOfMany(u8),
    Infected,
    /// Its name or declared type lies.
    Refused,
    /// Corrupt or empty.
    Unreadable,
}

#[derive(Clone)]
pub struct Document {
    /// W3C trace id of its upload.
    pub trace: String,
    pub name: String,
    pub mime: &'static str,
    pub bytes: Vec<u8>,
    pub fate: Fate,
}

/// The kinds take turns, so that each moment of the run sees all of them.
pub fn document(number: usize) -> Document {
    let words = format!("This is document {number} of the account, signed in Berlin.\n");
    let trace = format!("{:032x}", number + 1);
    let of = |name: &str, mime, bytes, fate| Document { trace, name: format!("{number}-{name}"), mime, bytes, fate };
    match number % 10 {
        0 | 1 => of("note.txt", "text/plain", words.into_bytes(), Fate::Read),
        2 => of("list.csv", "text/csv", format!("number,text\n{number},\"{words}\"\n").into_bytes(), Fate::Read),
        3 => of("letter.pdf", "application/pdf", pdf(&words), Fate::Read),
        4 => of("scan.png", "image/png", png(number), Fate::Read),
        5 => {
            let content = u8::try_from(number / 10 % 7).unwrap();
            let bytes = format!("The same text for everybody, number {content}, again and again.\n").into_bytes();
            of("again.txt", "text/plain", bytes, Fate::OneOfMany(content))
        }
        6 => {
            let mut bytes = eicar();
            // Trailing blanks are allowed; each file gets a content of its own.
            bytes.resize(bytes.len() + number % 50, b' ');
            of("free-money.com", "application/octet-stream", bytes, Fate::Infected)
        }
        7 => of("photo.jpg", "image/jpeg", pdf(&words), Fate::Refused),
        8 => {
            let mut bytes = png(number);
            bytes.truncate(bytes.len() / 3);
            of("broken.png", "image/png", bytes, Fate::Unreadable)
        }
        _ => {
            let mut bytes = b"%PDF-1.4\n".to_vec();
            bytes.extend_from_slice(format!("nothing of a document {number}").as_bytes());
            of("broken.pdf", "application/pdf", bytes, Fate::Unreadable)
        }
    }
}

/// One page with a text layer (ISO 32000-1, 7.5).
pub(crate) fn pdf(words: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 40 740 Td ({}) Tj ET", words.trim());
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>".to_owned(),
        format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut offsets = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let table = file.len();
    file.push_str(&format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1));
    for offset in offsets {
        file.push_str(&format!("{offset:010} 00000 n \n"));
    }
    file.push_str(&format!("trailer<</Size {}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1));
    file.into_bytes()
}

/// A scan of one line, with a comment that makes its content unique.
pub(crate) fn png(number: usize) -> Vec<u8> {
    const LINE: &[u8] = include_bytes!("line.png");
    // After the signature and IHDR (PNG, 2nd edition, §5.2 and §11.2.2): a file that is cut off later keeps it.
    let (head, rest) = LINE.split_at(8 + 25);
    let mut chunk = b"tEXt".to_vec();
    chunk.extend_from_slice(format!("Comment\0document {number}").as_bytes());
    let length = u32::try_from(chunk.len() - 4).unwrap().to_be_bytes();
    [head, &length, &chunk, &crc32(&chunk).to_be_bytes(), rest].concat()
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
