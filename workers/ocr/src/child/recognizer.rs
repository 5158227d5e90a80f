use std::ffi::{CStr, CString};

use docfleet_events::TextSource;
use tesseract::{
    PageSegMode,
    plumbing::{self, TessBaseApi},
};

use super::{Error, PageText, picture::Picture, tsv};
use crate::{OcrConfig, Unreadable};

/// Tesseract, loaded once for many pages.
///
/// On the plumbing of the `tesseract` crate, since its upper layer gives the handle away with the first failed page.
pub struct Recognizer(TessBaseApi);

impl Recognizer {
    pub fn start(config: &OcrConfig) -> Result<Self, Error> {
        let no_nul = |text: &str| CString::new(text).map_err(|e| Error::Tesseract(e.to_string()));
        let languages = no_nul(&config.languages)?;
        let tessdata = config.tessdata.as_ref().map(|path| no_nul(&path.to_string_lossy())).transpose()?;
        let mut api = TessBaseApi::create();
        api.init_2(tessdata.as_deref(), Some(&languages))
            .map_err(|_| Error::Tesseract(format!("no data for the languages {}", config.languages)))?;
        api.set_page_seg_mode(PageSegMode::PsmAuto.as_tess_page_seg_mode());
        Ok(Self(api))
    }

    pub fn version() -> String {
        CStr::to_string_lossy(plumbing::version()).into_owned()
    }

    /// Takes about two seconds for a full page.
    pub fn read(&mut self, picture: &Picture) -> Result<PageText, Unreadable> {
        self.0.set_image_2(picture);
        // It refuses only pictures that it can not hold.
        self.0.recognize().map_err(|_| Unreadable::Corrupt)?;
        let text = self.0.get_utf8_text().map_err(|_| Unreadable::Corrupt)?;
        let words = self.0.get_tsv_text(0).map_err(|_| Unreadable::Corrupt)?;
        let (words, confidence) = tsv::words(&words.as_ref().to_string_lossy());
        Ok(PageText { source: TextSource::Ocr, confidence, words, text: text.as_ref().to_string_lossy().into_owned() })
    }
}
