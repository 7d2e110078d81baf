//! What a piece of work used up: time, and processor time of all threads of the process.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Used up between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// The moment a measurement begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: Instant,
    cpu: Duration,
}

impl Started {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), cpu: cpu() }
    }

    pub(crate) fn cost(&self) -> Cost {
        Cost { wall: self.at.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// What `work` used up.
pub(crate) fn measured(work: impl FnOnce()) -> Cost {
    let started = Started::now();
    work();
    started.cost()
}

/// The median of each measure for itself.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    Cost { wall: percentile(costs.iter().map(|cost| cost.wall), 50), cpu: percentile(costs.iter().map(|cost| cost.cpu), 50) }
}

/// The value below which `percent` of 100 lie; nothing of nothing.
pub(crate) fn percentile(values: impl IntoIterator<Item = Duration>, percent: usize) -> Duration {
    let mut values: Vec<Duration> = values.into_iter().collect();
    values.sort_unstable();
    let place = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(place).copied().unwrap_or_default()
}

/// Memory of the process that is in use now, in bytes, as Linux counts it.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.expect("a line VmRSS") * 1_024
}

/// `a` in units of `b`.
pub(crate) fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
