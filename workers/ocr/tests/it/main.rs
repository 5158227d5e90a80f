//! The real engine in real children. Needs Tesseract with its German and English data, poppler's tools and util-linux.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_documents;
mod breakouts;
mod files;
mod formats;
mod handler;
mod hostile_children;
mod jail;

mod samples;

use std::path::PathBuf;

use bytes::Bytes;
use ocr::{
    Kind, OcrConfig, Unreadable,
    engine::{Engine, Error},
    reading::Reading,
};
use tokio_util::sync::CancellationToken;

fn worker() -> PathBuf {
    env!("CARGO_BIN_EXE_ocr").into()
}

/// One child: what a document does to it is seen by the next.
fn one_child() -> OcrConfig {
    OcrConfig { children: 1, ..OcrConfig::default() }
}

async fn engine() -> Engine {
    Engine::start(worker(), one_child()).await.expect("the engine starts")
}

const TENANT: &str = "acme";

async fn read(engine: &Engine, kind: Kind, document: impl Into<Bytes>) -> Result<Reading, Error> {
    engine.lease(TENANT).await.expect("a child").read(kind, document.into(), &CancellationToken::new()).await
}

/// What is wrong with the document; the child must survive it.
async fn reason(engine: &Engine, kind: Kind, document: impl Into<Bytes>) -> Option<Unreadable> {
    read(engine, kind, document).await.expect("the document is to blame, not the engine").reason()
}
