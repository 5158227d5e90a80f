use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use docfleet_jail::Report;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{CHILD_ARGUMENT, Error};
use crate::{
    OcrConfig, child,
    layout::LAYOUT_BYTES_MAX,
    protocol::{Reply, Request, frame_start, receive_frame},
};

/// Loading the binary and the languages' data, on a machine that is busy.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// A killed child is gone in milliseconds.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// A running child. Dropping it ends its whole process group.
pub(super) struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    body_bytes_max: usize,
    searchable_bytes_max: usize,
    pub documents: u32,
    pub tesseract: String,
    pub poppler: String,
    pub jail: Report,
}

impl Process {
    pub async fn start(program: &Path, config: &OcrConfig) -> Result<Self, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::Start(e.to_string());
        let mut child = Command::new(program)
            .arg0("ocr")
            .arg(CHILD_ARGUMENT)
            .arg(serde_json::to_string(config).map_err(|e| failed(&e))?)
            .env_clear()
            .env("PATH", child::PROGRAM_DIRECTORIES.join(":"))
            .env("LANG", "C.UTF-8")
            // OpenMP in Tesseract wastes the cores that the other children need.
            .env("OMP_THREAD_LIMIT", "1")
            // Nothing is writable in the jail, so that there is no place of its own either.
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Libraries complain there about documents, in the documents' own words.
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(&e))?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(questions), Some(answers)) = (questions, answers) else {
            return Err(failed(&"no pipes"));
        };
        let mut process = Self {
            child,
            questions,
            answers: BufReader::new(answers),
            body_bytes_max: config.text_bytes_max + LAYOUT_BYTES_MAX,
            searchable_bytes_max: config.searchable_bytes_max,
            documents: 0,
            tesseract: String::new(),
            poppler: String::new(),
            jail: Report::default(),
        };
        match timeout(START_TIME_MAX, receive_frame(&mut process.answers, 0)).await {
            Ok(Ok((Reply::Ready { tesseract, poppler, jail }, _))) => {
                (process.tesseract, process.poppler, process.jail) = (tesseract, poppler, jail);
                Ok(process)
            }
            Ok(Ok((Reply::Broken { why }, _))) => Err(Error::Start(why)),
            Ok(Ok(_)) => Err(failed(&"it did not say that it is ready")),
            Ok(Err(error)) => Err(Error::Start(format!("{error}; {}", process.end().await.0))),
            Err(_) => Err(failed(&"it was not ready in time")),
        }
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks and waits for the answer; none when it does not come in time. Then, after an error, or when dropped in the
    /// middle, the child is of no more use.
    pub async fn ask(
        &mut self,
        request: &Request,
        body: &[u8],
        within: Duration,
    ) -> Result<Option<(Reply, Vec<u8>)>, Error> {
        match timeout(within, self.exchange(request, body)).await {
            Ok(Err(Error::Crashed(_))) => {
                let (how, is_denied) = self.end().await;
                Err(if is_denied { Error::Denied(how) } else { Error::Crashed(how) })
            }
            Ok(answer) => answer.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn exchange(&mut self, request: &Request, body: &[u8]) -> Result<(Reply, Vec<u8>), Error> {
        let start = frame_start(request, body.len())?;
        let broken = |e: std::io::Error| Error::Crashed(e.kind().to_string());
        self.questions.write_all(&start).await.map_err(broken)?;
        self.questions.write_all(body).await.map_err(broken)?;
        self.questions.flush().await.map_err(broken)?;
        let body_max = match request {
            Request::Searchable => self.searchable_bytes_max,
            Request::Open { .. } | Request::Page { .. } => self.body_bytes_max,
        };
        Ok(receive_frame(&mut self.answers, body_max).await?)
    }

    /// How it ended, such as `signal: 9 (SIGKILL)`, and whether the jail ended it: its own end when it came first, else
    /// ours.
    async fn end(&mut self) -> (String, bool) {
        let own = timeout(Duration::from_millis(200), self.child.wait()).await;
        if let Ok(Ok(status)) = own {
            return (status.to_string(), is_denied(status));
        }
        self.kill_group();
        match timeout(END_TIME_MAX, self.child.wait()).await {
            Ok(Ok(status)) => (format!("by us: {status}"), is_denied(status)),
            Ok(Err(error)) => (error.kind().to_string(), false),
            Err(_) => ("does not end".to_owned(), false),
        }
    }

    fn kill_group(&self) {
        // No id: it was waited for, and its number may be another's by now.
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        // It fails when the group is gone already.
        killpg(Pid::from_raw(id), Signal::SIGKILL).ok();
    }
}

/// Itself, or a tool of which it says so.
fn is_denied(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::SIGSYS as i32) || status.code() == Some(child::DENIED_STATUS.into())
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}
