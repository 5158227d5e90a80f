use std::fmt;

use serde::Serialize;

/// What the kernel says of a process's memory, in MiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    pub resident: f64,
    /// Heap and stacks.
    pub anonymous: f64,
    /// The program and its libraries, as far as they were touched; shared with other processes of the same program.
    pub files: f64,
}

impl Memory {
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.map(|kib| kib / 1_024.0).ok_or_else(|| anyhow::anyhow!("no {name}"))
        };
        Ok(Self { resident: mib("VmRSS:")?, anonymous: mib("RssAnon:")?, files: mib("RssFile:")? })
    }

    /// The one with more resident.
    pub fn max(self, other: Self) -> Self {
        if other.resident > self.resident { other } else { self }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB: {:.1} anonymous, {:.1} of files", self.resident, self.anonymous, self.files)
    }
}
