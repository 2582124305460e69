//! The events of a run as they stand on the topic, read by kcat.
//!
//! Nothing of the product reads here: kcat fetches, and lane and sequence are taken from the key's text by
//! the documented form of an event id.

use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use roaming_events::LaneDigest;

/// Octets of a key: an event id as text.
const KEY_LEN: usize = 36;
/// The sequence of what is not numbered: markers.
const UNNUMBERED: u64 = 0xffff_ffff_ffff;

/// A run's events, one file of payloads for each lane, each event once.
pub struct TopicEvents {
    folder: PathBuf,
    lanes: BTreeMap<u16, Lane>,
    /// Records that repeat one that was there before: events octet for octet, and further end markers.
    pub duplicates: u64,
}

struct Lane {
    /// Digest of each event, in order of the sequence: what a repetition is compared with.
    seen: Vec<LaneDigest>,
    payloads: BufWriter<File>,
    has_ended: bool,
}

/// Reads every event of the run whose ids begin with `run` (8 hexadecimal digits) from the start of
/// `roaming.events` to where it ends now.
///
/// # Errors
/// Fails where kcat fails, a lane jumps over a sequence, or a repetition differs from what it repeats.
pub fn read(kcat: &[String], run: &str, folder: &Path) -> Result<TopicEvents> {
    let mut events =
        TopicEvents { folder: folder.to_owned(), lanes: BTreeMap::new(), duplicates: 0 };
    each_record(kcat, |line| events.take(run, line))?;
    for lane in events.lanes.values_mut() {
        lane.payloads.flush()?;
    }
    Ok(events)
}

/// Counts the events of a run that are on the topic, each once, whatever is missing between them.
///
/// # Errors
/// Fails where kcat does, or a key is none of an event.
pub fn count(kcat: &[String], run: &str) -> Result<u64> {
    let mut keys = BTreeSet::new();
    each_record(kcat, |line| {
        let (key, payload) = parts(line)?;
        if key.starts_with(run) && !is_end(payload) && numbers(key)?.1 != UNNUMBERED {
            keys.insert(key.to_owned());
        }
        Ok(())
    })?;
    Ok(keys.len() as u64)
}

/// Gives each record of `roaming.events` to `take`, as key, blank and payload.
fn each_record(kcat: &[String], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut child = Command::new("kcat")
        .args(kcat)
        .args(["-C", "-q", "-t", "roaming.events", "-o", "beginning", "-e", "-f", "%k %s\n"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("kcat cannot be started; install it (Debian package kcat)")?;
    let output = child.stdout.take().context("kcat has no output")?;
    let mut lines = BufReader::with_capacity(1 << 20, output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        line.pop();
        take(&line)?;
        line.clear();
    }
    let status = child.wait()?;
    ensure!(status.success(), "kcat ended with {status}");
    Ok(())
}

/// Splits a record into its key and its payload.
fn parts(line: &[u8]) -> Result<(&str, &[u8])> {
    ensure!(line.len() > KEY_LEN, "a line of kcat is too short: {line:?}");
    let key = std::str::from_utf8(&line[..KEY_LEN]).context("a key is no text")?;
    Ok((key, &line[KEY_LEN + 1..]))
}

/// Reads lane and sequence from a key.
fn numbers(key: &str) -> Result<(u16, u64)> {
    let lane = u16::from_str_radix(&key[15..18], 16).context("a key has no lane")?;
    let sequence = u64::from_str_radix(&key[24..], 16).context("a key has no sequence")?;
    Ok((lane, sequence))
}

fn is_end(payload: &[u8]) -> bool {
    payload.starts_with(br#"{"type":"end""#)
}

impl TopicEvents {
    fn take(&mut self, run: &str, line: &[u8]) -> Result<()> {
        let (key, payload) = parts(line)?;
        if !key.starts_with(run) {
            return Ok(());
        }
        let (lane_number, sequence) = numbers(key)?;
        if sequence == UNNUMBERED {
            return Ok(());
        }
        let of_lane = match self.lanes.entry(lane_number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                free.insert(Lane::create(&lane_path(&self.folder, lane_number))?)
            }
        };
        let mut digest = LaneDigest::default();
        digest.add(key.as_bytes(), payload);
        match (sequence as usize).cmp(&of_lane.seen.len()) {
            Ordering::Equal if is_end(payload) => {
                self.duplicates += u64::from(of_lane.has_ended);
                of_lane.has_ended = true;
            }
            Ordering::Equal => {
                ensure!(!of_lane.has_ended, "lane {lane_number} goes on after its end: {key}");
                of_lane.seen.push(digest);
                of_lane.payloads.write_all(payload)?;
                of_lane.payloads.write_all(b"\n")?;
            }
            Ordering::Less => {
                ensure!(
                    of_lane.seen[sequence as usize] == digest,
                    "{key} is repeated with other octets"
                );
                self.duplicates += 1;
            }
            Ordering::Greater => {
                bail!("lane {lane_number} jumps from {} to {sequence}", of_lane.seen.len());
            }
        }
        Ok(())
    }

    /// Returns how many events there are, each counted once.
    pub fn events(&self) -> u64 {
        self.lanes.values().map(|lane| lane.seen.len() as u64).sum()
    }

    /// Returns the lanes whose end marker is there.
    pub fn lanes_ended(&self) -> usize {
        self.lanes.values().filter(|lane| lane.has_ended).count()
    }

    /// Returns the digest of each lane: the sum of the digests of its events, keys and payloads.
    pub fn digests(&self) -> BTreeMap<u16, LaneDigest> {
        let sum = |lane: &Lane| {
            lane.seen.iter().fold(LaneDigest::default(), |mut sum, digest| {
                sum.merge(*digest);
                sum
            })
        };
        self.lanes.iter().map(|(number, lane)| (*number, sum(lane))).collect()
    }

    /// Compares with what `roaming-producer generate` prints, all lanes one after the other, octet for octet.
    ///
    /// # Errors
    /// Fails on the first octet that differs, and names the lane.
    pub fn compare(&self, generated: &mut impl Read) -> Result<()> {
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for &number in self.lanes.keys() {
            let file = File::open(lane_path(&self.folder, number))?;
            let len = file.metadata()?.len() as usize;
            expected.resize(len, 0);
            found.clear();
            generated.read_exact(&mut expected).with_context(|| {
                format!("the topic holds more of lane {number} than is generated")
            })?;
            BufReader::new(file).read_to_end(&mut found)?;
            if let Some(at) = (0..len).find(|&at| expected[at] != found[at]) {
                bail!("lane {number} differs from what is generated at octet {at}");
            }
        }
        let mut rest = Vec::new();
        generated.read_to_end(&mut rest)?;
        ensure!(rest.is_empty(), "{} octets more are generated than the topic holds", rest.len());
        Ok(())
    }
}

impl Lane {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("no file {}", path.display()))?;
        Ok(Self { seen: Vec::new(), payloads: BufWriter::new(file), has_ended: false })
    }
}

fn lane_path(folder: &Path, lane: u16) -> PathBuf {
    folder.join(format!("lane-{lane:04}.jsonl"))
}
