use std::time::Duration;

use tokio::process::Child;

/// Ticks of the clock in which the kernel counts; 100 on every Linux that we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process of ours, killed when dropped.
pub struct Measured(Child);

impl Measured {
    pub fn new(child: Child) -> Self {
        Self(child)
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.0.id().ok_or_else(|| anyhow::anyhow!("the process has ended"))
    }

    /// Resident memory now, in MiB.
    pub fn memory_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok());
        Ok(kib.ok_or_else(|| anyhow::anyhow!("no VmRSS"))? / 1_024.0)
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        // The program's name, in brackets, may hold anything.
        let (_, rest) = stat.rsplit_once(')').ok_or_else(|| anyhow::anyhow!("no stat"))?;
        let ticks: Vec<f64> = rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Part of a core, in percent, over a time.
    pub async fn cpu_percent(&self, time: Duration) -> anyhow::Result<f64> {
        let before = self.cpu_seconds()?;
        tokio::time::sleep(time).await;
        Ok((self.cpu_seconds()? - before) / time.as_secs_f64() * 100.0)
    }

    pub async fn end(mut self) -> anyhow::Result<()> {
        self.0.kill().await?;
        Ok(())
    }
}
