//! `/v1/documents`: in through [`upload`], out through [`read`], [`list`], [`content`] and [`text`], away through [`erase`].

mod accept;
mod content;
mod derived;
mod erase;
mod file_name;
mod id;
mod intake;
mod list;
mod pace;
mod pages;
mod read;
mod represent;
mod row;
mod search;
mod upload;

pub(crate) use content::{content, text};
pub(crate) use derived::{hocr, searchable_pdf};
pub(crate) use erase::erase;
pub(crate) use list::list;
pub(crate) use pages::{page_text, pages};
pub(crate) use read::read;
pub(crate) use upload::upload;

pub(crate) const UPLOAD_PATH: &str = "/v1/documents";
