//! Document bytes and what is made of them, in the store of one region: a local directory or an S3 bucket.
//!
//! In the order of an upload: [`Blobs::receive`] (hash while the bytes come in) → [`Blobs::keep`] (under the name that the
//! hash gives, once) → in the transaction that takes the document in, [`Blobs::holds`]. [`key`] says what lies where.

mod bucket;
mod config;
mod content;
mod directory;
mod error;
mod key;
mod listing;
mod region;
mod residency;
mod spool;
mod store;

pub use config::BlobsConfig;
pub use content::{Kept, Received};
pub use error::Error;
pub use key::{content_hash, content_key, layout_key, mrz_key, searchable_key, text_key};
pub use listing::Listed;
pub use store::{BlobReader, Blobs};
