/// How much may be in flight, in messages and in bytes.
///
/// A gate with two marks: it closes when either limit is reached and opens again below three quarters of both, so that
/// partitions are not paused and resumed at every message.
#[derive(Debug)]
pub struct Budget {
    messages_max: usize,
    bytes_max: usize,
    messages: usize,
    bytes: usize,
    closed: bool,
}

impl Budget {
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { messages_max, bytes_max, messages: 0, bytes: 0, closed: false }
    }

    pub fn charge(&mut self, bytes: usize) {
        self.bring_back(1, bytes);
    }

    pub fn release(&mut self, bytes: usize) {
        self.put_aside(1, bytes);
    }

    /// What is in hand and waits for long makes room for others.
    pub fn put_aside(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.open_below_the_mark();
    }

    /// It goes on. More than the limit may be in flight now, and nothing comes in until less is.
    pub fn bring_back(&mut self, messages: usize, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes;
        self.closed |= self.messages >= self.messages_max || self.bytes >= self.bytes_max;
    }

    fn open_below_the_mark(&mut self) {
        if self.messages <= self.messages_max * 3 / 4 && self.bytes <= self.bytes_max / 4 * 3 {
            self.closed = false;
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn messages(&self) -> usize {
        self.messages
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_at_either_limit_and_opens_below_three_quarters_of_both() {
        let mut budget = Budget::new(4, 1_000);
        for _ in 0..3 {
            budget.charge(1);
        }
        assert!(!budget.is_closed());
        budget.charge(1);
        assert!(budget.is_closed());
        budget.release(1);
        assert!(!budget.is_closed());
        budget.charge(2_000);
        assert!(budget.is_closed());
        budget.release(1);
        assert!(budget.is_closed(), "the large one is still there");
        budget.release(2_000);
        assert!(!budget.is_closed());
    }
}
