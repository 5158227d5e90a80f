//! What the name and the sender say a document is, against what it is.

use crate::sniff::{Flaw, Kind, Sniffed};

/// Why a document is refused; a closed set, the `reason` of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its name or its declared type says something else than its bytes.
    TypeMismatch,
    /// Nobody lies, and we do not take this type.
    TypeNotAccepted,
    /// Its bytes are of two types at once; one reader shows what another does not.
    TypeAmbiguous,
    Encrypted,
    Macros,
    ArchiveNested,
    ArchiveBomb,
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Ambiguous => Self::TypeAmbiguous,
            Flaw::Encrypted => Self::Encrypted,
            Flaw::Macros => Self::Macros,
            Flaw::ArchiveNested => Self::ArchiveNested,
            Flaw::ArchiveBomb => Self::ArchiveBomb,
        }
    }
}

impl Refusal {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TypeMismatch => "type-mismatch",
            Self::TypeNotAccepted => "type-not-accepted",
            Self::TypeAmbiguous => "type-ambiguous",
            Self::Encrypted => "encrypted",
            Self::Macros => "macros",
            Self::ArchiveNested => "archive-nested",
            Self::ArchiveBomb => "archive-bomb",
        }
    }
}

/// # Errors
/// Why the document goes no further.
pub fn judge(sniffed: Sniffed, file_name: &str, declared_mime: Option<&str>) -> Result<(), Refusal> {
    let kind = sniffed.kind;
    if kind == Kind::Empty {
        // Nothing can not lie. That it has nothing to read is the reader's fact.
        return Ok(());
    }
    // Before the claims: it is the clearer reason, and true whatever is claimed.
    if let Some(flaw) = sniffed.flaw {
        return Err(flaw.into());
    }
    let declared = declared_mime.map(normal).filter(|mime| mime != kind.mime());
    for claim in [of_extension(file_name), declared.map_or(Claim::Nothing, |mime| of_mime(&mime))] {
        claim.admits(kind)?;
    }
    if kind.is_accepted() { Ok(()) } else { Err(Refusal::TypeNotAccepted) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Nothing,
    /// One of these.
    Kinds(&'static [Kind]),
    /// A type that we do not take, and know by its bytes.
    Unwanted,
    /// A type that we do not take, and that can look like any text: a script, a page.
    UnwantedText,
}

impl Claim {
    fn admits(self, kind: Kind) -> Result<(), Refusal> {
        match self {
            Self::Nothing => Ok(()),
            Self::Kinds(kinds) if kinds.contains(&kind) => Ok(()),
            Self::Kinds(_) => Err(Refusal::TypeMismatch),
            Self::UnwantedText if kind.is_text() => Err(Refusal::TypeNotAccepted),
            Self::Unwanted | Self::UnwantedText if kind.is_accepted() => Err(Refusal::TypeMismatch),
            Self::Unwanted | Self::UnwantedText => Err(Refusal::TypeNotAccepted),
        }
    }
}

// Which of the two a text is can not be told from its bytes.
const TEXTS: &[Kind] = &[Kind::Text, Kind::Csv];

fn of_extension(file_name: &str) -> Claim {
    // Windows drops dots and blanks at the end of a name, so `a.exe. ` is `a.exe`.
    let name = file_name.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
    let Some((_, extension)) = name.rsplit_once('.') else { return Claim::Nothing };
    match extension.to_ascii_lowercase().as_str() {
        "pdf" => Claim::Kinds(&[Kind::Pdf]),
        "png" => Claim::Kinds(&[Kind::Png]),
        "jpg" | "jpeg" | "jpe" | "jfif" => Claim::Kinds(&[Kind::Jpeg]),
        "tif" | "tiff" => Claim::Kinds(&[Kind::Tiff]),
        "gif" => Claim::Kinds(&[Kind::Gif]),
        "bmp" | "dib" => Claim::Kinds(&[Kind::Bmp]),
        "webp" => Claim::Kinds(&[Kind::Webp]),
        "docx" => Claim::Kinds(&[Kind::Docx]),
        "xlsx" => Claim::Kinds(&[Kind::Xlsx]),
        "odt" => Claim::Kinds(&[Kind::Odt]),
        "txt" | "text" | "asc" | "log" | "md" | "csv" | "tsv" | "tab" => Claim::Kinds(TEXTS),
        "html" | "htm" | "xhtml" | "xht" | "mht" | "mhtml" | "xml" | "xsl" | "svg" | "json" | "js" | "mjs" | "jse"
        | "ts" | "css" | "vbs" | "vbe" | "wsf" | "hta" | "ps1" | "psm1" | "sh" | "bash" | "bat" | "cmd" | "com"
        | "py" | "pl" | "rb" | "php" | "reg" | "inf" | "url" | "desktop" | "rtf" | "ps" | "eps" | "eml" | "vcf"
        | "ics" => Claim::UnwantedText,
        "exe" | "dll" | "scr" | "pif" | "msi" | "msp" | "cpl" | "sys" | "lnk" | "elf" | "so" | "bin" | "jar"
        | "class" | "apk" | "app" | "dmg" | "deb" | "rpm" | "zip" | "7z" | "rar" | "gz" | "tgz" | "bz2" | "xz"
        | "zst" | "tar" | "cab" | "iso" | "img" | "vhd" | "doc" | "dot" | "docm" | "dotm" | "xls" | "xlsm" | "xlsb"
        | "xltm" | "ppt" | "pptx" | "pptm" | "ods" | "odp" | "epub" | "chm" | "one" | "msg" | "heic" | "heif"
        | "avif" | "jp2" | "jxl" | "psd" | "ico" | "mp3" | "wav" | "ogg" | "flac" | "m4a" | "mp4" | "mov" | "avi"
        | "mkv" | "webm" | "swf" => Claim::Unwanted,
        // `letter.final` and `scan.2024` promise nothing.
        _ => Claim::Nothing,
    }
}

/// `IMAGE/PNG; name=x` → `image/png`
fn normal(declared: &str) -> String {
    declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn of_mime(mime: &str) -> Claim {
    match mime {
        // What clients send when they do not know.
        ""
        | "application/octet-stream"
        | "binary/octet-stream"
        | "application/binary"
        | "application/unknown"
        | "application/download"
        | "application/x-download"
        | "application/force-download"
        | "unknown/unknown"
        | "*/*" => Claim::Nothing,
        "application/pdf" | "application/x-pdf" => Claim::Kinds(&[Kind::Pdf]),
        "image/png" | "image/x-png" => Claim::Kinds(&[Kind::Png]),
        "image/jpeg" | "image/jpg" | "image/pjpeg" => Claim::Kinds(&[Kind::Jpeg]),
        "image/tiff" | "image/tif" | "image/x-tiff" => Claim::Kinds(&[Kind::Tiff]),
        "image/gif" => Claim::Kinds(&[Kind::Gif]),
        "image/bmp" | "image/x-bmp" | "image/x-ms-bmp" | "image/x-windows-bmp" => Claim::Kinds(&[Kind::Bmp]),
        "image/webp" => Claim::Kinds(&[Kind::Webp]),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Claim::Kinds(&[Kind::Docx]),
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => Claim::Kinds(&[Kind::Xlsx]),
        "application/vnd.oasis.opendocument.text" | "application/x-vnd.oasis.opendocument.text" => {
            Claim::Kinds(&[Kind::Odt])
        }
        "text/plain"
        | "text/csv"
        | "text/x-csv"
        | "application/csv"
        | "text/comma-separated-values"
        | "text/tab-separated-values"
        | "text/markdown"
        | "text/x-markdown"
        | "text/x-log" => Claim::Kinds(TEXTS),
        // Browsers on Windows with Excel say this of a CSV.
        "application/vnd.ms-excel" => Claim::Kinds(&[Kind::Csv, Kind::Text, Kind::Xlsx]),
        // True of these, if not the whole truth.
        "application/zip" | "application/x-zip-compressed" | "application/x-zip" => {
            Claim::Kinds(&[Kind::Docx, Kind::Xlsx, Kind::Odt])
        }
        "image/svg+xml"
        | "application/json"
        | "application/xml"
        | "application/xhtml+xml"
        | "application/javascript"
        | "application/x-javascript"
        | "application/rtf"
        | "application/postscript"
        | "message/rfc822" => Claim::UnwantedText,
        other if other.starts_with("text/") || other.starts_with("application/x-sh") => Claim::UnwantedText,
        _ => Claim::Unwanted,
    }
}

#[cfg(test)]
mod tests;
