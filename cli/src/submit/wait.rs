use std::time::{Duration, Instant};

use futures::{StreamExt, stream};

use super::{Entry, outcome::Outcome, progress::Progress, step::step_of};
use crate::{
    Error,
    api::{Api, Subscription},
};

const PAUSE: Duration = Duration::from_millis(300);
/// Requests at once.
const CONCURRENCY: usize = 8;

/// Asks for each document until all are finished and announced, or `deadline` has passed.
pub async fn until_finished(
    api: &Api,
    subscriptions: &[Subscription],
    entries: &mut [Entry],
    deadline: Instant,
    progress: &mut Progress,
) -> Result<(), Error> {
    loop {
        let open: Vec<(usize, &'static str)> = entries
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| match &entry.outcome {
                Outcome::Accepted(document) => Some((index, step_of(document, subscriptions)?)),
                Outcome::Refused(_) => None,
            })
            .collect();
        progress.waiting(entries, &open);
        if open.is_empty() || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
        let ids = open.iter().filter_map(|(index, _)| match &entries.get(*index)?.outcome {
            Outcome::Accepted(document) => Some((*index, document.id)),
            Outcome::Refused(_) => None,
        });
        let ask = |(index, id)| async move { (index, api.document(id).await) };
        let answers: Vec<_> =
            stream::iter(ids.collect::<Vec<_>>()).map(ask).buffer_unordered(CONCURRENCY).collect().await;
        for (index, answer) in answers {
            match answer {
                Ok(document) => {
                    if let Some(entry) = entries.get_mut(index) {
                        entry.outcome = Outcome::Accepted(Box::new(document));
                    }
                }
                // The uploads are accepted, so an API that restarts costs time only.
                Err(error) if error.is_away() && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
    }
}
