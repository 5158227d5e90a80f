use std::path::Path;

use anyhow::Context;

/// What the documents are made of, so that no two are alike.
const WORDS: [&str; 16] = [
    "iban",
    "amount",
    "2026-03-01",
    "Erika",
    "Mustermann",
    "Berlin",
    "paid",
    "open",
    "EUR",
    "14.20",
    "rent",
    "salary",
    "card",
    "refund",
    "transfer",
    "4711",
];

/// Small text files in a directory, which is a blob store too.
pub struct Documents {
    directory: tempfile::TempDir,
    pub keys: Vec<String>,
    pub contents: Vec<bytes::Bytes>,
}

impl Documents {
    pub fn write(files: u32, bytes: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("a directory for the documents")?;
        std::fs::create_dir(directory.path().join("documents"))?;
        let (mut keys, mut contents) = (Vec::new(), Vec::new());
        for file in 0..files {
            let key = format!("documents/{file:06}.csv");
            let content = text(file, bytes as usize);
            std::fs::write(directory.path().join(&key), &content)?;
            keys.push(key);
            contents.push(content.into());
        }
        Ok(Self { directory, keys, contents })
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn text(file: u32, bytes: usize) -> Vec<u8> {
    let (mut text, mut state) = (String::new(), u64::from(file) + 1);
    while text.len() < bytes {
        // Knuth's generator: the same files in every run.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(WORDS[(state >> 60) as usize]);
        text.push(if state >> 40 & 7 == 0 { '\n' } else { ',' });
    }
    text.into_bytes()
}
