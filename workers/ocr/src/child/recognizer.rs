use std::ffi::{CStr, CString};

use docfleet_events::TextSource;
use docfleet_page_image::{Contents, Grey, Place, Turn, prepare};
use tesseract::{
    PageSegMode,
    plumbing::{self, TessBaseApi, leptonica_plumbing::Pix},
};

use super::{
    Error, PageText,
    picture::{Page, Picture},
    tsv,
};
use crate::{
    OcrConfig, Unreadable,
    layout::{Line, PageLayout},
};

/// A page read upside down gives few words, and these with little confidence.
const SENSE_CONFIDENCE: f64 = 60.0;

/// Tesseract, loaded once for many pages.
///
/// On the plumbing of the `tesseract` crate, since its upper layer gives the handle away with the first failed page.
pub struct Recognizer {
    api: TessBaseApi,
    languages: String,
    tessdata: Option<CString>,
    pixels_max: u64,
}

/// What Tesseract found in a picture; boxes in the picture's pixels.
struct Found {
    text: String,
    lines: Vec<Line>,
}

impl Found {
    fn confidence(&self) -> Option<f64> {
        tsv::mean_confidence(&self.lines)
    }

    /// The larger, the more was read, and the surer.
    fn sense(&self) -> f64 {
        let words = self.lines.iter().map(|line| line.words.len()).sum::<usize>();
        #[allow(clippy::cast_precision_loss)]
        let words = words as f64;
        words * self.confidence().map_or(0.0, |confidence| (confidence - 30.0).max(0.0))
    }
}

impl Recognizer {
    pub fn start(config: &OcrConfig) -> Result<Self, Error> {
        let tessdata = config.tessdata.as_ref().map(|path| no_nul(&path.to_string_lossy())).transpose()?;
        let languages = config.languages.clone();
        let api = api(tessdata.as_deref(), &languages)?;
        Ok(Self { api, languages, tessdata, pixels_max: config.image_pixels_max })
    }

    /// Whether there is data for these languages.
    pub fn check(&self, languages: &str) -> Result<(), Error> {
        api(self.tessdata.as_deref(), languages).map(drop)
    }

    /// From now on in these languages. Another one is loaded in a tenth of a second.
    pub fn speak(&mut self, languages: &str) -> Result<(), Error> {
        if self.languages != languages {
            self.api = api(self.tessdata.as_deref(), languages)?;
            languages.clone_into(&mut self.languages);
        }
        Ok(())
    }

    pub fn version() -> String {
        CStr::to_string_lossy(plumbing::version()).into_owned()
    }

    /// Takes about a second for a full page, and no time for an empty one.
    pub fn read(&mut self, number: u32, picture: Picture) -> Result<PageText, Unreadable> {
        match picture {
            Picture::Page(page) => self.read_page(number, page),
            Picture::Foreign(pix) => self.read_foreign(number, &pix),
        }
    }

    pub fn read_page(&mut self, number: u32, page: Page) -> Result<PageText, Unreadable> {
        let Page { grey, survey, turn: turned, dpi } = page;
        if survey.contents == Contents::Nothing {
            return Ok(PageText {
                source: TextSource::Ocr,
                confidence: None,
                words: 0,
                text: String::new(),
                layout: None,
            });
        }
        // To try each unsure line as light on dark costs time, and is of use only where there is something dark.
        let invert = if survey.has_dark_places { c"1" } else { c"0" };
        self.api.set_variable(c"tessedit_do_invert", invert).map_err(|_| Unreadable::Corrupt)?;
        let mut prepared = prepare(grey.clone(), &survey, self.pixels_max);
        let mut found = self.recognize(&prepared.picture)?;
        if found.confidence().is_none_or(|confidence| confidence < SENSE_CONFIDENCE) {
            let other = prepare(grey, &survey.turned_otherwise(), self.pixels_max);
            let again = self.recognize(&other.picture)?;
            if again.sense() > found.sense() {
                (prepared, found) = (other, again);
            }
        }
        let (width, height) = prepared.place.page();
        #[allow(clippy::cast_possible_truncation)]
        let layout = PageLayout {
            number,
            width,
            height,
            dpi: dpi.unwrap_or_else(|| assumed_dpi(width, height)),
            rotation: turned.then(prepared.turn).degrees(),
            skew: prepared.skew as f32,
            language: Some(self.languages.clone()),
            lines: on_page(std::mem::take(&mut found.lines), &prepared.place),
        };
        Ok(page_text(found.text, layout))
    }

    fn read_foreign(&mut self, number: u32, pix: &Pix) -> Result<PageText, Unreadable> {
        self.api.set_image_2(pix);
        let found = self.recognize_image()?;
        let side = |pixels: i32| pixels.max(1).unsigned_abs();
        let (width, height) = (side(pix.get_width()), side(pix.get_height()));
        let layout = PageLayout {
            number,
            width,
            height,
            dpi: assumed_dpi(width, height),
            rotation: Turn::None.degrees(),
            skew: 0.0,
            language: Some(self.languages.clone()),
            lines: found.lines,
        };
        Ok(page_text(found.text, layout))
    }

    fn recognize(&mut self, picture: &Grey) -> Result<Found, Unreadable> {
        let side = |pixels: u32| i32::try_from(pixels).map_err(|_| Unreadable::TooLargeImage);
        let (width, height) = (side(picture.width())?, side(picture.height())?);
        self.api.set_image(picture.pixels(), width, height, 1, width).map_err(|_| Unreadable::Corrupt)?;
        self.recognize_image()
    }

    fn recognize_image(&mut self) -> Result<Found, Unreadable> {
        // It refuses only pictures that it can not hold.
        self.api.recognize().map_err(|_| Unreadable::Corrupt)?;
        let table = self.api.get_tsv_text(0).map_err(|_| Unreadable::Corrupt)?;
        let table = table.as_ref().to_string_lossy();
        Ok(Found { text: tsv::text(&table), lines: tsv::lines(&table) })
    }
}

fn no_nul(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|e| Error::Tesseract(e.to_string()))
}

fn api(tessdata: Option<&CStr>, languages: &str) -> Result<TessBaseApi, Error> {
    let mut api = TessBaseApi::create();
    api.init_2(tessdata, Some(&no_nul(languages)?))
        .map_err(|_| Error::Tesseract(format!("no data for the languages {languages}")))?;
    api.set_page_seg_mode(PageSegMode::PsmAuto.as_tess_page_seg_mode());
    Ok(api)
}

fn page_text(text: String, layout: PageLayout) -> PageText {
    PageText {
        source: TextSource::Ocr,
        confidence: tsv::mean_confidence(&layout.lines),
        words: u32::try_from(layout.words().count()).unwrap_or(u32::MAX),
        text,
        layout: Some(layout),
    }
}

fn on_page(mut lines: Vec<Line>, place: &Place) -> Vec<Line> {
    for line in &mut lines {
        for word in &mut line.words {
            [word.left, word.top, word.width, word.height] = place.of([word.left, word.top, word.width, word.height]);
        }
    }
    lines.into_iter().filter_map(|line| Line::around(line.words)).collect()
}

/// As if the longer side were that of an A4 sheet.
fn assumed_dpi(width: u32, height: u32) -> u32 {
    const INCHES: f64 = 11.69;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let dpi = (f64::from(width.max(height)) / INCHES).round() as u32;
    dpi.clamp(50, 1_200)
}
