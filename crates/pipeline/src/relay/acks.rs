//! What Kafka says of each record, from the client's thread to the publisher's task.

use std::sync::{Mutex, PoisonError};

use rdkafka::{
    ClientContext, Message,
    error::KafkaError,
    producer::{DeliveryResult, ProducerContext},
    types::RDKafkaErrorCode,
};
use tokio::sync::Notify;

/// Why a record was not delivered.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Another producer would meet the same error with this row, and none with the others.
    OfTheRow(String),
    OfTheProducer(String),
}

impl Trouble {
    pub fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(
                Code::MessageSizeTooLarge
                | Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::TopicAuthorizationFailed
                | Code::InvalidTopic
                | Code::InvalidRecord
                // Of the client itself, such as a topic's name of more than 512 bytes.
                | Code::InvalidArgument
                | Code::PolicyViolation,
            ) => Self::OfTheRow(error.to_string()),
            _ => Self::OfTheProducer(error.to_string()),
        }
    }
}

/// By the slot that was given to the client with the record.
pub(super) type Ack = (usize, Result<(), Trouble>);

/// Bounded by the records in flight: each is told of once.
#[derive(Default)]
pub(super) struct Acks {
    told: Mutex<Vec<Ack>>,
    news: Notify,
}

impl Acks {
    /// Resolves when there is something to [`take`](Self::take). Only one task may wait.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    pub fn take(&self) -> Vec<Ack> {
        std::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, ack: Ack) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(ack);
        if told.len() == 1 {
            self.news.notify_one();
        }
    }
}

/// The producer's end.
pub(super) struct Teller(pub std::sync::Arc<Acks>);

impl ClientContext for Teller {}

impl ProducerContext for Teller {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivered: &DeliveryResult<'_>, slot: usize) {
        let told = match delivered {
            // librdkafka takes DUPLICATE_SEQUENCE_NUMBER for "written before" and reports a success without an offset. The
            // record may lie nowhere: a broker that knows nothing of the producer, as on a partition just created, accepts
            // any first sequence number, so a later request in flight can be written before an earlier one, whose
            // repetition is then called a duplicate. Only an offset is a proof; a repetition costs an inbox a look.
            Ok(record) if record.offset() < 0 => {
                Err(Trouble::OfTheProducer("acknowledged without an offset".to_owned()))
            }
            Ok(_) => Ok(()),
            Err((error, record)) => Err(match Trouble::of(error) {
                Trouble::OfTheProducer(detail) => Trouble::OfTheProducer(format!("{}: {detail}", record.topic())),
                of_the_row => of_the_row,
            }),
        };
        self.0.tell((slot, told));
    }
}
