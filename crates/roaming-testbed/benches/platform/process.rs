//! What a process uses: processor time by the names of its threads, and memory.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Length of a tick of `/proc/PID/stat` in microseconds: Linux says 100 a second to every program.
const TICK_US: u64 = 10_000;

/// User and system time in microseconds, by thread name; threads that have ended are under `ended`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cpu(BTreeMap<String, u64>);

impl Cpu {
    /// Reads what a process has used so far.
    ///
    /// # Errors
    /// Fails where there is no such process.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let folder = format!("/proc/{process}");
        let (_, total) = read(&folder).with_context(|| format!("no process {process}"))?;
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("{folder}/task"))? {
            // A thread may end meanwhile.
            if let Some((name, time)) = read(&thread?.path().to_string_lossy()) {
                *threads.entry(name).or_default() += time;
            }
        }
        let alive: u64 = threads.values().sum();
        threads.insert("ended".to_owned(), total.saturating_sub(alive));
        Ok(Self(threads))
    }

    /// Returns what was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let used = |(name, time): (&String, &u64)| {
            let before = earlier.0.get(name).copied().unwrap_or_default();
            (name.clone(), time.saturating_sub(before))
        };
        Self(self.0.iter().map(used).collect())
    }

    /// Returns the whole in microseconds.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns the threads that used most, with their microseconds for each of `events`.
    pub(crate) fn shares(&self, events: u64) -> String {
        let mut threads: Vec<_> = self.0.iter().filter(|(_, time)| **time > TICK_US).collect();
        threads.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        let share =
            |(name, time): &(&String, &u64)| format!("{name} {:.2}", **time as f64 / events as f64);
        threads.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the most memory of a process that was ever resident, in KiB.
///
/// # Errors
/// Fails where there is no such process.
pub(crate) fn peak_memory_kib(process: u32) -> Result<u64> {
    memory(process, "VmHWM:")
}

/// Returns how much memory of a process is resident now, in KiB.
///
/// # Errors
/// Fails where there is no such process.
pub(crate) fn memory_kib(process: u32) -> Result<u64> {
    memory(process, "VmRSS:")
}

fn memory(process: u32, which: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))
        .with_context(|| format!("no process {process}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let value = value.with_context(|| format!("the status of process {process} has no {which}"))?;
    value.parse().with_context(|| format!("{which} {value} is no number"))
}

/// Returns the name and the time of a folder's `stat`.
fn read(folder: &str) -> Option<(String, u64)> {
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let name = head.split_once(" (")?.1;
    // utime and stime are the fields 14 and 15; `rest` begins with field 3.
    let mut times = rest.split(' ').skip(11).map_while(|field| field.parse::<u64>().ok());
    let ticks = times.next()? + times.next()?;
    Some((name.to_owned(), ticks * TICK_US))
}
