use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::Error;

/// From a fast SQL statement to a slow OCR job.
const SECONDS_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

/// The process's metrics, in Prometheus' text format.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Becomes the global recorder; once per process.
    pub fn install() -> Result<Self, Error> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|e| Error::Install(e.to_string()))?;
        Ok(Self(handle))
    }

    /// Folds the histograms' samples into their buckets.
    pub(crate) fn upkeep(&self) {
        self.0.run_upkeep();
    }

    pub fn render(&self) -> String {
        self.0.render()
    }
}
