//! dedup on real PostgreSQL and Redis, and on a Redis that is away, slow or lying.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod cache;
mod contents;
mod oracle;
mod work;
