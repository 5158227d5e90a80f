use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// What a tenant may use up in one turn.
const QUANTUM: u32 = 4;
/// Dearer than so many turns is nothing: a choice must end.
const COST_MAX: u32 = 64 * QUANTUM;

/// Messages that are ready, by tenant: deficit round robin (Shreedhar and Varghese, 1995). When more is ready than may
/// start, each tenant gets the same share by cost, however much it has; within a tenant the first is the first.
///
/// Holds a tenant only while something of it waits, so it is as large as what is in it.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    tenants: HashMap<K, Tenant<T>>,
    ring: VecDeque<K>,
    len: usize,
}

#[derive(Debug)]
struct Tenant<T> {
    queue: VecDeque<(u32, T)>,
    deficit: u32,
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { tenants: HashMap::new(), ring: VecDeque::new(), len: 0 }
    }
}

impl<K: Hash + Eq + Copy, T> FairQueue<K, T> {
    pub fn push(&mut self, tenant: K, cost: u32, item: T) {
        let ring = &mut self.ring;
        let tenant = self.tenants.entry(tenant).or_insert_with(|| {
            ring.push_back(tenant);
            Tenant { queue: VecDeque::new(), deficit: QUANTUM }
        });
        tenant.queue.push_back((cost.clamp(1, COST_MAX), item));
        self.len += 1;
    }

    pub fn pop(&mut self) -> Option<T> {
        while let Some(first) = self.ring.front().copied() {
            let Some(tenant) = self.tenants.get_mut(&first) else {
                self.ring.pop_front();
                continue;
            };
            match tenant.queue.pop_front_if(|(cost, _)| *cost <= tenant.deficit) {
                Some((cost, item)) => {
                    tenant.deficit -= cost;
                    self.len -= 1;
                    if tenant.queue.is_empty() {
                        self.tenants.remove(&first);
                        self.ring.pop_front();
                    }
                    return Some(item);
                }
                None => {
                    tenant.deficit = tenant.deficit.saturating_add(QUANTUM);
                    self.ring.rotate_left(1);
                }
            }
        }
        None
    }

    /// Takes out what is not wanted any more.
    pub fn withdraw(&mut self, unwanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for tenant in self.tenants.values_mut() {
            for (cost, item) in std::mem::take(&mut tenant.queue) {
                if unwanted(&item) { removed.push(item) } else { tenant.queue.push_back((cost, item)) }
            }
        }
        self.tenants.retain(|_, tenant| !tenant.queue.is_empty());
        self.ring.retain(|tenant| self.tenants.contains_key(tenant));
        self.len -= removed.len();
        removed
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenant_with_a_flood_waits_for_its_turn() {
        let mut queue = FairQueue::default();
        (0..1_000).for_each(|n| queue.push("flood", 1, ("flood", n)));
        (0..10).for_each(|n| queue.push("small", 1, ("small", n)));
        let last_of_small = (0_u32..).take_while(|_| queue.pop().is_some_and(|item| item != ("small", 9))).count();
        assert!(last_of_small < 30, "the small tenant was through after {last_of_small}");
    }

    proptest! {
        /// While two tenants wait, what they got differs by one turn and one message at most; each keeps its order;
        /// nothing is lost.
        #[test]
        fn shares_are_equal_and_nothing_is_lost(
            costs in prop::collection::vec((0_u8..5, 1_u32..20), 0..300),
        ) {
            let mut queue = FairQueue::default();
            for (number, (tenant, cost)) in costs.iter().enumerate() {
                queue.push(*tenant, *cost, (*tenant, *cost, number));
            }
            let mut left = [0_usize; 5];
            costs.iter().for_each(|(tenant, _)| left[usize::from(*tenant)] += 1);
            let always = left.map(|count| count > 0);
            let mut got = [0_u32; 5];
            let mut last = [None; 5];
            let mut count = 0;
            while let Some((tenant, cost, number)) = queue.pop() {
                let nth = usize::from(tenant);
                count += 1;
                got[nth] += cost;
                left[nth] -= 1;
                prop_assert!(last[nth].replace(number) < Some(number), "within a tenant the first is the first");
                if (0..5).all(|n| !always[n] || left[n] > 0) {
                    let shares = (0..5).filter(|n| always[*n]).map(|n| got[n]);
                    let (low, high) = (shares.clone().min().unwrap_or(0), shares.max().unwrap_or(0));
                    prop_assert!(high - low <= 2 * QUANTUM + 20, "{:?}", got);
                }
            }
            prop_assert_eq!((count, queue.len(), queue.tenants.len(), queue.ring.len()), (costs.len(), 0, 0, 0));
        }

        #[test]
        fn what_is_withdrawn_is_gone_and_the_rest_stays(items in prop::collection::vec((0_u8..4, 0_u8..3), 0..100)) {
            let mut queue = FairQueue::default();
            items.iter().for_each(|(tenant, part)| queue.push(*tenant, 1, *part));
            let removed = queue.withdraw(|part| *part == 1).len();
            let rest: Vec<u8> = std::iter::from_fn(|| queue.pop()).collect();
            prop_assert!(rest.iter().all(|part| *part != 1));
            prop_assert_eq!(removed + rest.len(), items.len());
        }
    }
}
