//! What happens to topics by the hands of others: administrators, retention, a replayer.

use std::{collections::BTreeMap, time::Duration};

use docfleet_testkit::admin::Admin;

use crate::{
    fault::{Act, Fault, Nemesis},
    process::docfleet,
    rig::Rig,
};

/// Read by dedup, projection-builder and webhook-dispatcher.
const SCANNED: &str = "documents.virus-scanned.v1";
const DEDUPLICATED: &str = "documents.deduplicated.v1";

fn admin(rig: &Rig) -> Admin {
    Admin::new(&rig.fleet.brokers, &rig.fleet.prefix)
}

#[derive(Default)]
pub struct RecordsDeleted {
    committed: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, i64>,
}

impl Nemesis for RecordsDeleted {
    fn fault(&self) -> Fault {
        Fault {
            row: 26,
            name: "records-deleted",
            what: "retention took records that a consumer had not read",
            how: "both dedup are stopped, DeleteRecords up to the end of their topic, both start; republish",
            expects: "the consumer stops and says so; it never goes on past the gap in silence",
            hold: Duration::from_secs(12),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            rig.fleet.of("dedup").for_each(crate::process::Process::kill);
            tokio::time::sleep(Duration::from_secs(8)).await;
            self.committed = rig.fleet.topics.committed("dedup", SCANNED).await;
            self.ends = rig.fleet.topics.ends(SCANNED).await;
            let behind = self.ends.iter().filter(|(partition, end)| self.committed[partition] < **end).count();
            assert!(behind > 0, "dedup was behind");
            admin(rig).delete_records(SCANNED, &self.ends).await;
            rig.fleet.of("dedup").for_each(crate::process::Process::begin);
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let now = rig.fleet.topics.committed("dedup", SCANNED).await;
            let jumped = self.ends.iter().filter(|(partition, end)| {
                self.committed[partition] < **end && now.get(partition).is_some_and(|offset| *offset >= **end)
            });
            let jumped = jumped.count();
            if jumped > 0 {
                rig.findings.push(format!("dedup went on past the deleted records of {jumped} partitions in silence"));
            }
            // As an operator does, who has read the alarm: go on at what is left, and bring back what is missing.
            rig.fleet.of("dedup").for_each(crate::process::Process::kill);
            tokio::time::sleep(Duration::from_secs(7)).await;
            admin(rig).move_group("dedup", SCANNED, &self.ends).await;
            rig.fleet.of("dedup").for_each(crate::process::Process::begin);
            rig.republish().await;
        })
    }
}

pub struct TopicDeleted;

impl Nemesis for TopicDeleted {
    fn fault(&self) -> Fault {
        Fault {
            row: 27,
            name: "topic-deleted",
            what: "a topic is deleted, and made anew",
            how: "DeleteTopics of one topic of events; 12 s later `docfleet setup`; republish",
            expects: "nobody makes it by accident; the others flow on; republishing brings all back",
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { admin(rig).delete_topic(DEDUPLICATED).await })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            if admin(rig).exists(DEDUPLICATED).await {
                rig.findings.push(format!("{DEDUPLICATED} came back by accident"));
            }
            setup(rig).await;
            rig.republish().await;
        })
    }
}

async fn setup(rig: &Rig) {
    let (code, said) = docfleet(&rig.fleet.direct, &["setup", "--wait", "90s", "--partitions", "6"]).await;
    assert_eq!(code, 0, "{said}");
}

pub struct PartitionsAdded;

const PARTITIONS_BEFORE: i32 = 6;

impl Nemesis for PartitionsAdded {
    fn fault(&self) -> Fault {
        Fault {
            row: 28,
            name: "partitions-added",
            what: "a live topic gets further partitions, and keys change places",
            how: "CreatePartitions from 6 to 8 on a topic of events; 12 s later `docfleet setup --accept-partitions`",
            expects: "the relay refuses to publish keyed records there until somebody has acknowledged it",
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { admin(rig).add_partitions(SCANNED, 8).await })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            let ends = rig.fleet.topics.ends(SCANNED).await;
            let moved: i64 =
                ends.iter().filter(|(partition, _)| **partition >= PARTITIONS_BEFORE).map(|(_, end)| end).sum();
            if moved > 0 {
                rig.findings.push(format!("{moved} keyed records went to partitions that nobody had acknowledged"));
            }
            let accepted = format!("{}{SCANNED}=8", rig.fleet.prefix);
            let (code, said) = docfleet(&rig.fleet.direct, &["setup", "--accept-partitions", &accepted]).await;
            assert_eq!(code, 0, "{said}");
        })
    }
}

pub struct TenTimes;

impl Nemesis for TenTimes {
    fn fault(&self) -> Fault {
        Fault {
            row: 30,
            name: "ten-times",
            what: "every record comes ten times",
            how: "the last 300 records of each topic of events are copied to its end nine times",
            expects: "each effect happens once",
            hold: Duration::from_secs(8),
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(copy(rig, 300, 9))
    }
}

/// Copies the newest records of each topic to its end.
pub async fn copy(rig: &Rig, newest: usize, times: usize) {
    for topic in ["documents.uploaded.v1", SCANNED, DEDUPLICATED, "documents.text-extracted.v1"] {
        let records = rig.fleet.topics.read(topic).await;
        let from = records.len().saturating_sub(newest);
        for _ in 0..times {
            rig.fleet.topics.produce_again(topic, &records[from..]).await;
        }
    }
}

pub struct NoDeadLetterTopic;

impl Nemesis for NoDeadLetterTopic {
    fn fault(&self) -> Fault {
        Fault {
            row: 33,
            name: "no-dead-letter-topic",
            what: "a dead letter topic is away",
            how: "the topic is deleted, undecodable messages come; 12 s later `docfleet setup`",
            expects: "no letter is lost: each waits in the outbox; the consumer goes on",
            combines: false,
            ..Fault::USUAL
        }
    }

    fn inject<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async {
            admin(rig).delete_topic("projection-builder.dlq").await;
            rig.poisons.topic_is_new("projection-builder");
            for _ in 0..6 {
                rig.poison("documents.text-extracted.v1").await;
            }
        })
    }

    fn heal<'a>(&'a mut self, rig: &'a mut Rig) -> Act<'a> {
        Box::pin(async { setup(rig).await })
    }
}
