//! A client for the three commands that we need of clamd. One connection each: clamd's sessions save nothing here.

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter},
    net::{TcpStream, UnixStream},
    time::Instant,
};

use crate::{
    Address, ClamdConfig, Stale, Version,
    reply::{self, Answer, REPLY_BYTES_MAX, Surprise},
};

const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// Of one length-prefixed piece; clamd takes up to 4 GiB, but a stall is noticed per piece.
const PIECE_BYTES_MAX: usize = 1024 * 1024;
/// How long a refusal may be behind the broken connection that it caused.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or no answer to the simplest of commands.
    #[error("clamd is away: {0}")]
    Away(String),
    /// It answers as an engine, and does not find the test file.
    #[error("clamd does not see: {0}")]
    Blind(String),
    /// It sees, with signatures too old for its "OK" to count.
    #[error("clamd is stale: {0}")]
    Stale(#[from] Stale),
    /// All slots at all hosts stayed taken until the deadline.
    #[error("every clamd is busy")]
    Busy,
    /// In the middle of this document.
    #[error("clamd broke off: {0}")]
    BrokeOff(String),
    #[error("clamd was silent for {0:?}")]
    Silent(Duration),
    /// "OK" for a document that it had not seen the end of.
    #[error("clamd called clean what it had not read to the end")]
    Premature,
    #[error("{0}")]
    Surprise(#[from] Surprise),
    #[error("the document's bytes: {0}")]
    Content(#[source] docfleet_blobs::Error),
    #[error("the document's bytes stalled for {0:?}")]
    ContentStalled(Duration),
    #[error("{stated} bytes were uploaded, {found} are there")]
    SizeDiffers { stated: i64, found: u64 },
    #[error("the blob's bytes ended early")]
    EndedEarly,
}

impl Error {
    /// The engine failed, not the store: another engine may do better.
    pub fn is_engines(&self) -> bool {
        !matches!(
            self,
            Self::Content(_) | Self::ContentStalled(_) | Self::SizeDiffers { .. } | Self::EndedEarly | Self::Busy
        )
    }

    /// It had the document in hand, so the document may be the cause.
    pub fn is_in_the_middle(&self) -> bool {
        matches!(self, Self::BrokeOff(_) | Self::Silent(_) | Self::Premature | Self::Surprise(_))
    }
}

pub struct Clamd {
    address: Address,
    connect_timeout: Duration,
    stall_timeout: Duration,
    answer_timeout: Duration,
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Clamd {
    /// Connects to nothing yet.
    pub fn new(address: Address, config: &ClamdConfig) -> Self {
        Self {
            address,
            connect_timeout: config.connect_timeout,
            stall_timeout: config.stall_timeout,
            answer_timeout: config.answer_timeout,
        }
    }

    /// # Errors
    /// Only [`Error::Away`]: whatever does not answer this sensibly is not an engine at work.
    pub async fn version(&self) -> Result<Version, Error> {
        let (mut reader, mut writer) = self.connect().await?;
        let asking = async {
            writer.write_all(b"zVERSION\0").await?;
            receive(&mut reader).await
        };
        let raw = match tokio::time::timeout(self.stall_timeout, asking).await {
            Ok(answered) => answered.map_err(|e| Error::Away(e.to_string()))?,
            Err(_) => return Err(Error::Away(format!("no answer to VERSION in {:?}", self.stall_timeout))),
        };
        Version::parse(&raw).ok_or_else(|| Error::Away("not clamd's answer to VERSION".to_owned()))
    }

    /// Sends `content` and reads the verdict. At most a buffer of the content is held.
    ///
    /// # Errors
    /// Any: the document has no verdict then. It is never sent to its "end" after a failed read, so clamd can not call
    /// a half of it clean.
    pub async fn scan<S>(&self, content: S, deadline: Instant) -> Result<Answer, Error>
    where
        S: Stream<Item = Result<Bytes, docfleet_blobs::Error>> + Send + Unpin,
    {
        let (mut reader, writer) = self.connect().await?;
        let mut receiving = pin!(receive(&mut reader));
        // Listening while we speak: clamd refuses a document in the middle of it, closes, and our next write fails
        // before its reason was read.
        let mut sending = pin!(self.send(writer, content));
        let (sent, patience) = tokio::select! {
            biased;
            early = &mut receiving => return before_the_end(early),
            sent = &mut sending => match sent {
                Ok(writer) => (Ok(writer), self.answer_timeout),
                Err(error @ (Error::BrokeOff(_) | Error::Silent(_))) => (Err(error), LAST_WORDS_TIMEOUT),
                Err(error) => return Err(error),
            },
        };
        let until = deadline.min(Instant::now() + patience);
        let answered = tokio::time::timeout_at(until, receiving).await;
        match (sent, answered) {
            // The writer lives until here: closing our side early could be taken for a client that left.
            (Ok(_writer), Ok(raw)) => Ok(reply::parse(&raw.map_err(|e| Error::BrokeOff(e.to_string()))?)?),
            (Ok(_writer), Err(_)) => Err(Error::Silent(patience)),
            (Err(_), Ok(Ok(raw))) if !raw.is_empty() => before_the_end(Ok(raw)),
            (Err(broken), _) => Err(broken),
        }
    }

    async fn send<S>(&self, writer: Writer, mut content: S) -> Result<BufWriter<Writer>, Error>
    where
        S: Stream<Item = Result<Bytes, docfleet_blobs::Error>> + Send + Unpin,
    {
        let mut writer = BufWriter::with_capacity(WRITE_BUFFER_BYTES, writer);
        self.unstalled(writer.write_all(b"zINSTREAM\0")).await?;
        loop {
            let next = tokio::time::timeout(self.stall_timeout, content.next());
            let Some(chunk) = next.await.map_err(|_| Error::ContentStalled(self.stall_timeout))? else { break };
            // `chunks` gives nothing for an empty chunk: a piece of length 0 would be the end.
            for piece in chunk.map_err(Error::Content)?.chunks(PIECE_BYTES_MAX) {
                let length = u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes();
                self.unstalled(writer.write_all(&length)).await?;
                self.unstalled(writer.write_all(piece)).await?;
            }
        }
        self.unstalled(writer.write_all(&0_u32.to_be_bytes())).await?;
        self.unstalled(writer.flush()).await?;
        Ok(writer)
    }

    async fn unstalled(&self, writing: impl Future<Output = io::Result<()>>) -> Result<(), Error> {
        match tokio::time::timeout(self.stall_timeout, writing).await {
            Ok(written) => written.map_err(|e| Error::BrokeOff(e.to_string())),
            Err(_) => Err(Error::Silent(self.stall_timeout)),
        }
    }

    async fn connect(&self) -> Result<(Reader, Writer), Error> {
        let connecting = async {
            Ok::<(Reader, Writer), io::Error>(match &self.address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    let (reader, writer) = stream.into_split();
                    (Box::new(reader), Box::new(writer))
                }
                Address::Unix(path) => {
                    let (reader, writer) = UnixStream::connect(path).await?.into_split();
                    (Box::new(reader), Box::new(writer))
                }
            })
        };
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|e| Error::Away(e.to_string())),
            Err(_) => Err(Error::Away(format!("no connection in {:?}", self.connect_timeout))),
        }
    }
}

/// All that comes until clamd closes the connection.
///
/// A reset after a complete refusal is forgiven, since clamd closes over what it did not read of us. After a clean
/// answer it is not.
async fn receive(reader: &mut Reader) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    loop {
        match reader.read_buf(&mut raw).await {
            Ok(0) => return Ok(raw),
            Ok(_) if raw.len() > REPLY_BYTES_MAX => return Ok(raw),
            Ok(_) => {}
            Err(_) if reply::parse(&raw).is_ok_and(|answer| answer != Answer::Clean) => return Ok(raw),
            Err(error) => return Err(error),
        }
    }
}

/// What an answer is worth that came before the document's end.
fn before_the_end(answered: io::Result<Vec<u8>>) -> Result<Answer, Error> {
    let raw = answered.map_err(|e| Error::BrokeOff(e.to_string()))?;
    match reply::parse(&raw) {
        Ok(Answer::Clean) => Err(Error::Premature),
        Ok(answer) => Ok(answer),
        Err(Surprise::Empty) => Err(Error::BrokeOff("closed in the middle of the document".to_owned())),
        Err(surprise) => Err(surprise.into()),
    }
}
