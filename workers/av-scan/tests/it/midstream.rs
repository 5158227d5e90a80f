//! What happens while a document is on its way.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use av_scan::{Error, reply::Answer};
use bytes::Bytes;
use docfleet_blobs::Error as BlobError;
use futures::{StreamExt, stream};
use tokio::{io::AsyncWriteExt, net::UnixStream, time::Instant};

use crate::{eicar, own_clamd::OwnClamd};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[tokio::test]
async fn an_empty_piece_is_not_the_end_of_the_document() {
    let clamd = OwnClamd::sighted().await;
    let pieces = [Bytes::new(), Bytes::from(eicar()), Bytes::new()].map(Ok);
    let answer = clamd.client().scan(stream::iter(pieces), soon()).await.unwrap();
    assert!(matches!(answer, Answer::Infected { .. }), "{answer:?}");
}

#[tokio::test]
async fn a_document_that_can_not_be_read_to_its_end_has_no_verdict() {
    let clamd = OwnClamd::sighted().await;
    let broken = stream::iter([Ok(Bytes::from_static(b"the first half")), Err(BlobError::NotFound)]);
    let outcome = clamd.client().scan(broken, soon()).await;
    assert!(matches!(outcome, Err(Error::Content(BlobError::NotFound))), "{outcome:?}");
}

#[tokio::test]
async fn an_engine_killed_in_the_middle_of_a_document_gives_no_verdict() {
    let mut clamd = OwnClamd::sighted().await;
    let client = clamd.client();
    let piece = || Ok(Bytes::from(vec![b'a'; 100_000]));
    let first = stream::iter([piece()]);
    // By the time the second piece is asked for, nobody is there to take it.
    let then = stream::once(async {
        clamd.kill();
        piece()
    });
    let outcome = client.scan(Box::pin(first.chain(then)), soon()).await;
    assert!(matches!(outcome, Err(Error::BrokeOff(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_reloads_all_the_time_never_calls_a_virus_clean() {
    let clamd = OwnClamd::sighted().await;
    let (client, ended) = (clamd.client(), AtomicBool::new(false));
    let address = clamd.address();
    let reloading = async {
        while !ended.load(Ordering::Relaxed) {
            let mut socket = UnixStream::connect(address.trim_start_matches("unix:")).await.unwrap();
            socket.write_all(b"zRELOAD\0").await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let scanning = async {
        for _ in 0..200 {
            let outcome = client.scan(stream::iter([Ok(Bytes::from(eicar()))]), soon()).await;
            assert!(!matches!(outcome, Ok(Answer::Clean)));
        }
        ended.store(true, Ordering::Relaxed);
    };
    tokio::join!(reloading, scanning);
}
