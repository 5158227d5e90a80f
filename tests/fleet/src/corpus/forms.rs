//! The PDF and texts of which many cases are made. Each has a content of its own: equal ones would be duplicates.

use super::make::{pdf_page, stream};

pub fn words(of: &str) -> String {
    format!("This is a document with a text about {of}, signed in Berlin.")
}

pub fn pdf(of: &str) -> Vec<u8> {
    pdf_page(page(of), Vec::new())
}

pub fn page(of: &str) -> Vec<u8> {
    let content = format!("BT /F1 12 Tf 40 740 Td ({}) Tj ET", words(of));
    format!("<</Length {}>>stream\n{content}\nendstream", content.len()).into_bytes()
}

/// A page of `megabytes` of blanks, packed twice.
pub fn swollen(megabytes: usize) -> Vec<u8> {
    pdf_page(stream("", &vec![b' '; megabytes << 20], 2), Vec::new())
}

/// So many object streams (ISO 32000-1, 7.5.7), each of so many megabytes when it is unpacked.
pub fn object_streams(count: usize, megabytes: usize) -> Vec<u8> {
    let one = stream("/Type/ObjStm/N 1/First 4", &[b"9 0 ".to_vec(), vec![b' '; megabytes << 20]].concat(), 1);
    pdf_page(page("object streams"), vec![one; count])
}
