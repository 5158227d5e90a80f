use std::sync::{Arc, Mutex, PoisonError};

/// What `/live` and `/ready` answer. Cheap to clone; anyone may change it.
///
/// *Live* is false only when the process should be killed; *ready* is false also while it starts, drains or waits.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    ready: bool,
    /// Why the process is to be killed, once it is.
    dead: Option<String>,
}

impl Health {
    pub fn set_ready(&self, ready: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ready = ready;
    }

    pub fn set_dead(&self, why: impl Into<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.ready = false;
        state.dead.get_or_insert(why.into());
    }

    pub fn is_ready(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ready
    }

    /// Why the process is not live.
    pub fn dead(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).dead.clone()
    }
}
