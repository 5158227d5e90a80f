use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// The highest `document_time_max`.
pub const DOCUMENT_TIME_LIMIT: Duration = Duration::from_secs(25 * 60);

/// What to do where a machine does not have all locks of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strictness {
    /// No child without the required ones.
    Required,
    /// What there is.
    BestEffort,
}

/// `[ocr]`. The whole section is handed to each child on its command line: nothing in it is secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OcrConfig {
    /// Whether a machine without all the locks is good enough to read documents on.
    pub jail: Strictness,
    /// Tesseract's language codes, such as `deu+eng`. More languages are slower.
    pub languages: String,
    /// Other languages for the documents of these tenants.
    pub tenant_languages: BTreeMap<String, String>,
    /// Directory of the `.traineddata` files; the system's when absent.
    pub tessdata: Option<PathBuf>,
    /// Documents that are read at once, each in a child of its own. 0: one a core. Where tenants take turns, up to two more are
    /// idle beside as many that are.
    pub children: usize,
    /// A child is replaced after so many documents, all of one tenant: it bounds what a leak can add up to. With 1 no document
    /// is read where another one was, at some 0.2 s of processor time each.
    pub documents_per_child: u32,
    /// A longer document is unreadable, `too-many-pages`.
    pub pages_max: u32,
    /// A larger document is unreadable, `too-large`.
    pub document_bytes_max: usize,
    /// Of one picture or rendered page: beyond it `too-large-image`.
    pub image_pixels_max: u64,
    /// A document with more text is unreadable, `too-large`.
    pub text_bytes_max: usize,
    /// The highest resolution at which a page is rendered. Most need half of it: a coarser picture is read faster, and a
    /// noisy one more exactly. Small print is rendered once more.
    pub render_dpi: u32,
    /// Address space of a child, and of each tool that it runs.
    pub memory_bytes_max: u64,
    /// Keys that encrypt the fields of machine-readable zones, one `ID BASE64` a line: the first seals, the others only open
    /// what they sealed. Without it the fields are not kept.
    pub mrz_key_file: Option<PathBuf>,
    /// A searchable PDF with more bytes is not kept.
    pub searchable_bytes_max: usize,
    /// Wall clock for opening a document. Beyond it the document is unreadable, `too-slow`.
    #[serde(with = "humantime_serde")]
    pub open_time_max: Duration,
    /// Wall clock for one page. Beyond it the page is a gap.
    #[serde(with = "humantime_serde")]
    pub page_time_max: Duration,
    /// Wall clock for a document. Beyond it the pages that are left are gaps; the document is unreadable, `too-slow`,
    /// when no page before has a word. The default is 9 s for each of the most pages; a full page takes about 2 s.
    #[serde(with = "humantime_serde")]
    pub document_time_max: Duration,
}

impl Default for OcrConfig {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            jail: Strictness::Required,
            languages: "deu+eng".to_owned(),
            tenant_languages: BTreeMap::new(),
            tessdata: None,
            children: 0,
            documents_per_child: 200,
            pages_max: 100,
            document_bytes_max: 64 * MIB,
            image_pixels_max: 64_000_000,
            text_bytes_max: 16 * MIB,
            render_dpi: 300,
            mrz_key_file: None,
            searchable_bytes_max: 128 * MIB,
            memory_bytes_max: 2 * 1024 * 1024 * 1024,
            open_time_max: Duration::from_secs(30),
            page_time_max: Duration::from_secs(60),
            document_time_max: Duration::from_secs(15 * 60),
        }
    }
}

impl OcrConfig {
    /// How many children run.
    pub fn pool_size(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        if self.children == 0 { cores() } else { self.children }
    }

    /// Those with which a tenant's documents are read.
    pub fn languages_of(&self, tenant: &str) -> &str {
        self.tenant_languages.get(tenant).unwrap_or(&self.languages)
    }

    /// # Errors
    /// What is wrong. The codes become part of a path inside Tesseract.
    pub fn validate(&self) -> Result<(), String> {
        if !are_languages(&self.languages) {
            return Err("ocr.languages: language codes joined by +, such as deu+eng".to_owned());
        }
        if let Some((tenant, _)) = self.tenant_languages.iter().find(|(_, languages)| !are_languages(languages)) {
            return Err(format!("ocr.tenant_languages.{tenant}: language codes joined by +, such as deu+eng"));
        }
        if !(70..=600).contains(&self.render_dpi) {
            return Err("ocr.render_dpi: between 70 and 600".to_owned());
        }
        // What decoding and recognizing the largest picture takes. With less, running out of memory looks like a damaged
        // picture.
        if self.memory_bytes_max / 20 < self.image_pixels_max {
            return Err("ocr.memory_bytes_max: at least 20 bytes for each of ocr.image_pixels_max".to_owned());
        }
        if self.pages_max == 0 || self.documents_per_child == 0 {
            return Err("ocr.pages_max and ocr.documents_per_child: at least 1".to_owned());
        }
        if self.document_time_max > DOCUMENT_TIME_LIMIT {
            return Err(format!("ocr.document_time_max: at most {} s", DOCUMENT_TIME_LIMIT.as_secs()));
        }
        Ok(())
    }
}

fn are_languages(codes: &str) -> bool {
    let is_code =
        |code: &str| (3..=20).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    codes.split('+').all(is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_memory_follows_pixels() {
        assert!(OcrConfig::default().validate().is_ok());
        let greedy = OcrConfig { image_pixels_max: 1_000_000_000, ..OcrConfig::default() };
        assert!(greedy.validate().is_err_and(|why| why.contains("memory_bytes_max")));
    }

    #[test]
    fn a_document_may_not_take_longer_than_a_try_waits_for_it() {
        let with = |document_time_max| OcrConfig { document_time_max, ..OcrConfig::default() };
        assert!(with(DOCUMENT_TIME_LIMIT).validate().is_ok());
        assert!(with(Duration::MAX).validate().is_err_and(|why| why.contains("document_time_max")));
    }

    #[test]
    fn languages_that_could_be_paths_are_refused() {
        let with = |languages: &str| OcrConfig { languages: languages.to_owned(), ..OcrConfig::default() };
        for good in ["eng", "deu+eng", "chi_sim"] {
            assert!(with(good).validate().is_ok(), "{good}");
        }
        for bad in ["", "+", "../../etc", "deu+", "de u", "deu;eng"] {
            assert!(with(bad).validate().is_err(), "{bad}");
            let of_tenant = OcrConfig {
                tenant_languages: BTreeMap::from([("acme".to_owned(), bad.to_owned())]),
                ..OcrConfig::default()
            };
            assert!(of_tenant.validate().is_err_and(|why| why.contains("tenant_languages.acme")), "{bad}");
        }
    }
}
