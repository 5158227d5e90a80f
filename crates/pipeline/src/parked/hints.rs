use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// What this process believes is parked, so that a message behind a parked key is not worked on in vain. A wrong hint
/// costs one try or one detour: what holds is decided inside the settlement.
#[derive(Clone, Default)]
pub(crate) struct Hints {
    keys: Arc<RwLock<HashMap<Vec<u8>, u64>>>,
    ticks: Arc<AtomicU64>,
}

impl Hints {
    pub fn seems_parked(&self, key: &[u8]) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        !keys.is_empty() && keys.contains_key(key)
    }

    pub fn parked(&self, key: &[u8]) {
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec(), tick);
    }

    pub fn released(&self, key: &[u8]) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Call it before the table is read: what is parked after this is not forgotten by [`replace`](Self::replace).
    pub fn now(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What the table held at `read_at` takes the place of what was believed then.
    pub fn replace(&self, read_at: u64, keys: impl IntoIterator<Item = Vec<u8>>) {
        let mut believed = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        believed.retain(|_, tick| *tick >= read_at);
        for key in keys {
            believed.entry(key).or_insert(read_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_parked_after_the_table_was_read_is_not_forgotten() {
        let hints = Hints::default();
        hints.parked(b"old");
        let read_at = hints.now();
        hints.parked(b"new");
        hints.replace(read_at, [b"other".to_vec()]);
        assert!(!hints.seems_parked(b"old"));
        assert!(hints.seems_parked(b"new") && hints.seems_parked(b"other"));
        hints.released(b"new");
        assert!(!hints.seems_parked(b"new"));
    }
}
