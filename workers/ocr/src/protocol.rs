//! Frames between the worker and its child: length of the head, length of the body (4 bytes each, big-endian), the head
//! in JSON, the body as it is.
//!
//! The child is not trusted: what it parses may have taken it over. So lengths are checked before anything is
//! allocated, and what it says is taken for a claim.

use std::io::{self, Read};

use docfleet_events::TextSource;
use docfleet_jail::Report;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{Kind, Unreadable};

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// From the worker to the child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The body is the document; the one before it is forgotten.
    Open {
        kind: Kind,
        /// Tesseract's codes; the configuration's when absent.
        #[serde(default)]
        languages: Option<String>,
    },
    /// From 1, of the document that is open.
    Page { number: u32 },
    /// A searchable PDF of the document that is open. The body is a list of [`PageLayout`](crate::layout::PageLayout) in
    /// JSON: the words that are to be in it.
    Searchable,
}

/// From the child to the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// Once, before the first question.
    Ready {
        tesseract: String,
        poppler: String,
        /// Which locks it is behind.
        jail: Report,
    },
    /// Instead of `Ready`: the installation is not usable.
    Broken {
        why: String,
    },
    Opened {
        pages: u32,
    },
    /// The body is the text, `text_bytes` long, and behind it the [`PageLayout`](crate::layout::PageLayout) in JSON, or
    /// nothing. Confidence is the mean of the words', 0 to 100.
    Page {
        source: TextSource,
        confidence: Option<f64>,
        words: u32,
        text_bytes: u32,
    },
    /// The body is the PDF.
    Searchable,
    /// The document, or the page, that was asked for.
    Unreadable {
        reason: Unreadable,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {head} + {body} bytes is larger than agreed")]
    TooLarge { head: usize, body: usize },
    #[error("a frame's head is not understood")]
    Head(#[source] serde_json::Error),
    #[error("the stream ended or broke")]
    Stream(#[from] io::Error),
}

/// All of a frame but its body.
///
/// # Errors
/// [`FrameError::TooLarge`] when the head is beyond its cap or the body beyond 4 GiB.
pub fn frame_start<M: Serialize>(message: &M, body_len: usize) -> Result<Vec<u8>, FrameError> {
    let head = serde_json::to_vec(message).map_err(FrameError::Head)?;
    let too_large = || FrameError::TooLarge { head: head.len(), body: body_len };
    let body_bytes = u32::try_from(body_len).map_err(|_| too_large())?;
    let head_bytes = u32::try_from(head.len()).ok().filter(|_| head.len() <= HEAD_BYTES_MAX).ok_or_else(too_large)?;
    let mut start = Vec::with_capacity(8 + head.len());
    start.extend_from_slice(&head_bytes.to_be_bytes());
    start.extend_from_slice(&body_bytes.to_be_bytes());
    start.extend_from_slice(&head);
    Ok(start)
}

/// The next frame; none when the stream ends between frames. For the child.
pub fn read_frame<M: DeserializeOwned>(
    stream: &mut impl Read,
    body_max: usize,
) -> Result<Option<(M, Vec<u8>)>, FrameError> {
    let mut lengths = [0; 8];
    // `read_exact` alone could not tell an end between frames from one inside.
    if stream.read(&mut lengths[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut lengths[1..])?;
    let (head_len, body_len) = checked(lengths, body_max)?;
    let (mut head, mut body) = (Vec::new(), Vec::new());
    stream.by_ref().take(head_len as u64).read_to_end(&mut head)?;
    stream.by_ref().take(body_len as u64).read_to_end(&mut body)?;
    Ok(Some((understood(&head, head_len, body.len(), body_len)?, body)))
}

/// The next frame. For the worker. Not cancel-safe: a child whose answer was abandoned is to be ended.
pub async fn receive_frame<M: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin + Send),
    body_max: usize,
) -> Result<(M, Vec<u8>), FrameError> {
    let mut lengths = [0; 8];
    stream.read_exact(&mut lengths).await?;
    let (head_len, body_len) = checked(lengths, body_max)?;
    let (mut head, mut body) = (Vec::new(), Vec::new());
    (&mut *stream).take(head_len as u64).read_to_end(&mut head).await?;
    (&mut *stream).take(body_len as u64).read_to_end(&mut body).await?;
    Ok((understood(&head, head_len, body.len(), body_len)?, body))
}

fn checked(lengths: [u8; 8], body_max: usize) -> Result<(usize, usize), FrameError> {
    let [a, b, c, d, e, f, g, h] = lengths;
    let (head, body) = (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]) as usize);
    if head > HEAD_BYTES_MAX || body > body_max { Err(FrameError::TooLarge { head, body }) } else { Ok((head, body)) }
}

fn understood<M: DeserializeOwned>(
    head: &[u8],
    head_len: usize,
    body: usize,
    body_len: usize,
) -> Result<M, FrameError> {
    if head.len() < head_len || body < body_len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    serde_json::from_slice(head).map_err(FrameError::Head)
}

#[cfg(test)]
mod tests;
