use std::collections::HashSet;

/// What a message of an ordered consumer comes to its settlement for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It was worked on, or its work said that it is dead: that stands if it was its turn.
    Settle,
    /// It can not even be read: it has no effect, and so no place in the order.
    Unreadable,
    /// It failed, and its key is to wait for it.
    CloseKey,
    /// It was not tried, as its key seemed to be parked.
    Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// As it came.
    Own,
    /// Its key is parked: behind the others, whatever was found out about it.
    Append,
    /// Its key is free by now: it is to be worked on.
    Work,
}

/// Whose turn it is: of messages in their order, with the keys that are parked and locked.
pub(crate) fn turns<'a>(messages: impl Iterator<Item = (&'a [u8], Wish)>, parked: &HashSet<Vec<u8>>) -> Vec<Turn> {
    let mut closed: HashSet<&[u8]> = parked.iter().map(Vec::as_slice).collect();
    messages
        .map(|(key, wish)| match wish {
            Wish::Unreadable => Turn::Own,
            _ if closed.contains(key) => Turn::Append,
            Wish::Behind => Turn::Work,
            Wish::Settle => Turn::Own,
            Wish::CloseKey => {
                closed.insert(key);
                Turn::Own
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_closes_takes_its_successors_of_the_same_batch_along_and_no_other_key() {
        let batch = [(b"a", Wish::CloseKey), (b"b", Wish::Settle), (b"a", Wish::Settle), (b"c", Wish::Behind)];
        let taken = turns(batch.iter().map(|(key, wish)| (key.as_slice(), *wish)), &HashSet::new());
        assert_eq!(taken, [Turn::Own, Turn::Own, Turn::Append, Turn::Work]);
        let unreadable = [(b"a".as_slice(), Wish::Unreadable)];
        assert_eq!(turns(unreadable.into_iter(), &HashSet::from([b"a".to_vec()])), [Turn::Own]);
        let parked = HashSet::from([b"b".to_vec(), b"c".to_vec()]);
        let taken = turns(batch.iter().map(|(key, wish)| (key.as_slice(), *wish)), &parked);
        assert_eq!(taken, [Turn::Own, Turn::Append, Turn::Append, Turn::Append]);
    }

    /// One consumer, a few keys: messages arrive, fail or not, hints are right or wrong, the drainer comes at any time.
    #[derive(Debug, Clone)]
    enum Event {
        Arrives { key: u8, fails: bool, hint_says_parked: bool },
        SettleBatch,
        Drain { key: u8, fails: bool },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            5 => (0..3_u8, prop::bool::weighted(0.2), any::<bool>())
                .prop_map(|(key, fails, hint_says_parked)| Event::Arrives { key, fails, hint_says_parked }),
            2 => Just(Event::SettleBatch),
            3 => (0..3_u8, any::<bool>()).prop_map(|(key, fails)| Event::Drain { key, fails }),
        ]
    }

    #[derive(Default)]
    struct Model {
        parked: BTreeMap<Vec<u8>, VecDeque<usize>>,
        waiting: Vec<(Vec<u8>, usize, Wish)>,
        effects: BTreeMap<Vec<u8>, Vec<usize>>,
    }

    impl Model {
        fn settle(&mut self) {
            let parked = self.parked.keys().cloned().collect();
            let batch = std::mem::take(&mut self.waiting);
            let taken = turns(batch.iter().map(|(key, _, wish)| (key.as_slice(), *wish)), &parked);
            for ((key, number, wish), turn) in batch.into_iter().zip(taken) {
                match (turn, wish) {
                    (Turn::Append, _) | (Turn::Own, Wish::CloseKey) => {
                        self.parked.entry(key).or_default().push_back(number);
                    }
                    (Turn::Own, _) => self.effects.entry(key).or_default().push(number),
                    (Turn::Work, _) => self.waiting.push((key, number, Wish::Settle)),
                }
            }
        }

        fn drain(&mut self, key: &[u8]) {
            let Some(queue) = self.parked.get_mut(key) else { return };
            if let Some(number) = queue.pop_front() {
                self.effects.entry(key.to_vec()).or_default().push(number);
            }
            if queue.is_empty() {
                self.parked.remove(key);
            }
        }
    }

    proptest! {
        /// Whatever fails, whatever the hints say and whenever the drainer comes: of each key the effects are those of
        /// all messages, in their order.
        #[test]
        fn each_key_has_its_effects_in_order(events in prop::collection::vec(event(), 1..120)) {
            let mut model = Model::default();
            let mut arrived: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
            for (number, event) in events.into_iter().enumerate() {
                match event {
                    Event::Arrives { key, fails, hint_says_parked } => {
                        let key = vec![key];
                        // As lanes do: one of a key is out at a time.
                        while model.waiting.iter().any(|(waits, ..)| *waits == key) {
                            model.settle();
                        }
                        let wish = match (hint_says_parked, fails) {
                            (true, _) => Wish::Behind,
                            (false, true) => Wish::CloseKey,
                            (false, false) => Wish::Settle,
                        };
                        arrived.entry(key.clone()).or_default().push(number);
                        model.waiting.push((key, number, wish));
                    }
                    Event::SettleBatch => model.settle(),
                    Event::Drain { key, fails } => if !fails { model.drain(&[key]) },
                }
            }
            while !model.waiting.is_empty() {
                model.settle();
            }
            for key in 0..3_u8 {
                while model.parked.contains_key([key].as_slice()) {
                    model.drain(&[key]);
                }
            }
            prop_assert_eq!(model.effects, arrived);
        }
    }
}
