use docfleet_events::TextSource;

use super::{PageText, Refusal, drawing, office, pdf::Pdf, picture, plain, recognizer::Recognizer, tiff::Tiff};
use crate::{Kind, OcrConfig, Unreadable, layout::PageLayout, searchable::PagePicture};

/// A document that is open, and knows its number of pages.
pub enum Document {
    Pdf(Pdf),
    Picture(Vec<u8>),
    Tiff(Tiff),
    /// Text without pages.
    Text(String),
}

impl Document {
    pub fn open(kind: Kind, bytes: Vec<u8>, config: &OcrConfig) -> Result<Self, Refusal> {
        if bytes.is_empty() {
            return Err(Unreadable::Empty.into());
        }
        let document = match kind {
            Kind::Pdf => Self::Pdf(Pdf::open(&bytes, config)?),
            Kind::Picture => {
                picture::check_size(&bytes, config.image_pixels_max)?;
                Self::Picture(bytes)
            }
            Kind::Tiff => Self::Tiff(Tiff::open(bytes, config.pages_max)?),
            Kind::Docx | Kind::Odt => Self::Text(office::text(kind, &bytes, config)?),
            Kind::Plain => Self::Text(plain::decode(&bytes)),
        };
        match document.pages() {
            0 => Err(Unreadable::Empty.into()),
            pages if pages > config.pages_max => Err(Unreadable::TooManyPages.into()),
            _ => Ok(document),
        }
    }

    pub fn pages(&self) -> u32 {
        match self {
            Self::Pdf(pdf) => pdf.pages(),
            Self::Tiff(tiff) => tiff.pages(),
            Self::Picture(_) | Self::Text(_) => 1,
        }
    }

    /// A page as it is seen, from 1, turned as its layout says.
    pub fn draw(&self, number: u32, layout: Option<&PageLayout>, config: &OcrConfig) -> Result<PagePicture, Refusal> {
        let (bytes, points) = match self {
            Self::Pdf(pdf) => pdf.draw(number, config).map(|(bytes, points)| (bytes, Some(points)))?,
            Self::Picture(bytes) => (bytes.clone(), None),
            Self::Tiff(tiff) => (tiff.page(number, config.image_pixels_max)?, None),
            Self::Text(_) => return Err(Unreadable::UnsupportedType.into()),
        };
        Ok(drawing::page(bytes, layout, points, config)?)
    }

    /// The text of a page, from 1.
    pub fn read(&self, number: u32, config: &OcrConfig, recognizer: &mut Recognizer) -> Result<PageText, Refusal> {
        match self {
            Self::Pdf(pdf) => pdf.read(number, config, recognizer),
            Self::Picture(bytes) => Ok(recognizer.read(number, picture::decode(bytes, config.image_pixels_max)?)?),
            Self::Tiff(tiff) => {
                let page = tiff.page(number, config.image_pixels_max)?;
                Ok(recognizer.read(number, picture::decode(&page, config.image_pixels_max)?)?)
            }
            Self::Text(text) => Ok(PageText {
                source: TextSource::TextLayer,
                confidence: None,
                words: u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX),
                text: text.clone(),
                layout: None,
            }),
        }
    }
}
