//! One thread per consumer polls for ever: rebalances, errors and heartbeats are served whatever the rest of the process
//! does. A thread and not a task, as a lost wake-up of a shared runtime has stalled consumers for days
//! (rust-rdkafka#638, #840).

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, oneshot};

use super::{CommandSender, Connection, Outlet, client, continuity::Continuity, group::Context, poll::PollLoop};
use crate::{ConsumerConfig, KafkaConfig};

/// Joins the group and starts the poll thread.
///
/// # Errors
/// When the configuration is refused. An unreachable broker is no error here: the client keeps trying.
pub fn connect(
    config: &KafkaConfig,
    consumer: &'static str,
    topics: &[String],
    consuming: &ConsumerConfig,
) -> Result<Connection, String> {
    let group = format!("{}{consumer}", config.topic_prefix);
    let (events, receiver) = mpsc::unbounded_channel();
    let (outlet, records) = Outlet::new();
    let context = Context::new(consumer, events, consuming.revoke_drain);
    let base: BaseConsumer<Context> =
        client::consumer(config, &group)?.create_with_context(context).map_err(|e| e.to_string())?;
    base.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()).map_err(|e| e.to_string())?;
    let continuity = Continuity::new(consuming.accept_lost_records);
    let (commands, orders) = CommandSender::new();
    let (ended, closed) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("poll-{consumer}"))
        .spawn(move || {
            PollLoop::new(&base, outlet, orders, continuity).run();
            drop(base);
            ended.send(()).ok();
        })
        .map_err(|e| e.to_string())?;
    Ok(Connection { events: receiver, records, commands, closed })
}
