//! The two PDFs of the bench: a page of text for the printer, and scans for the readers.

use std::{fmt::Write as _, io::Write as _};

/// A4 in points.
pub const SIDES: (f64, f64) = (595.0, 842.0);

/// How a page is set: one of the standard fonts, its size in points, and letters that fit into a line.
#[derive(Clone, Copy)]
pub struct Setting {
    pub font: &'static str,
    pub size: f64,
    pub letters: usize,
}

/// One page of text, laid in by `degrees` anticlockwise.
pub fn printed(lines: &[&str], setting: Setting, degrees: f64) -> Vec<u8> {
    let (width, height) = SIDES;
    let (sin, cos) = degrees.to_radians().sin_cos();
    // About the middle of the page.
    let (x, y) = (width / 2.0, height / 2.0);
    let (dx, dy) = (x - x * cos + y * sin, y - x * sin - y * cos);
    let leading = setting.size * 1.33;
    let mut drawing = format!(
        "{cos:.5} {sin:.5} {:.5} {cos:.5} {dx:.3} {dy:.3} cm BT /F {} Tf {leading:.2} TL 62 {:.1} Td\n",
        -sin,
        setting.size,
        height - 60.0
    );
    for line in lines {
        let escaped = line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
        writeln!(drawing, "({escaped}) Tj T*").ok();
    }
    drawing.push_str("ET");
    let font = format!("<< /Type /Font /Subtype /Type1 /BaseFont /{} >>", setting.font);
    file(&[
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>".to_vec(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
        )
        .into_bytes(),
        stream("", drawing.as_bytes()),
        font.into_bytes(),
    ])
}

/// Pages of one picture each, as a scanner writes them: grey JPEGs of these sides in pixels.
pub fn scanned(pictures: &[&[u8]], (columns, rows): (u32, u32)) -> Vec<u8> {
    let (width, height) = SIDES;
    let kids: String = (0..pictures.len()).map(|nth| format!("{} 0 R ", 3 + nth * 3)).collect();
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Count {} /Kids [{kids}] >>", pictures.len()).into_bytes(),
    ];
    for (nth, picture) in pictures.iter().enumerate() {
        let first = 3 + nth * 3;
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents {} 0 R \
                 /Resources << /XObject << /S {} 0 R >> >> >>",
                first + 1,
                first + 2
            )
            .into_bytes(),
        );
        objects.push(stream("", format!("{width} 0 0 {height} 0 0 cm /S Do").as_bytes()));
        let kind = format!(
            "/Type /XObject /Subtype /Image /Width {columns} /Height {rows} /ColorSpace /DeviceGray \
             /BitsPerComponent 8 /Filter /DCTDecode "
        );
        objects.push(stream(&kind, picture));
    }
    file(&objects)
}

fn stream(entries: &str, bytes: &[u8]) -> Vec<u8> {
    let mut object = format!("<< {entries}/Length {} >>\nstream\n", bytes.len()).into_bytes();
    object.extend_from_slice(bytes);
    object.extend_from_slice(b"\nendstream");
    object
}

fn file(objects: &[Vec<u8>]) -> Vec<u8> {
    let (mut file, mut table) = (b"%PDF-1.4\n".to_vec(), String::new());
    for (number, object) in (1..).zip(objects) {
        writeln!(table, "{:010} 00000 n ", file.len()).ok();
        writeln!(file, "{number} 0 obj").ok();
        file.extend_from_slice(object);
        file.extend_from_slice(b"\nendobj\n");
    }
    let (start, count) = (file.len(), objects.len() + 1);
    write!(
        file,
        "xref\n0 {count}\n0000000000 65535 f \n{table}trailer << /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    )
    .ok();
    file
}
