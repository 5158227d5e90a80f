use std::{path::Path, process::Command};

use anyhow::{Context, ensure};
use docfleet_page_image::Grey;
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    Kind,
    sheet::{self, Setting},
};

const DPI: u32 = 300;
const LINES: usize = 50;
/// One after the other, a page each.
const SETTINGS: [Setting; 3] = [
    Setting { font: "Times-Roman", size: 11.0, letters: 88 },
    Setting { font: "Helvetica", size: 10.0, letters: 80 },
    Setting { font: "Courier", size: 10.0, letters: 76 },
];

/// A scanned page and what stands on it.
pub struct Page {
    pub truth: String,
    pub jpeg: Vec<u8>,
    /// Pixels.
    pub sides: (u32, u32),
}

/// The same pages in each run.
pub fn draw(kind: Kind, count: u32, text: &str, folder: &Path) -> anyhow::Result<Vec<Page>> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| word.is_ascii()).collect();
    ensure!(words.len() > 1_000, "too little text to make pages of");
    let mut words = words.iter().copied().cycle();
    let mut dice = StdRng::seed_from_u64(7);
    let mut pages = Vec::new();
    for nth in 0..count {
        let setting = SETTINGS[nth as usize % SETTINGS.len()];
        let lines: Vec<String> = (0..LINES).map(|_| line(&mut words, setting.letters)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let degrees = if kind == Kind::Skewed { dice.random_range(-3.0..3.0) } else { 0.0 };
        let paper = print(&sheet::printed(&lines, setting, degrees), folder)?;
        let page = scan(kind, paper, &mut dice)?;
        let name = folder.join(format!("{}-{nth:02}", kind.name()));
        std::fs::write(name.with_extension("jpg"), &page.jpeg)?;
        std::fs::write(name.with_extension("txt"), lines.join("\n"))?;
        pages.push(Page { truth: lines.join("\n"), ..page });
    }
    Ok(pages)
}

fn line<'a>(words: &mut impl Iterator<Item = &'a str>, letters: usize) -> String {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        // The longest word of a licence has some twenty letters.
        if line.len() + 14 > letters {
            break;
        }
    }
    line.truncate(letters + 8);
    line
}

/// By the renderer with which everybody looks at PDFs on Debian.
fn print(pdf: &[u8], folder: &Path) -> anyhow::Result<Grey> {
    let file = folder.join("printed.pdf");
    std::fs::write(&file, pdf)?;
    let dpi = DPI.to_string();
    let output = Command::new("pdftoppm").args(["-gray", "-r", &dpi]).arg(&file).output().context("pdftoppm")?;
    ensure!(output.status.success(), "pdftoppm: {}", String::from_utf8_lossy(&output.stderr));
    let picture = image::load_from_memory(&output.stdout)?.into_luma8();
    Ok(Grey::new(picture.width(), picture.height(), picture.into_raw())?)
}

fn scan(kind: Kind, paper: Grey, dice: &mut StdRng) -> anyhow::Result<Page> {
    let (paper, noise, quality) = match kind {
        Kind::Clean => (paper, 0.0, 90),
        Kind::Noisy => (paper.smoothed(), 28.0, 75),
        Kind::Skewed => (paper.smoothed(), 12.0, 75),
    };
    let mut pixels = paper.pixels().to_vec();
    if noise > 0.0 {
        for pixel in &mut pixels {
            // Twelve dice make a bell.
            let bell: f32 = (0..12).map(|_| dice.random::<f32>()).sum::<f32>() - 6.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let shade = (f32::from(*pixel) * 0.8 + 30.0 + bell * noise).clamp(0.0, 255.0) as u8;
            *pixel = shade;
        }
    }
    let sides = (paper.width(), paper.height());
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality).encode(&pixels, sides.0, sides.1, ExtendedColorType::L8)?;
    Ok(Page { truth: String::new(), jpeg, sides })
}
