//! The service's metrics: every name stands here and nowhere else. Units end the names.

/// Labels: route (the template, never the path), method, status.
pub const REQUESTS_TOTAL: &str = "docfleet_http_requests_total";
/// From the request's headers to the answer's. Labels: route, method, status.
pub const REQUEST_SECONDS: &str = "docfleet_http_request_duration_seconds";
pub const IN_FLIGHT_REQUESTS: &str = "docfleet_http_in_flight_requests";
pub const OPEN_CONNECTIONS: &str = "docfleet_http_open_connections";
/// Bytes of accepted documents.
pub const UPLOADED_BYTES_TOTAL: &str = "docfleet_http_uploaded_bytes_total";
/// Contents of accepted documents. Label: kept (new, or known: the tenant had the same bytes, and nothing was stored).
pub const CONTENTS_TOTAL: &str = "docfleet_http_contents_total";
/// Bytes that were not stored because the tenant had them.
pub const KNOWN_CONTENT_BYTES_TOTAL: &str = "docfleet_http_known_content_bytes_total";
