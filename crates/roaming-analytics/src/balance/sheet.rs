//! The balance sheet, for people.

use std::fmt;

use roaming_events::{Grouped, LaneTally, Totals};

use super::{Balance, Extent, LaneLine, LaneRow, RowLine};

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>5} {:>14} {:>14}  {:16} {:>9} {:>11} {:>9}  state",
            "lane", "expected", "found", "digest", "missing", "duplicates", "rejected"
        )?;
        for line in &self.lanes {
            write_lane(f, line, self.extent)?;
        }
        let sums = self.sums();
        writeln!(
            f,
            "{:>5} {:>14} {:>14}  {} {:>9} {:>11} {:>9}  {} of {} lanes finished, {} gaps",
            "all",
            Grouped(sums.expected.events),
            Grouped(sums.found.events),
            sums.found.digest,
            Grouped(sums.missing),
            Grouped(sums.duplicates),
            Grouped(sums.rejected),
            sums.lanes_finished,
            sums.lanes,
            sums.gaps,
        )?;
        writeln!(
            f,
            "rows: {} compared, {} differ",
            Grouped(self.rows_compared as u64),
            Grouped(self.rows_differing as u64)
        )?;
        for line in &self.rows {
            write_row(f, line)?;
        }
        write_rest(f, self.rows_differing - self.rows.len(), "rows")?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        write_rest(f, self.violations_found - self.violations.len(), "broken invariants")?;
        if self.unattributed_rejects > 0 {
            writeln!(
                f,
                "rejected without a lane's number (see roaming.events.dlq): {}",
                Grouped(self.unattributed_rejects)
            )?;
        }
        write_verdict(f, self)
    }
}

fn write_lane(f: &mut fmt::Formatter<'_>, line: &LaneLine, extent: Extent) -> fmt::Result {
    let expected = line.expected.unwrap_or_default();
    let found = line.found.as_ref();
    let tally = found.map_or_else(LaneTally::default, |row| row.tally);
    write!(
        f,
        "{:>5} {:>14} {:>14}  {} {:>9} {:>11} {:>9}  ",
        line.lane,
        Grouped(expected.events),
        Grouped(tally.events),
        tally.digest,
        Grouped(found.map_or(0, LaneRow::missing)),
        Grouped(found.map_or(0, |row| row.duplicates)),
        Grouped(found.map_or(0, |row| row.rejected)),
    )?;
    match found {
        Some(row) if row.is_finished() => write!(f, "finished")?,
        Some(row) => {
            let state = match extent {
                Extent::Whole => "open",
                Extent::Stopped => "stopped",
                Extent::SoFar => "so far",
            };
            write!(f, "{state} at {} ({})", Grouped(row.next.get()), row.emission_time)?;
        }
        None => write!(f, "unseen")?,
    }
    for (index, finding) in line.findings.iter().enumerate() {
        write!(f, "{}{}", if index == 0 { "  << " } else { ", " }, finding.as_str())?;
    }
    if line.expected.is_some() && expected.digest != tally.digest {
        write!(f, " (expected digest {})", expected.digest)?;
    }
    writeln!(f)
}

fn write_row(f: &mut fmt::Formatter<'_>, line: &RowLine) -> fmt::Result {
    let key = &line.key;
    write!(
        f,
        "  window {} home {} visited {} {} {} {}:",
        key.window_start, key.home_plmn, key.visited_plmn, key.rat, key.procedure, key.outcome
    )?;
    let (expected, found) = match (&line.expected, &line.found) {
        (Some(expected), Some(found)) => (expected, found),
        (Some(expected), None) => {
            return writeln!(f, " expected {} events, found no row", Grouped(expected.events));
        }
        (None, found) => {
            let events = found.map_or(0, |totals| totals.events);
            return writeln!(f, " expected no row, found {} events", Grouped(events));
        }
    };
    for (name, expected, found) in columns(expected, found) {
        if expected != found {
            write!(f, " {name} expected {expected} found {found};")?;
        }
    }
    for (bucket, (expected, found)) in
        expected.latency_buckets.iter().zip(&found.latency_buckets).enumerate()
    {
        if expected != found {
            write!(f, " latency_buckets[{bucket}] expected {expected} found {found};")?;
        }
    }
    writeln!(f)
}

fn columns(expected: &Totals, found: &Totals) -> [(&'static str, i128, i128); 6] {
    let column = |name, value: fn(&Totals) -> i128| (name, value(expected), value(found));
    [
        column("events", |totals| totals.events.into()),
        column("latency_us", |totals| totals.latency_us.into()),
        column("duration_s", |totals| totals.duration_s.into()),
        column("octets_uplink", |totals| totals.octets_uplink.into()),
        column("octets_downlink", |totals| totals.octets_downlink.into()),
        column("charge_millionths", |totals| totals.charge_millionths.into()),
    ]
}

fn write_rest(f: &mut fmt::Formatter<'_>, unlisted: usize, what: &str) -> fmt::Result {
    if unlisted > 0 {
        writeln!(f, "  and {} more {what}", Grouped(unlisted as u64))?;
    }
    Ok(())
}

fn write_verdict(f: &mut fmt::Formatter<'_>, balance: &Balance) -> fmt::Result {
    let sums = balance.sums();
    if !balance.holds() {
        return write!(
            f,
            "the balance does not hold: {} lanes differ, {} rows differ, {} invariants broken",
            sums.lanes_differing, balance.rows_differing, balance.violations_found
        );
    }
    let how_far = match balance.extent {
        Extent::Whole => "",
        Extent::Stopped => " up to where the run stopped",
        Extent::SoFar => " so far",
    };
    let (events, digest) = (Grouped(sums.found.events), sums.found.digest);
    write!(f, "the balance holds{how_far}: {events} events, digest {digest}")
}
