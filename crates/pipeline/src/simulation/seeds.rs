/// Seeds that found a bug once, and what it was. They run in every test.
pub(super) const KEPT: &[(u64, &str)] = &[];
