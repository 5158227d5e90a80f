//! Documents for the tests: the samples, a fixture, and small ones made here.

use std::{fmt::Write, path::Path};

pub fn sample(name: &str) -> Vec<u8> {
    file(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples").join(name).as_path())
}

pub fn fixture(name: &str) -> Vec<u8> {
    file(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures").join(name).as_path())
}

fn file(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A page of a PDF: its sides in points, and what is written on it.
#[derive(Clone)]
pub struct Sheet<'a>(pub u32, pub u32, pub &'a str);

pub fn pdf(sheets: &[Sheet<'_>]) -> Vec<u8> {
    let kids: String = (0..sheets.len()).map(|index| format!("{} 0 R ", 4 + index * 2)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Count {} /Kids [{kids}] >>", sheets.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    for (index, Sheet(width, height, text)) in sheets.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents {} 0 R \
             /Resources << /Font << /F 3 0 R >> >> >>",
            5 + index * 2
        ));
        let drawing = format!("BT /F 12 Tf 40 {} Td ({text}) Tj ET", height / 2);
        objects.push(format!("<< /Length {} >>\nstream\n{drawing}\nendstream", drawing.len()));
    }
    let (mut file, mut table) = ("%PDF-1.4\n".to_owned(), String::new());
    for (index, object) in objects.iter().enumerate() {
        writeln!(table, "{:010} 00000 n ", file.len()).unwrap();
        write!(file, "{} 0 obj\n{object}\nendobj\n", index + 1).unwrap();
    }
    let (start, count) = (file.len(), objects.len() + 1);
    write!(file, "xref\n0 {count}\n0000000000 65535 f \n{table}trailer << /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").unwrap();
    file.into_bytes()
}

/// A white picture, uncompressed.
pub fn white_bmp(width: u32, height: u32) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let pixels = vec![0xFF; (row * height) as usize];
    let mut bmp = b"BM".to_vec();
    for number in [54 + row * height, 0, 54, 40, width, height] {
        bmp.extend(number.to_le_bytes());
    }
    bmp.extend([1, 0, 24, 0]);
    for number in [0, row * height, 2_835, 2_835, 0, 0] {
        bmp.extend(number.to_le_bytes());
    }
    bmp.extend(pixels);
    bmp
}

/// Only the first bytes of a PNG, which announce its size.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend(width.to_be_bytes());
    png.extend(height.to_be_bytes());
    png.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    png
}
