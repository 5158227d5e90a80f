//! The body of an upload on its way to the multipart reader.
//!
//! The reader takes all it can get before it looks, and keeps what is no file (preamble, headers of parts) in memory
//! without a limit. So it gets one piece at a time, and between files only so many of them.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt, future::poll_fn};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::pace::Pace;
use crate::{
    ApiConfig,
    problem::{Kind, Problem},
};

/// Of all that is no file. Some pieces may be counted that hold a file's first or last bytes.
pub(super) const OVERHEAD_BYTES_MAX: usize = 256 * 1024;

/// Why the body ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("nothing came for too long, or too little")]
    Slow,
    #[error("the whole took too long")]
    TooLong,
    #[error("too much that is no file")]
    Overhead,
    #[error("the connection broke")]
    Broken,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Slow | Fault::TooLong => Self::of(Kind::UploadTooSlow),
            Fault::Overhead => Self::new(Kind::InvalidMultipart, "There is too much around the file."),
            Fault::Broken => Self::new(Kind::InvalidMultipart, "The body broke off."),
        }
    }
}

/// A handle to the body, which the reader reads through [`Intake::reader`]. Cheap to clone.
#[derive(Clone)]
pub(super) struct Intake(Arc<Mutex<Source>>);

struct Source {
    body: BodyDataStream,
    pace: Pace,
    patience: Pin<Box<Sleep>>,
    /// Since when the sender is being waited for. Time that the store takes is not the sender's fault.
    waiting: Option<Instant>,
    until: Pin<Box<Sleep>>,
    in_file: bool,
    overhead_bytes: usize,
    fault: Option<Fault>,
}

impl Intake {
    pub fn new(body: Body, api: &ApiConfig) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Source {
            body: body.into_data_stream(),
            pace: Pace::of(api),
            patience: Box::pin(sleep_until(now)),
            waiting: None,
            until: Box::pin(sleep_until(now + api.upload_timeout)),
            in_file: false,
            overhead_bytes: 0,
            fault: None,
        })))
    }

    pub fn reader(&self) -> Body {
        Body::from_stream(Reader { intake: self.clone(), pause: false })
    }

    /// From here on the bytes are a file's, which its receiver counts.
    pub fn enter_file(&self) {
        self.source().in_file = true;
    }

    pub fn leave_file(&self) {
        self.source().in_file = false;
    }

    /// Why the reader got an error, when it was one of the body and not of what stands in it.
    pub fn fault(&self) -> Option<Fault> {
        self.source().fault
    }

    /// Reads on a little after the answer is known: a client that is still sending would otherwise see its connection
    /// reset, and not the answer.
    pub async fn drain(&self) {
        const BYTES: usize = 8 * 1024 * 1024;
        const PATIENCE: Duration = Duration::from_secs(2);
        if matches!(self.fault(), Some(Fault::Slow | Fault::TooLong | Fault::Broken)) {
            return;
        }
        let mut left = BYTES;
        let rest = async {
            while let Some(Ok(chunk)) = poll_fn(|cx| self.source().body.poll_next_unpin(cx)).await {
                left = match left.checked_sub(chunk.len()) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        // Whatever comes of it, the answer is given next.
        timeout(PATIENCE, rest).await.ok();
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if self.until.as_mut().poll(cx).is_ready() {
            return self.fail(Fault::TooLong);
        }
        match self.body.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                if let Some(since) = self.waiting.take() {
                    self.pace.waited(since.elapsed());
                }
                self.pace.received(piece.len());
                if !self.in_file {
                    self.overhead_bytes += piece.len();
                }
                if self.overhead_bytes > OVERHEAD_BYTES_MAX {
                    return self.fail(Fault::Overhead);
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Poll::Ready(Some(Err(_))) => self.fail(Fault::Broken),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if self.waiting.is_none() {
                    let now = Instant::now();
                    self.waiting = Some(now);
                    self.patience.as_mut().reset(now + self.pace.patience());
                }
                match self.patience.as_mut().poll(cx) {
                    Poll::Ready(()) => self.fail(Fault::Slow),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn fail(&mut self, fault: Fault) -> Poll<Option<Result<Bytes, Fault>>> {
        self.fault = Some(fault);
        Poll::Ready(Some(Err(fault)))
    }
}

struct Reader {
    intake: Intake,
    pause: bool,
}

impl Stream for Reader {
    type Item = Result<Bytes, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.pause {
            self.pause = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.intake.source().poll_piece(cx);
        self.pause = matches!(piece, Poll::Ready(Some(Ok(_))));
        piece
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn intake(pieces: Vec<&'static [u8]>, api: &ApiConfig) -> Intake {
        let pieces = futures::stream::iter(pieces.into_iter().map(Ok::<_, Fault>));
        Intake::new(Body::from_stream(pieces.chain(futures::stream::pending())), api)
    }

    async fn next(reader: &mut BodyDataStream) -> Option<Bytes> {
        reader.next().await.and_then(Result::ok)
    }

    #[tokio::test]
    async fn a_greedy_reader_gets_one_piece_at_a_time() {
        let intake = intake(vec![b"a", b"b"], &ApiConfig::default());
        let mut reader = intake.reader().into_data_stream();
        let taken = poll_fn(|cx| {
            let mut taken = Vec::new();
            while let Poll::Ready(Some(Ok(piece))) = reader.poll_next_unpin(cx) {
                taken.push(piece);
            }
            Poll::Ready(taken)
        });
        assert_eq!(taken.await, ["a"]);
        assert_eq!(next(&mut reader).await.unwrap(), "b");
    }

    #[tokio::test]
    async fn what_is_no_file_is_limited() {
        const PIECE: &[u8] = &[b'x'; 100 * 1024];
        let intake = intake(vec![PIECE; 6], &ApiConfig::default());
        let mut reader = intake.reader().into_data_stream();
        assert!(next(&mut reader).await.is_some());
        intake.enter_file();
        for _ in 0..3 {
            assert!(next(&mut reader).await.is_some());
        }
        intake.leave_file();
        assert!(next(&mut reader).await.is_some());
        assert!(next(&mut reader).await.is_none());
        assert_eq!(intake.fault(), Some(Fault::Overhead));
    }

    fn impatient() -> ApiConfig {
        ApiConfig { upload_idle_timeout: Duration::from_millis(50), ..ApiConfig::default() }
    }

    #[tokio::test]
    async fn a_sender_that_stops_or_dawdles_is_given_up() {
        let api = impatient();
        let silent = intake(vec![], &api);
        assert!(next(&mut silent.reader().into_data_stream()).await.is_none());
        assert_eq!(silent.fault(), Some(Fault::Slow));

        let slow = intake(vec![b"a"], &ApiConfig { upload_timeout: Duration::from_millis(20), ..api });
        let mut reader = slow.reader().into_data_stream();
        assert!(next(&mut reader).await.is_some());
        assert!(next(&mut reader).await.is_none());
        assert_eq!(slow.fault(), Some(Fault::TooLong));
    }

    #[tokio::test]
    async fn a_sender_that_drips_is_given_up() {
        let api = ApiConfig { upload_slow_grace: Duration::from_millis(100), ..ApiConfig::default() };
        let drops = futures::stream::unfold((), async |()| {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((Ok::<_, Fault>("."), ()))
        });
        let dripping = Intake::new(Body::from_stream(drops), &api);
        let mut reader = dripping.reader().into_data_stream();
        let mut taken = 0;
        while next(&mut reader).await.is_some() {
            taken += 1;
        }
        assert!((1..=10).contains(&taken), "{taken}");
        assert_eq!(dripping.fault(), Some(Fault::Slow));
    }

    #[tokio::test]
    async fn the_time_that_the_store_takes_is_not_held_against_the_sender() {
        let intake = intake(vec![b"a", b"b"], &impatient());
        let mut reader = intake.reader().into_data_stream();
        assert!(next(&mut reader).await.is_some());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(next(&mut reader).await.is_some());
    }
}
