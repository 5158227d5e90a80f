//! `data-residency.yaml`: the store of each region, and the region of tenants that have one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Deserialize;

use crate::{BlobsConfig, Error};

/// One file for the whole fleet: every process reads it and opens the store of its own region only.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Residency {
    pub regions: BTreeMap<String, BlobsConfig>,
    /// Tenants whose documents lie in one region; the others' lie where they were uploaded.
    #[serde(default)]
    pub tenants: BTreeMap<String, String>,
}

impl Residency {
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |what: String| Error::Config(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let mut residency: Self = serde_yaml_ng::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        residency.validate().map_err(wrong)?;
        // A file beside this one is named from here, wherever the process was started.
        let folder = path.parent().unwrap_or(Path::new(""));
        for store in residency.regions.values_mut() {
            for file in [
                &mut store.ca_file,
                &mut store.access_key_id_file,
                &mut store.secret_access_key_file,
                &mut store.sse_c_key_file,
            ] {
                *file = file.take().map(|file| folder.join(file));
            }
        }
        Ok(residency)
    }

    fn validate(&self) -> Result<(), String> {
        let mut places = BTreeSet::new();
        for (region, store) in &self.regions {
            if store.residency_file.is_some() {
                return Err(format!("region {region}: residency_file can not stand here"));
            }
            let place = (store.endpoint.as_deref().unwrap_or(&store.s3_region), store.url.trim_end_matches('/'));
            if !places.insert(place) {
                return Err(format!("region {region}: another region has the same store"));
            }
        }
        match self.tenants.iter().find(|(_, region)| !self.regions.contains_key(*region)) {
            Some((tenant, region)) => Err(format!("tenant {tenant}: no region is called {region}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(yaml: &str) -> Result<Residency, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data-residency.yaml");
        std::fs::write(&path, yaml).unwrap();
        Residency::read(&path)
    }

    #[test]
    fn a_file_that_says_two_things_is_refused() {
        for (yaml, why) in [
            ("regions: {eu: {url: 's3://a'}, us: {url: 's3://a/'}}", "the same store"),
            ("regions: {eu: {url: 's3://a'}}\ntenants: {acme: us}", "no region is called us"),
            ("regions: {eu: {url: 's3://a', residency_file: x}}", "can not stand here"),
            ("regions: {eu: {url: 's3://a', secret_key: x}}", "secret_key"),
            ("stores: {}", "stores"),
            ("", "regions"),
        ] {
            let refused = read(yaml).unwrap_err().to_string();
            assert!(refused.contains(why), "{yaml}: {refused}");
        }
    }

    #[test]
    fn the_example_of_this_repository_can_be_read() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/data-residency.yaml");
        let residency = Residency::read(&example).unwrap();
        assert!(residency.regions.values().all(|store| store.sse_c_key_file.is_some()));
    }

    #[test]
    fn the_same_bucket_name_at_two_services_is_two_stores_and_files_stand_beside_the_file() {
        let residency = read(
            "regions:\n  eu: {url: 's3://a', endpoint: 'https://eu.example', sse_c_key_file: keys/eu}\n  us: {url: 's3://a'}\n\
             tenants: {acme: eu}",
        )
        .unwrap();
        assert!(residency.regions["eu"].sse_c_key_file.as_ref().unwrap().is_absolute());
        assert_eq!(residency.tenants["acme"], "eu");
    }
}
