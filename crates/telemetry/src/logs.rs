use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{Error, TelemetryConfig};

/// Flushes spans when dropped. Keep it until the end of `main`.
#[must_use = "spans are lost when it is dropped early"]
pub struct Guard(SdkTracerProvider);

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is left to tell; the collector being away must not keep a process from ending.
        drop(self.0.shutdown_with_timeout(std::time::Duration::from_secs(2)));
    }
}

/// JSON logs on standard output, one object a line, each with the `trace_id` of its span; spans to a collector when one
/// is configured. Trace ids exist either way, as they travel on in `traceparent`.
pub fn install(service: &'static str, config: &TelemetryConfig) -> Result<Guard, Error> {
    let mut provider =
        SdkTracerProvider::builder().with_resource(Resource::builder().with_service_name(service).build());
    if !config.otlp_endpoint.is_empty() {
        let endpoint = format!("{}/v1/traces", config.otlp_endpoint.trim_end_matches('/'));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .build()
            .map_err(|e| Error::Install(format!("OTLP: {e}")))?;
        provider = provider.with_batch_exporter(exporter);
    }
    let provider = provider.build();
    let filter = EnvFilter::try_new(&config.log).map_err(|e| Error::Config(format!("telemetry.log: {e}")))?;
    let json =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    tracing_subscriber::registry()
        .with(tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(filter.clone()))
        .with(json.with_filter(filter))
        .try_init()
        .map_err(|e| Error::Install(e.to_string()))?;
    Ok(Guard(provider))
}
