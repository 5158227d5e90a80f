use proptest::prelude::*;
use serde_json::json;

use super::*;

const START: Duration = Duration::from_secs(1_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn row(action: &str, scope: &str, selector: Value) -> CommandRow {
    let per_second = (action == "throttle").then_some(10.0);
    CommandRow { id: 7, action: action.into(), scope: scope.into(), selector, per_second, remaining_seconds: 60.0 }
}

fn command(id: CommandId, action: Action, selector: Selector) -> Command {
    Command { id, action, selector, until: START + HOUR }
}

const PLACE: Place<'_> = Place { topic: "t", partition: 3, tenant: "acme", key: Some(b"k") };

#[test]
fn a_row_that_is_not_understood_is_not_obeyed() {
    let now = START;
    for bad in [
        row("explode", "all", json!({})),
        row("pause", "planet", json!({"planet": "mars"})),
        row("pause", "tenant", json!({})),
        row("pause", "tenant", json!({"tenant": 3})),
        row("pause", "partition", json!({"topic": "t"})),
        row("pause", "partition", json!({"topic": "t", "partition": 4_000_000_000_i64})),
        row("pause", "key", json!({"key": "abc"})),
        row("pause", "key", json!({"key": "+1"})),
        row("pause", "key", json!({"key": "zz"})),
        row("pause", "field", json!({"header": "h", "equals": "x"})),
        row("drop", "field", json!({"header": "h"})),
        row("drop", "all", json!({})),
        CommandRow { per_second: Some(0.0), ..row("throttle", "all", json!({})) },
        CommandRow { per_second: Some(f64::NAN), ..row("throttle", "all", json!({})) },
        CommandRow { per_second: None, ..row("throttle", "all", json!({})) },
        CommandRow { remaining_seconds: f64::NAN, ..row("pause", "all", json!([])) },
        CommandRow { remaining_seconds: f64::INFINITY, ..row("pause", "all", json!({})) },
    ] {
        let compiled = bad.compile(now);
        assert!(compiled.is_none_or(|command| command.until <= now), "{bad:?}");
    }
}

#[test]
fn a_command_holds_what_it_selects_and_nothing_else() {
    let now = START;
    let others = [
        Place { topic: "u", ..PLACE },
        Place { partition: 4, ..PLACE },
        Place { tenant: "globex", ..PLACE },
        Place { key: Some(b"l"), ..PLACE },
        Place { key: None, ..PLACE },
    ];
    for (scope, selector, spared) in [
        ("all", json!({}), &others[..0]),
        ("topic", json!({"topic": "t"}), &others[..1]),
        ("partition", json!({"topic": "t", "partition": 3}), &others[..2]),
        ("tenant", json!({"tenant": "acme"}), &others[2..3]),
        ("key", json!({"key": "6b"}), &others[3..]),
    ] {
        for action in ["pause", "drain"] {
            let set = CommandSet::new(row(action, scope, selector.clone()).compile(now).into_iter().collect(), 1);
            assert_eq!(set.verdict(now, &PLACE), Verdict::Hold(7), "{action} {scope}");
            for place in spared {
                assert_eq!(set.verdict(now, place), Verdict::Run, "{action} {scope} {place:?}");
            }
            assert_eq!(
                set.holds_partition(now, "t", 3),
                ["all", "topic", "partition"].contains(&scope),
                "only a whole partition need not be fetched: {scope}"
            );
        }
    }
}

#[test]
fn a_command_ends_by_itself() {
    let now = START;
    let set = CommandSet::new(row("pause", "all", json!({})).compile(now).into_iter().collect(), 1);
    let last = now + Duration::from_millis(59_999);
    assert_eq!(set.verdict(last, &PLACE), Verdict::Hold(7));
    assert_eq!(set.verdict(now + Duration::from_secs(60), &PLACE), Verdict::Run);
    assert!(!set.holds_partition(now + Duration::from_secs(60), "t", 3));
}

#[test]
fn a_hold_goes_before_a_throttle_and_all_throttles_count_by_the_members_share() {
    let now = START;
    let throttles = vec![
        command(1, Action::Throttle { per_second: 10.0 }, Selector::All),
        command(2, Action::Throttle { per_second: 4.0 }, Selector::Tenant("acme".into())),
    ];
    let set = CommandSet::new(throttles.clone(), 2);
    assert_eq!(set.verdict(now, &PLACE), Verdict::Throttle(vec![(1, 5.0), (2, 2.0)]));
    assert_eq!(set.verdict(now, &Place { tenant: "x", ..PLACE }), Verdict::Throttle(vec![(1, 5.0)]));
    let pause = command(3, Action::Pause, Selector::Key(b"k".to_vec()));
    let set = CommandSet::new([throttles, vec![pause]].concat(), 2);
    assert_eq!(set.verdict(now, &PLACE), Verdict::Hold(3));
}

#[test]
fn a_kill_switch_discards_by_header_by_field_and_by_place_only_what_matches() {
    let now = START;
    let nothing = |_: &str| None;
    let header = |name: &str| (name == "producer").then_some("bad");
    let field = |path: &str| (path == "data.kind").then(|| "x".to_owned());
    let by_header = Selector::Header { name: "producer".into(), equals: "bad".into() };
    let set = CommandSet::new(vec![command(1, Action::Drop, by_header)], 1);
    assert_eq!(set.drops(now, &PLACE, header, |_| unreachable!("no command looks into the payload")), Some(1));
    assert_eq!(set.drops(now, &PLACE, |_| None, nothing), None);
    assert_eq!(set.drops(now, &PLACE, |_| Some("good"), nothing), None);
    assert_eq!(set.drops(now + HOUR * 2, &PLACE, header, nothing), None, "it has expired");
    let by_field = Selector::Field { path: "data.kind".into(), equals: "x".into() };
    let set = CommandSet::new(vec![command(2, Action::Drop, by_field)], 1);
    assert_eq!(set.drops(now, &PLACE, |_| None, field), Some(2));
    assert_eq!(set.drops(now, &PLACE, |_| None, nothing), None);
    assert_eq!(set.verdict(now, &PLACE), Verdict::Run, "it is started, to be settled as discarded");
    let set = CommandSet::new(vec![command(3, Action::Drop, Selector::Tenant("acme".into()))], 1);
    assert_eq!(set.drops(now, &PLACE, |_| None, nothing), Some(3));
    assert_eq!(set.drops(now, &Place { tenant: "x", ..PLACE }, |_| None, nothing), None);
    let set = CommandSet::new(vec![command(4, Action::Pause, Selector::All)], 1);
    assert_eq!(set.drops(now, &PLACE, header, nothing), None, "a pause drops nothing");
}

proptest! {
    /// The index says the same as asking every command one by one.
    #[test]
    fn the_index_agrees_with_a_plain_search(
        chosen in prop::collection::vec((0_u8..6, 0_u8..3, any::<bool>(), any::<bool>()), 0..12),
        topic in 0_u8..3, partition in 0_i32..3, tenant in 0_u8..3, key in prop::option::of(0_u8..3),
    ) {
        let now = START;
        let name = |n: u8| n.to_string();
        let commands: Vec<Command> = chosen.into_iter().zip(1..).map(|((scope, value, pause, live), id)| {
            let selector = match scope {
                0 => Selector::Topic(name(value)),
                1 => Selector::Partition(name(value), i32::from(value)),
                2 => Selector::Tenant(name(value)),
                3 => Selector::Key(vec![value]),
                _ => Selector::Partition(name(value), 0),
            };
            let action = if pause { Action::Pause } else { Action::Throttle { per_second: 1.0 } };
            let until = if live { now + HOUR } else { now };
            Command { id, action, selector, until }
        }).collect();
        let (topic, tenant, key) = (name(topic), name(tenant), key.map(|k| vec![k]));
        let selects = |command: &&Command| now < command.until && match &command.selector {
            Selector::Topic(t) => *t == topic,
            Selector::Partition(t, p) => *t == topic && *p == partition,
            Selector::Tenant(t) => *t == tenant,
            Selector::Key(k) => Some(k) == key.as_ref(),
            _ => false,
        };
        let matching: Vec<&Command> = commands.iter().filter(selects).collect();
        let place = Place { topic: &topic, partition, tenant: &tenant, key: key.as_deref() };
        match CommandSet::new(commands.clone(), 1).verdict(now, &place) {
            Verdict::Run => prop_assert!(matching.is_empty()),
            Verdict::Hold(id) => prop_assert!(matching.iter().any(|c| c.id == id && c.action == Action::Pause)),
            Verdict::Throttle(ids) => {
                prop_assert!(matching.iter().all(|c| c.action != Action::Pause));
                prop_assert_eq!(ids.len(), matching.len());
            }
        }
    }
}
