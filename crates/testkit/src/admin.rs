use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What an administrator of Kafka may do to the topics of a test.
pub struct Admin {
    config: ClientConfig,
    client: AdminClient<DefaultClientContext>,
    prefix: String,
}

impl Admin {
    pub fn new(brokers: &str, prefix: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        let client = config.create().expect("admin client");
        Self { config, client, prefix: prefix.to_owned() }
    }

    /// Returns when it is gone.
    pub async fn delete_topic(&self, topic: &str) {
        let name = self.name(topic);
        for result in self.client.delete_topics(&[&name], &options()).await.expect("Kafka answers") {
            result.expect("the topic is deleted");
        }
        crate::eventually("the topic is gone", 20, || async { (!self.exists(topic).await).then_some(()) }).await;
    }

    pub async fn exists(&self, topic: &str) -> bool {
        let name = self.name(topic);
        // Of all topics: who asks for one could make it.
        let metadata = self.client.inner().fetch_metadata(None, PATIENCE).expect("metadata");
        metadata.topics().iter().any(|found| found.name() == name)
    }

    /// `total`: with those there are.
    pub async fn add_partitions(&self, topic: &str, total: usize) {
        let name = self.name(topic);
        let wanted = [NewPartitions::new(&name, total)];
        for result in self.client.create_partitions(&wanted, &options()).await.expect("Kafka answers") {
            result.expect("partitions are added");
        }
    }

    /// Everything before these offsets.
    pub async fn delete_records(&self, topic: &str, before: &BTreeMap<i32, i64>) {
        let list = self.list(topic, before);
        self.client.delete_records(&list, &options()).await.expect("records are deleted");
    }

    /// Commits these offsets where the group's are lower. The group has no member.
    pub async fn move_group(&self, consumer: &str, topic: &str, to: &BTreeMap<i32, i64>) {
        let group: BaseConsumer =
            self.config.clone().set("group.id", self.name(consumer)).create().expect("a member of the group");
        let all = self.list(topic, to);
        let now = group.committed_offsets(all, PATIENCE).expect("committed offsets");
        let behind = now.elements().into_iter().filter(|e| e.offset().to_raw().unwrap_or(-1) < to[&e.partition()]);
        let offsets: BTreeMap<i32, i64> = behind.map(|e| (e.partition(), to[&e.partition()])).collect();
        if !offsets.is_empty() {
            group.commit(&self.list(topic, &offsets), CommitMode::Sync).expect("offsets are committed");
        }
    }

    fn list(&self, topic: &str, offsets: &BTreeMap<i32, i64>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.name(topic), *partition, Offset::Offset(*offset)).expect("an offset");
        }
        list
    }

    fn name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}
