//! Messages that are broken, too many, or all of one key.

use std::time::Duration;

use serde_json::Value;

use crate::{
    checks::readers,
    fault::{Act, Fault, Nemesis},
    fleet::CONSUMERS,
    process::{Process, docfleet},
    rig::Rig,
};

use super::topics;

const UPLOADED: &str = "documents.uploaded.v1";

#[derive(Default)]
pub struct BrokenMessages {
    unknown: Option<u32>,
}

impl BrokenMessages {
    /// A schema that nobody of us knows; its id.
    async fn register(rig: &Rig, number: u32) -> u32 {
        let schema = format!(r#"{{"type":"record","name":"Foreign{number}","fields":[]}}"#);
        let url = format!("{}/subjects/{}foreign-{number}/versions", rig.fleet.registry, rig.fleet.prefix);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.post(url).json(&serde_json::json!({ "schema": schema })).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        u32::try_from(body["id"].as_u64().unwrap_or_else(|| panic!("{body}"))).unwrap()
    }
}

impl Nemesis for BrokenMessages {
    fn fault(&self) -> Fault {
        Fault {
            row: 31,
            name: "broken-messages",
            what: "broken Avro, empty, oversized, of an unknown schema",
            how: "a foreign producer sends each to a topic of events; the unknown schema is registered at the end",
            expects: "each is a dead letter once; the unknown schema waits until it is known",
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            for _ in 0..12 {
                rig.poison(UPLOADED).await;
            }
            // Above [consumer].record_bytes_max, below the broker's limit.
            let oversized = vec![0; 700_000];
            rig.poisons.send(&rig.fleet, UPLOADED, Some(&oversized)).await;
            let unknown = Self::register(rig, 1).await + 1;
            let framed = [&[0][..], &unknown.to_be_bytes()].concat();
            rig.poisons.send(&rig.fleet, UPLOADED, Some(&framed)).await;
            self.unknown = Some(unknown);
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let dead = rig.fleet.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'").await;
            if usize::try_from(dead).unwrap() >= rig.poisons.letters() {
                rig.findings
                    .push("a message of an unknown schema was called dead before the schema was known".to_owned());
            }
            for number in 2..10 {
                if Some(Self::register(rig, number).await) >= self.unknown {
                    return;
                }
            }
            panic!("the registry does not give out id {:?}", self.unknown);
        })
    }
}

const STORM: usize = 200;

/// The consumers of the topic of which no member's breaker is open.
const NOT_TRIPPED: &str =
    "SELECT count(*) FROM unnest(ARRAY['av-scan', 'projection-builder', 'webhook-dispatcher']) AS c (name)
      WHERE NOT EXISTS (SELECT FROM pipeline.consumer_members WHERE consumer = c.name
                           AND jsonb_typeof(gate -> 'breaker') = 'object')";

#[derive(Default)]
pub struct PoisonStorm {
    dead_before: i64,
}

impl Nemesis for PoisonStorm {
    fn fault(&self) -> Fault {
        Fault {
            row: 32,
            name: "poison-storm",
            what: "far more undecodable messages than good ones",
            how: "200 of three kinds at once on the topic of uploads, under load; afterwards an operator lets them fail",
            expects: "each stage trips and says so, and holds them until somebody decides; all comes to its end then",
            hold: Duration::from_secs(10),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            self.dead_before = rig.fleet.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'").await;
            for _ in 0..STORM {
                rig.poison(UPLOADED).await;
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let dead = rig.fleet.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'").await;
            let new = dead - self.dead_before;
            eprintln!("  {new} dead letters before anybody decided");
            // Three consumers read the topic, in two processes each; the window is one of 200 messages.
            if new >= i64::try_from(3 * STORM / 2).unwrap() {
                rig.findings.push(format!("{new} dead letters of a storm within its 10 s"));
            }
            let silent = rig.fleet.count(NOT_TRIPPED).await;
            if silent > 0 {
                rig.findings.push(format!("the breakers of {silent} consumers do not say that they are open"));
            }
            for consumer in readers(UPLOADED) {
                let order =
                    ["let-fail", "--consumer", consumer, "--for", "1m", "--why", "a storm of a test, looked into"];
                let (code, said) = docfleet(&rig.fleet.direct, &order).await;
                assert_eq!(code, 0, "{said}");
            }
        })
    }
}

pub struct KeyFails;

impl Nemesis for KeyFails {
    fn fault(&self) -> Fault {
        Fault {
            row: 35,
            name: "key-fails",
            what: "the effect of some keys fails again and again",
            how: "a trigger refuses the view's rows of every tenth document for 8 s",
            expects: "their events wait and come in the end, in order where the consumer is ordered; other keys flow on",
            hold: Duration::from_secs(8),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(
            rig.fleet.execute(
                "CREATE FUNCTION views.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF hashtext(NEW.document_id::text) % 10 = 0 THEN RAISE EXCEPTION 'refused by a test'; END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON views.document_view
                 FOR EACH ROW EXECUTE FUNCTION views.refuse()"
                    .to_owned(),
            ),
        )
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        let sql = "DROP TRIGGER refuse ON views.document_view; DROP FUNCTION views.refuse()";
        Box::pin(rig.fleet.execute(sql.to_owned()))
    }
}

/// Of one worker after a cold start, with room for its libraries.
const RESIDENT_BYTES_MAX: u64 = 400 << 20;

pub struct ColdStart;

impl Nemesis for ColdStart {
    fn fault(&self) -> Fault {
        Fault {
            row: 49,
            name: "cold-start",
            what: "all consumers start on a backlog",
            how: "all are killed for 12 s of load, the newest 400 records of each topic are copied 20 times, all start",
            expects: "the backlog drains, no worker takes more than 400 MiB",
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            for name in CONSUMERS {
                rig.fleet.of(name).for_each(Process::kill);
            }
            topics::copy(rig, 400, 20).await;
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            for name in CONSUMERS {
                rig.fleet.of(name).for_each(Process::begin);
            }
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(250)).await;
                let largest = rig.fleet.processes.iter().max_by_key(|process| process.resident_bytes()).unwrap();
                if largest.resident_bytes() > RESIDENT_BYTES_MAX {
                    rig.findings.push(format!("{} takes {} MiB", largest.name, largest.resident_bytes() >> 20));
                    return;
                }
            }
        })
    }
}

pub struct HotKey;

impl Nemesis for HotKey {
    fn fault(&self) -> Fault {
        Fault {
            row: 50,
            name: "hot-key",
            what: "one key is most of the traffic",
            how: "one record of the topic of uploads is copied 4,000 times, under load",
            expects: "documents of other keys are through while the hot key is worked on",
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let records = rig.fleet.topics.read(UPLOADED).await;
            let hot = records.into_iter().rfind(|record| record.headers.contains_key("event_id"));
            let copies = vec![hot.expect("a record of ours"); 4_000];
            rig.fleet.topics.produce_again(UPLOADED, &copies).await;
        })
    }
}
