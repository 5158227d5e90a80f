use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use apache_avro::Schema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a registry has said, in files of a directory that processes may share. Whatever is wrong with a file, it is as if it
/// were not there: the registry is asked again.
pub(super) struct DiskCache {
    dir: PathBuf,
}

impl DiskCache {
    /// Ids mean something within one registry only, so each has a directory of its own.
    pub fn of_registry(dir: &Path, url: &str) -> Self {
        Self { dir: dir.join(digest(&[url])) }
    }

    pub fn schema(&self, id: u32) -> Option<Schema> {
        let text: String = self.read(&format!("id-{id}.json"))?;
        Schema::parse_str(&text).ok()
    }

    pub fn keep_schema(&self, id: u32, text: &str) -> io::Result<()> {
        self.write(&format!("id-{id}.json"), &text)
    }

    /// The id under which this very text was registered for the subject.
    pub fn pin(&self, subject: &str, text: &str) -> Option<u32> {
        self.read(&pin_file(subject, text))
    }

    pub fn keep_pin(&self, subject: &str, text: &str, id: u32) -> io::Result<()> {
        self.write(&pin_file(subject, text), &id)
    }

    fn read<T: DeserializeOwned>(&self, file: &str) -> Option<T> {
        let bytes = fs::read(self.dir.join(file)).ok()?;
        let [sum, value] = serde_json::from_slice::<[Value; 2]>(&bytes).ok()?;
        if sum != digest(&[file, &value.to_string()]) {
            return None;
        }
        serde_json::from_value(value).ok()
    }

    /// Through a file of another name: a reader sees the old bytes or the new ones, also after a crash.
    fn write<T: Serialize>(&self, file: &str, value: &T) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let value = serde_json::to_value(value)?;
        let half = self.dir.join(format!("{file}.{}", uuid::Uuid::new_v4()));
        let mut writing = fs::File::create(&half)?;
        writing.write_all(&serde_json::to_vec(&(digest(&[file, &value.to_string()]), value))?)?;
        writing.sync_all()?;
        fs::rename(&half, self.dir.join(file)).inspect_err(|_| drop(fs::remove_file(&half)))
    }
}

fn pin_file(subject: &str, text: &str) -> String {
    format!("pin-{}.json", digest(&[subject, text]))
}

fn digest(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_damaged_or_foreign_file_is_as_if_it_were_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let cache = DiskCache::of_registry(dir.path(), "http://one");
        assert!(cache.schema(7).is_none());
        cache.keep_schema(7, "\"string\"").unwrap();
        assert_eq!(cache.schema(7), Some(Schema::String));
        assert!(DiskCache::of_registry(dir.path(), "http://other").schema(7).is_none(), "ids of another registry");
        let file = cache.dir.join("id-7.json");
        let good = fs::read(&file).unwrap();
        fs::write(cache.dir.join("id-8.json"), &good).unwrap();
        assert!(cache.schema(8).is_none(), "a file under another name");
        for bad in [&good[..good.len() / 2], b"", b"\"long\"", &[0xff; 40]] {
            fs::write(&file, bad).unwrap();
            assert!(cache.schema(7).is_none(), "{bad:?}");
        }
        cache.keep_schema(7, "\"string\"").unwrap();
        assert_eq!(cache.schema(7), Some(Schema::String), "and is replaced");
    }
}
