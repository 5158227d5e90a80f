//! Servers that only pretend to be clamd: whatever they say, nothing becomes clean by accident.

use av_scan::reply::{Answer, Unscannable};
use docfleet_pipeline::Class;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{Store, config};

/// How the pretender treats a document, after it has passed the self-test like an honest engine.
#[derive(Clone)]
enum Act {
    /// Reads all of it, says this, closes.
    Say(&'static [u8]),
    /// Says this at once, reads nothing more, closes.
    Interrupt(&'static [u8]),
    /// Reads it and never answers.
    Silence,
    /// Says this and keeps the connection open.
    Linger(&'static [u8]),
}

async fn pretend(act: Act) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, act.clone()));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, act: Act) -> std::io::Result<()> {
    let mut command = Vec::new();
    while stream.read_u8().await.inspect(|byte| command.push(*byte))? != 0 {}
    if command == b"zVERSION\0" {
        return stream.write_all(b"ClamAV 9/1/today\0").await;
    }
    let first = read_piece(&mut stream).await?;
    if first.as_ref().is_some_and(|piece| piece.len() == 68) {
        while read_piece(&mut stream).await?.is_some() {}
        return stream.write_all(b"stream: Eicar FOUND\0").await;
    }
    match act {
        Act::Interrupt(reply) => stream.write_all(reply).await,
        Act::Say(reply) => {
            while read_piece(&mut stream).await?.is_some() {}
            stream.write_all(reply).await
        }
        Act::Silence => {
            while read_piece(&mut stream).await?.is_some() {}
            std::future::pending().await
        }
        Act::Linger(reply) => {
            while read_piece(&mut stream).await?.is_some() {}
            stream.write_all(reply).await?;
            std::future::pending().await
        }
    }
}

/// None at the end of the document.
async fn read_piece(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut piece = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut piece).await?;
    Ok(Some(piece).filter(|piece| !piece.is_empty()))
}

async fn scanned(act: Act, bytes: usize) -> Result<Answer, (Class, &'static str)> {
    let address = pretend(act).await;
    let outcome = Store::new().scan(&config(address), vec![b'a'; bytes]).await;
    outcome.map(|finding| finding.answer).map_err(|failure| (failure.class, failure.reason))
}

#[tokio::test]
async fn the_honest_answer_is_believed() {
    assert_eq!(scanned(Act::Say(b"stream: OK\0"), 500_000).await, Ok(Answer::Clean));
}

#[tokio::test]
async fn an_answer_that_is_not_one_is_tried_again() {
    for (said, reason) in [
        (&b"stream: OK"[..], "engine-reply-garbled"),
        (b"stream: OK\0stream: OK\0", "engine-reply-garbled"),
        (b"stream: O", "engine-reply-garbled"),
        (b"", "engine-reply-garbled"),
        (b"\0", "engine-reply-garbled"),
        (b"\xff\xff\xff\0", "engine-reply-garbled"),
        (b"OK OK OK\0", "engine-reply-garbled"),
        (b"stream: Can't allocate memory ERROR\0", "engine-error"),
    ] {
        assert_eq!(scanned(Act::Say(said), 10).await, Err((Class::Transient, reason)), "{said:?}");
    }
    static ENDLESS: [u8; 100_000] = [b'x'; 100_000];
    assert_eq!(scanned(Act::Say(&ENDLESS), 10).await, Err((Class::Transient, "engine-reply-garbled")));
}

#[tokio::test]
async fn silence_is_not_clean() {
    assert_eq!(scanned(Act::Silence, 10).await, Err((Class::Transient, "engine-silent")));
    assert_eq!(scanned(Act::Linger(b"stream: OK"), 10).await, Err((Class::Transient, "engine-silent")));
    assert_eq!(
        scanned(Act::Linger(b"stream: OK\0"), 10).await,
        Err((Class::Transient, "engine-silent")),
        "more may follow"
    );
}

#[tokio::test]
async fn clean_before_the_documents_end_is_not_clean() {
    for bytes in [200_000, 20_000_000] {
        let hasty = scanned(Act::Interrupt(b"stream: OK\0"), bytes).await.unwrap_err();
        assert_eq!(hasty.0, Class::Transient, "{bytes} bytes: {}", hasty.1);
        let gone = scanned(Act::Interrupt(b""), bytes).await;
        assert_eq!(gone, Err((Class::Transient, "engine-broke-off")), "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_the_document_is_heard() {
    for bytes in [200_000, 20_000_000] {
        let refused = scanned(Act::Interrupt(b"INSTREAM size limit exceeded. ERROR\0"), bytes).await;
        assert_eq!(refused, Ok(Answer::Unscannable(Unscannable::TooLarge)), "{bytes} bytes");
    }
}

#[tokio::test]
async fn what_does_not_speak_as_an_engine_is_away() {
    for greeting in [&b""[..], b"SSH-2.0-OpenSSH_9\r\n", b"UNKNOWN COMMAND\0"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(greeting).await.ok();
            }
        });
        let failure = Store::new().scan(&config(address), "letter").await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Unavailable, "engine-unavailable"), "{greeting:?}");
    }
}
