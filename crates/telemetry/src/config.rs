use std::path::PathBuf;

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::Error;

/// The fleet's configuration: defaults in each section's type < the file named by `DOCFLEET_CONFIG` < environment
/// variables such as `DOCFLEET__KAFKA__BROKERS`.
///
/// One file serves the whole fleet; each process reads only its sections. An unknown key in a section is an error.
#[derive(Clone)]
pub struct Settings(Figment);

impl Settings {
    /// # Errors
    /// When `DOCFLEET_CONFIG` names a file that is not there or is not TOML.
    pub fn load() -> Result<Self, Error> {
        let mut figment = Figment::new();
        if let Some(path) = std::env::var_os("DOCFLEET_CONFIG").map(PathBuf::from) {
            if !path.is_file() {
                return Err(Error::Config(format!("DOCFLEET_CONFIG names {}, which is not a file", path.display())));
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        Ok(Self(figment.merge(Env::prefixed("DOCFLEET__").split("__"))))
    }

    /// For tests: only this text.
    pub fn from_toml(text: &str) -> Self {
        Self(Figment::new().merge(Toml::string(text)))
    }

    /// A section's values; its defaults where the section is absent.
    pub fn section<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, Error> {
        if !self.0.contains(name) {
            return Ok(T::default());
        }
        self.0.extract_inner(name).map_err(|e| Error::Config(e.to_string()))
    }
}

/// `[service]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceConfig {
    /// Where this process serves `/live`, `/ready` and `/metrics`.
    pub listen: String,
    /// The region whose data this process may touch.
    pub region: String,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9400".to_owned(), region: "local".to_owned() }
    }
}

/// `[telemetry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Filter in `tracing`'s syntax, such as `info,docfleet_pipeline=debug`.
    pub log: String,
    /// Base of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`. Empty: spans are not exported.
    pub otlp_endpoint: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), otlp_endpoint: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_section_has_its_defaults_and_an_unknown_key_is_refused() {
        let settings = Settings::from_toml("[service]\nregion = 'eu'\n[telemetry]\nlogg = 'x'");
        let service = settings.section::<ServiceConfig>("service");
        assert!(service.is_ok_and(|s| s.region == "eu" && s.listen == "127.0.0.1:9400"));
        assert!(settings.section::<TelemetryConfig>("telemetry").is_err());
        assert!(settings.section::<ServiceConfig>("other").is_ok_and(|s| s.region == "local"));
    }
}
