//! Text documents of Word and of LibreOffice: XML in a ZIP. The layout is made by the program that opens them, so there is
//! one page, and no word has a place.

mod docx;
mod odt;
mod package;
mod prose;

use self::package::Package;
use crate::{Kind, OcrConfig, Unreadable};

/// The text in reading order: headers, body, notes, footers.
pub fn text(kind: Kind, bytes: &[u8], config: &OcrConfig) -> Result<String, Unreadable> {
    let mut package = Package::open(bytes)?;
    match kind {
        Kind::Docx => docx::text(&mut package, config.text_bytes_max),
        Kind::Odt => odt::text(&mut package, config.text_bytes_max),
        Kind::Pdf | Kind::Picture | Kind::Tiff | Kind::Plain => Err(Unreadable::UnsupportedType),
    }
}

#[cfg(test)]
mod tests;
