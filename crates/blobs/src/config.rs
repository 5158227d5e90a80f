use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

/// `[blobs]`, and each region of a residency file. Secrets are named by the files that hold them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlobsConfig {
    /// `file:///absolute/directory` or `s3://bucket/prefix`.
    pub url: String,
    /// A YAML file that says for each region what this section says for one; the process takes its own region's, and all
    /// other keys of this section stay unset.
    pub residency_file: Option<PathBuf>,
    /// S3: base of another service than Amazon's, such as `https://minio.example:9000`. Plain `http` only on this machine.
    pub endpoint: Option<String>,
    /// S3: the name that requests are signed for.
    pub s3_region: String,
    /// S3: PEM; a certificate authority, or the service's own certificate, beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// S3: both or none; none: the usual `AWS_…` variables for credentials, and nothing else of them.
    pub access_key_id_file: Option<PathBuf>,
    pub secret_access_key_file: Option<PathBuf>,
    /// S3: base64 of the 32 bytes with which the service encrypts all that we store (SSE-C). Lost key, lost documents.
    pub sse_c_key_file: Option<PathBuf>,
    /// S3: a connection, and each silence of the service.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// S3: after the first try of a request.
    pub retries: usize,
    /// S3: where an upload waits on this machine until its hash is known; the system's directory for such files when
    /// absent. A local store has a directory of its own for it.
    pub spool_directory: Option<PathBuf>,
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self {
            url: "file:///var/lib/docfleet/blobs".to_owned(),
            residency_file: None,
            endpoint: None,
            s3_region: "us-east-1".to_owned(),
            ca_file: None,
            access_key_id_file: None,
            secret_access_key_file: None,
            sse_c_key_file: None,
            request_timeout: Duration::from_secs(10),
            retries: 2,
            spool_directory: None,
        }
    }
}

impl BlobsConfig {
    /// The store at `url`, and defaults.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}
