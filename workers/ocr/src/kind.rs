use serde::{Deserialize, Serialize};

/// How a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Pdf,
    /// A picture of one page; of an animation the first frame.
    Picture,
    /// A picture of many pages.
    Tiff,
    /// Word's, from 2007.
    Docx,
    /// LibreOffice's and others'.
    Odt,
    /// Text already.
    Plain,
}

impl Kind {
    /// None for a type that is accepted but has nothing to read here.
    pub fn of_mime(mime: &str) -> Option<Self> {
        match mime {
            "application/pdf" => Some(Self::Pdf),
            "image/png" | "image/jpeg" | "image/bmp" | "image/x-ms-bmp" | "image/gif" | "image/webp" => {
                Some(Self::Picture)
            }
            "image/tiff" => Some(Self::Tiff),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Some(Self::Docx),
            "application/vnd.oasis.opendocument.text" => Some(Self::Odt),
            "text/plain" | "text/csv" => Some(Self::Plain),
            _ => None,
        }
    }
}
