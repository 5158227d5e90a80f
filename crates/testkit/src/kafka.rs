use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

use crate::Servers;

/// The topics of one test, all under its prefix.
pub struct Topics {
    brokers: String,
    prefix: String,
    producer: FutureProducer,
}

/// A record as it lies on a topic.
#[derive(Debug, Clone)]
pub struct Consumed {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Topics {
    /// `names` without the prefix.
    pub async fn create(prefix: &str, names: &[&str], partitions: i32) -> Self {
        Self::create_on(&Servers::running(), prefix, names, partitions).await
    }

    pub async fn create_on(servers: &Servers, prefix: &str, names: &[&str], partitions: i32) -> Self {
        let topics_of = Self::on(&servers.brokers(), prefix);
        let admin: AdminClient<DefaultClientContext> = topics_of.client().create().expect("admin client");
        let full: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
        let topics: Vec<NewTopic<'_>> =
            full.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
        for result in admin.create_topics(&topics, &AdminOptions::new()).await.expect("Kafka answers") {
            result.expect("the topic is new");
        }
        topics_of
    }

    /// Topics that exist already, also of another cluster than the tests' own.
    pub fn on(brokers: &str, prefix: &str) -> Self {
        let producer =
            client(brokers).set("enable.idempotence", "true").set("linger.ms", "1").create().expect("producer");
        Self { brokers: brokers.to_owned(), prefix: prefix.to_owned(), producer }
    }

    /// A topic's name with the prefix.
    pub fn full_name(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    fn client(&self) -> ClientConfig {
        client(&self.brokers)
    }

    /// The topics of a consumer beside the ones of its events.
    pub fn of_failures(consumer: &str) -> Vec<String> {
        ["retry.10s", "retry.1m", "retry.10m", "dlq"].iter().map(|kind| format!("{consumer}.{kind}")).collect()
    }

    pub async fn produce(&self, topic: &str, key: &str, payload: Option<&[u8]>, headers: &[(&str, &str)]) {
        let topic = format!("{}{topic}", self.prefix);
        let mut owned = OwnedHeaders::new();
        for (name, value) in headers {
            owned = owned.insert(Header { key: name, value: Some(*value) });
        }
        let mut record: FutureRecord<'_, str, [u8]> = FutureRecord::to(&topic).key(key).headers(owned);
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        self.producer.send(record, PATIENCE).await.map_err(|(error, _)| error).expect("the record is acknowledged");
    }

    /// The same records once more, each into its own partition, with its key and headers.
    pub async fn produce_again(&self, topic: &str, records: &[Consumed]) {
        let topic = format!("{}{topic}", self.prefix);
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            let headers = record
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            let mut again: FutureRecord<'_, [u8], [u8]> =
                FutureRecord::to(&topic).partition(record.partition).headers(headers);
            again.key = record.key.as_deref();
            again.payload = record.payload.as_deref();
            sent.push(self.producer.send_result(again).map_err(|(error, _)| error).expect("the queue has room"));
        }
        for delivery in sent {
            let delivered = delivery.await.expect("the producer lives");
            delivered.map_err(|(error, _)| error).expect("the record is acknowledged");
        }
    }

    /// A record whose one header has this name, which need not be text. By way of `kcat`, as rdkafka's own headers are
    /// always text.
    pub async fn produce_with_raw_header(&self, topic: &str, name: &[u8]) {
        use std::os::unix::ffi::OsStrExt;
        let header = [name, b"=x"].concat();
        let mut kcat = tokio::process::Command::new("kcat")
            .args(["-P", "-b", &self.brokers, "-t", &format!("{}{topic}", self.prefix), "-H"])
            .arg(std::ffi::OsStr::from_bytes(&header))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("kcat is installed");
        let mut input = kcat.stdin.take().expect("piped");
        tokio::io::AsyncWriteExt::write_all(&mut input, b"value").await.expect("kcat reads");
        drop(input);
        assert!(kcat.wait().await.expect("kcat ends").success());
    }

    /// Everything on a topic now, in the order of partitions and offsets.
    pub async fn read(&self, topic: &str) -> Vec<Consumed> {
        let topic = format!("{}{topic}", self.prefix);
        let client = self.client();
        tokio::task::spawn_blocking(move || read_to_end(&client, &topic)).await.expect("reading")
    }

    /// Committed offsets of a group on a topic, by partition.
    pub async fn committed(&self, consumer: &str, topic: &str) -> BTreeMap<i32, i64> {
        let (group, topic) = (format!("{}{consumer}", self.prefix), format!("{}{topic}", self.prefix));
        let mut client = self.client();
        let committed = tokio::task::spawn_blocking(move || {
            let observer: BaseConsumer = client.set("group.id", &group).create().expect("consumer");
            let mut list = TopicPartitionList::new();
            for partition in partitions(&observer, &topic) {
                list.add_partition(&topic, partition);
            }
            let answer = observer.committed_offsets(list, PATIENCE).expect("committed offsets");
            let offset = |offset: Offset| offset.to_raw().filter(|raw| *raw >= 0).unwrap_or(0);
            answer.elements().iter().map(|element| (element.partition(), offset(element.offset()))).collect()
        });
        committed.await.expect("reading")
    }

    /// One past the last offset of each partition.
    pub async fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        let topic = format!("{}{topic}", self.prefix);
        let client = self.client();
        let ends = tokio::task::spawn_blocking(move || {
            let observer: BaseConsumer = client.create().expect("consumer");
            let end = |partition| observer.fetch_watermarks(&topic, partition, PATIENCE).expect("watermarks").1;
            partitions(&observer, &topic).into_iter().map(|partition| (partition, end(partition))).collect()
        });
        ends.await.expect("reading")
    }
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    metadata.topics().iter().flat_map(|t| t.partitions().iter().map(rdkafka::metadata::MetadataPartition::id)).collect()
}

fn read_to_end(client: &ClientConfig, topic: &str) -> Vec<Consumed> {
    let consumer: BaseConsumer =
        client.clone().set("group.id", "reader").set("isolation.level", "read_committed").create().expect("consumer");
    let mut list = TopicPartitionList::new();
    let mut left = 0;
    for partition in partitions(&consumer, topic) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("watermarks");
        left += high - low;
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("offset");
    }
    consumer.assign(&list).expect("assign");
    let deadline = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while left > 0 && Instant::now() < deadline {
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            let message = message.expect("a record");
            let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            let headers = message.headers().map_or_else(BTreeMap::new, |headers| {
                headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
            });
            all.push(Consumed {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                headers,
            });
            left -= 1;
        }
    }
    all.sort_by_key(|record| (record.partition, record.offset));
    all
}
