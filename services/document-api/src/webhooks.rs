//! `/v1/webhooks`: who wants to be told of what. The telling is webhook-dispatcher's.

mod deliveries;
mod subscription;
mod validate;

pub(crate) use deliveries::deliveries;
pub(crate) use subscription::{create, list, read, remove};
