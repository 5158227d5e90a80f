//! The service as its clients see it, on a real PostgreSQL and a real registry. Every answer in every test is compared
//! with `openapi.yaml` (see `contract`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bucket;
mod content;
mod contents;
mod contract;
mod erasure;
mod form;
mod forms;
mod idempotency;
mod listing;
mod observing;
mod openapi;
mod outage;
mod proxy;
mod reading;
mod residency;
mod search;
mod service;
mod shutdown;
mod telemetry;
mod upload;
mod webhooks;
