use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::WebhooksConfig;

/// How many attempts each subscription and each tenant may have out, so that an endpoint which hangs takes its own slots
/// and not the others', and the many endpoints of one tenant not another tenant's. Of this process; nothing in it is needed for correctness.
pub(crate) struct Bulkheads {
    per_subscription: usize,
    failures_before_rest: u32,
    rest: Duration,
    /// Only those that differ from an idle, healthy one.
    known: HashMap<Uuid, Bulkhead>,
    /// Attempts that are out, of the tenants that have any.
    busy: HashMap<String, i64>,
}

#[derive(Default)]
struct Bulkhead {
    out: usize,
    failures_in_a_row: u32,
    rests_until: Option<Instant>,
}

/// A subscription that fails and then has no work for so long is forgotten.
const REMEMBER: Duration = Duration::from_secs(600);

impl Bulkheads {
    pub fn new(config: &WebhooksConfig) -> Self {
        Self {
            per_subscription: config.per_subscription,
            failures_before_rest: config.failures_before_rest,
            rest: config.rest,
            known: HashMap::new(),
            busy: HashMap::new(),
        }
    }

    /// What each subscription may have in addition; one that is not named has [`per_subscription`](Self::room).
    pub fn rooms(&mut self, now: Instant) -> (Vec<Uuid>, Vec<i64>) {
        self.known.retain(|_, b| b.out > 0 || b.rests_until.is_none_or(|until| now < until + REMEMBER));
        let room = |b: &Bulkhead| i64::try_from(self.room_of(b, now)).unwrap_or(i64::MAX);
        self.known.iter().map(|(id, bulkhead)| (*id, room(bulkhead))).unzip()
    }

    /// What a subscription may have that is idle and healthy.
    pub fn room(&self) -> i64 {
        i64::try_from(self.per_subscription).unwrap_or(i64::MAX)
    }

    /// How many attempts each tenant has out; one that is not named has none.
    pub fn busy(&self) -> (Vec<String>, Vec<i64>) {
        self.busy.iter().map(|(tenant, out)| (tenant.clone(), *out)).unzip()
    }

    fn room_of(&self, bulkhead: &Bulkhead, now: Instant) -> usize {
        let limit = match bulkhead.rests_until {
            Some(until) if now < until => 0,
            // Rested: one attempt shows whether it is well again.
            Some(_) => 1,
            None => self.per_subscription,
        };
        limit.saturating_sub(bulkhead.out)
    }

    pub fn enter(&mut self, subscription: Uuid, tenant: &str) {
        *self.busy.entry(tenant.to_owned()).or_default() += 1;
        self.known.entry(subscription).or_default().out += 1;
    }

    /// `failed`: the endpoint did not take what it was sent.
    pub fn leave(&mut self, subscription: Uuid, tenant: &str, failed: bool, now: Instant) {
        if let Some(out) = self.busy.get_mut(tenant) {
            *out -= 1;
            if *out <= 0 {
                self.busy.remove(tenant);
            }
        }
        let bulkhead = self.known.entry(subscription).or_default();
        bulkhead.out = bulkhead.out.saturating_sub(1);
        if failed {
            bulkhead.failures_in_a_row = bulkhead.failures_in_a_row.saturating_add(1);
            if bulkhead.failures_in_a_row >= self.failures_before_rest {
                bulkhead.rests_until = Some(now + self.rest);
            }
        } else {
            bulkhead.failures_in_a_row = 0;
            bulkhead.rests_until = None;
            if bulkhead.out == 0 {
                self.known.remove(&subscription);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Uuid = Uuid::from_u128(1);
    const B: Uuid = Uuid::from_u128(2);

    fn bulkheads() -> Bulkheads {
        Bulkheads::new(&WebhooksConfig { failures_before_rest: 3, ..WebhooksConfig::default() })
    }

    fn room(bulkheads: &mut Bulkheads, now: Instant) -> i64 {
        let (ids, rooms) = bulkheads.rooms(now);
        ids.iter().position(|id| *id == A).map_or(bulkheads.room(), |at| rooms[at])
    }

    #[test]
    fn a_subscription_has_two_slots_and_gets_them_back() {
        let (mut bulkheads, now) = (bulkheads(), Instant::now());
        assert_eq!(room(&mut bulkheads, now), 2);
        bulkheads.enter(A, "acme");
        assert_eq!(room(&mut bulkheads, now), 1);
        bulkheads.enter(A, "acme");
        assert_eq!(room(&mut bulkheads, now), 0);
        bulkheads.leave(A, "acme", false, now);
        bulkheads.leave(A, "acme", false, now);
        assert_eq!(room(&mut bulkheads, now), 2);
        assert!(bulkheads.known.is_empty(), "healthy and idle costs nothing");
    }

    #[test]
    fn after_failures_in_a_row_it_rests_then_is_probed_by_one_attempt() {
        let (mut bulkheads, now) = (bulkheads(), Instant::now());
        let fail = |bulkheads: &mut Bulkheads, at| {
            bulkheads.enter(A, "acme");
            bulkheads.leave(A, "acme", true, at);
        };
        fail(&mut bulkheads, now);
        fail(&mut bulkheads, now);
        assert_eq!(room(&mut bulkheads, now), 2, "two are not enough");
        fail(&mut bulkheads, now);
        assert_eq!(room(&mut bulkheads, now + Duration::from_secs(29)), 0);
        let rested = now + Duration::from_secs(30);
        assert_eq!(room(&mut bulkheads, rested), 1);
        fail(&mut bulkheads, rested);
        assert_eq!(room(&mut bulkheads, rested), 0, "the probe failed");
        let rested = rested + Duration::from_secs(30);
        bulkheads.enter(A, "acme");
        assert_eq!(room(&mut bulkheads, rested), 0, "one probe at a time");
        bulkheads.leave(A, "acme", false, rested);
        assert_eq!(room(&mut bulkheads, rested), 2);
    }

    #[test]
    fn a_tenant_is_busy_by_all_its_subscriptions() {
        let (mut bulkheads, now) = (bulkheads(), Instant::now());
        bulkheads.enter(A, "acme");
        bulkheads.enter(B, "acme");
        assert_eq!(bulkheads.busy(), (vec!["acme".to_owned()], vec![2]));
        bulkheads.leave(A, "acme", true, now);
        assert_eq!(bulkheads.busy(), (vec!["acme".to_owned()], vec![1]));
        bulkheads.leave(B, "acme", false, now);
        assert!(bulkheads.busy.is_empty(), "idle costs nothing");
    }

    #[test]
    fn what_failed_long_ago_is_forgotten() {
        let (mut bulkheads, now) = (bulkheads(), Instant::now());
        for _ in 0..3 {
            bulkheads.enter(A, "acme");
            bulkheads.leave(A, "acme", true, now);
        }
        bulkheads.rooms(now + Duration::from_secs(1_000));
        assert!(bulkheads.known.is_empty());
    }
}
