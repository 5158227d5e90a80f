use std::ffi::{CStr, CString};

use docfleet_events::TextSource;
use tesseract::{
    PageSegMode,
    plumbing::{self, TessBaseApi},
};

use super::{Error, PageText, picture::Picture, tsv};
use crate::{OcrConfig, Unreadable, layout::PageLayout};

/// Tesseract, loaded once for many pages.
///
/// On the plumbing of the `tesseract` crate, since its upper layer gives the handle away with the first failed page.
pub struct Recognizer {
    api: TessBaseApi,
    languages: String,
}

impl Recognizer {
    pub fn start(config: &OcrConfig) -> Result<Self, Error> {
        let no_nul = |text: &str| CString::new(text).map_err(|e| Error::Tesseract(e.to_string()));
        let languages = no_nul(&config.languages)?;
        let tessdata = config.tessdata.as_ref().map(|path| no_nul(&path.to_string_lossy())).transpose()?;
        let mut api = TessBaseApi::create();
        api.init_2(tessdata.as_deref(), Some(&languages))
            .map_err(|_| Error::Tesseract(format!("no data for the languages {}", config.languages)))?;
        api.set_page_seg_mode(PageSegMode::PsmAuto.as_tess_page_seg_mode());
        Ok(Self { api, languages: config.languages.clone() })
    }

    pub fn version() -> String {
        CStr::to_string_lossy(plumbing::version()).into_owned()
    }

    /// Takes about two seconds for a full page.
    pub fn read(&mut self, number: u32, picture: &Picture, dpi: Option<u32>) -> Result<PageText, Unreadable> {
        self.api.set_image_2(picture);
        // It refuses only pictures that it can not hold.
        self.api.recognize().map_err(|_| Unreadable::Corrupt)?;
        let text = self.api.get_utf8_text().map_err(|_| Unreadable::Corrupt)?;
        let table = self.api.get_tsv_text(0).map_err(|_| Unreadable::Corrupt)?;
        let lines = tsv::lines(&table.as_ref().to_string_lossy());
        let (width, height) = (side(picture.get_width()), side(picture.get_height()));
        let layout = PageLayout {
            number,
            width,
            height,
            dpi: dpi.unwrap_or_else(|| assumed_dpi(width, height)),
            rotation: 0,
            skew: 0.0,
            language: Some(self.languages.clone()),
            lines,
        };
        Ok(PageText {
            source: TextSource::Ocr,
            confidence: tsv::mean_confidence(&layout.lines),
            words: u32::try_from(layout.words().count()).unwrap_or(u32::MAX),
            text: text.as_ref().to_string_lossy().into_owned(),
            layout: Some(layout),
        })
    }
}

fn side(pixels: i32) -> u32 {
    pixels.max(1).unsigned_abs()
}

/// As if the longer side were that of an A4 sheet.
fn assumed_dpi(width: u32, height: u32) -> u32 {
    const INCHES: f64 = 11.69;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let dpi = (f64::from(width.max(height)) / INCHES).round() as u32;
    dpi.clamp(50, 1_200)
}
