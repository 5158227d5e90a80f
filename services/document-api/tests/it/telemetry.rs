//! Logs, traces and metrics of the whole test binary. Tests find their own in them by names of their own.

use std::{
    io::{self, Write},
    sync::{LazyLock, Mutex, PoisonError},
};

use docfleet_telemetry::Metrics;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct ToLog;

impl Write for ToLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::install().expect("the only recorder of this process"));

/// As the service installs them, but more talkative: what must not be logged must not be logged at `debug` either.
pub fn install() {
    static INSTALLED: LazyLock<()> = LazyLock::new(|| {
        let json =
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true).with_writer(|| ToLog);
        tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(SdkTracerProvider::builder().build().tracer("it")))
            .with(json.with_filter(EnvFilter::new("debug")))
            .init();
        LazyLock::force(&METRICS);
    });
    LazyLock::force(&INSTALLED);
}

/// Lines that hold this text.
pub fn log_lines(with: &str) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&log).lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
}

pub fn metrics() -> String {
    METRICS.render()
}
