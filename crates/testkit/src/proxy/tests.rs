use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

/// A server that answers with what it was sent.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
    address
}

async fn proxied() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(0, echo().await).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut client, b"hello").await.unwrap(), b"hello");
    (proxy, client)
}

async fn ask(client: &mut TcpStream, words: &[u8]) -> std::io::Result<Vec<u8>> {
    client.write_all(words).await?;
    let mut answer = vec![0; words.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Whether nothing comes for a while; it would come at once.
async fn is_silent(client: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(300), client.read(&mut [0; 16])).await.is_err()
}

#[tokio::test]
async fn a_cut_connection_ends_and_a_reset_one_is_reset() {
    let (proxy, mut client) = proxied().await;
    proxy.cut();
    assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut client, b"again").await.unwrap();
    proxy.reset();
    assert_eq!(client.read(&mut [0; 16]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_half_open_connection_is_silent_for_ever_and_a_new_one_is_well() {
    let (proxy, mut client) = proxied().await;
    proxy.half_open();
    proxy.clear();
    client.write_all(b"is anybody there?").await.unwrap();
    assert!(is_silent(&mut client).await);
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other, b"yes").await.unwrap(), b"yes");
}

#[tokio::test]
async fn what_is_held_comes_when_the_weather_clears() {
    for weather in
        [Weather { holds_requests: true, ..Weather::default() }, Weather { holds_answers: true, ..Weather::default() }]
    {
        let (proxy, mut client) = proxied().await;
        proxy.set(weather);
        client.write_all(b"late").await.unwrap();
        assert!(is_silent(&mut client).await);
        proxy.clear();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"late");
    }
}

#[tokio::test]
async fn in_bad_weather_connections_are_reset_or_refused() {
    let (proxy, mut client) = proxied().await;
    proxy.set(Weather { resets: 1.0, ..Weather::default() });
    assert!(ask(&mut client, b"hello").await.is_err());
    proxy.set(Weather { refuses: true, ..Weather::default() });
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(ask(&mut refused, b"hello").await.is_err());
}

#[tokio::test]
async fn a_server_that_is_away_resets() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(0, gone).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(ask(&mut client, b"hello").await.is_err());
}

const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

#[tokio::test]
async fn a_trap_tells_who_stands_at_the_step_and_keeps_the_answer() {
    let (proxy, mut client) = proxied().await;
    let (tell, mut caught) = mpsc::unbounded_channel();
    proxy.lay(Trap { sight: Sight::Commit, moment: Moment::After, left: 1, tell: Some(tell) });
    assert_eq!(ask(&mut client, b"nothing to see").await.unwrap(), b"nothing to see");
    client.write_all(COMMIT).await.unwrap();
    let caught = caught.recv().await.unwrap();
    assert_eq!(caught.client, client.local_addr().unwrap());
    assert!(is_silent(&mut client).await);
    caught.go.send(()).unwrap();
    assert_eq!(client.read(&mut [0; 16]).await.unwrap(), 0, "cut, and without the answer");
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut next, COMMIT).await.unwrap(), COMMIT, "it closes once");
}

#[tokio::test]
async fn a_request_that_is_caught_before_does_not_reach_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(0, listener.local_addr().unwrap()).await;
    proxy.lay(Trap { sight: Sight::Commit, moment: Moment::Before, left: 1, tell: None });
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(COMMIT).await.unwrap();
    let mut received = Vec::new();
    server.read_to_end(&mut received).await.ok();
    assert!(received.is_empty());
}
