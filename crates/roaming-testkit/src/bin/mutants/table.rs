//! The mutants.

/// How many seeds of which simulation a mutant gets to survive, as the program's arguments.
pub(super) type Seeds = [&'static str; 3];
pub(super) const SAMPLE: Seeds = ["3000", "--only", "sample"];
pub(super) const ENGINE: Seeds = ["600", "--only", "engine"];

/// A bug to be planted.
pub(super) struct Mutant {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    /// A text that occurs once in the file.
    pub(super) text: &'static str,
    pub(super) replacement: &'static str,
}

impl Mutant {
    /// Returns the seeds that have to catch it.
    pub(super) fn seeds(&self) -> Seeds {
        if self.file.starts_with("roaming-producer/") { ENGINE } else { SAMPLE }
    }
}

pub(super) const MUTANTS: [Mutant; 53] = [
    Mutant {
        name: "offset stored before rows",
        file: "roaming-analytics/src/partition.rs",
        text: "let (new_rows, changed_rows) = self.rows.checkpoint();",
        replacement: "let (new_rows, changed_rows) = match self.position_stored.next_offset {
            None => (Vec::new(), Vec::new()),
            Some(_) => self.rows.checkpoint(),
        };",
    },
    Mutant {
        name: "stored row taken for a new one",
        file: "roaming-analytics/src/window.rs",
        text: "let is_new = row.stored_events == 0;",
        replacement: "let is_new = row.stored_events < 2;",
    },
    Mutant {
        name: "no epoch check",
        file: "roaming-testkit/src/store.rs",
        text: "if stored.epoch != epoch {",
        replacement: "if stored.epoch < epoch {",
    },
    Mutant {
        name: "high-water mark off by one",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.next = sequence.next();\n                self.reach(time);",
        replacement: "self.row.next = sequence;\n                self.reach(time);",
    },
    Mutant {
        name: "deduplication lost on rebalance",
        file: "roaming-analytics/src/partition.rs",
        text: "unclaimed.remove(&view.run).unwrap_or_default()",
        replacement: "Vec::new()",
    },
    Mutant {
        name: "marker ignored",
        file: "roaming-analytics/src/lane.rs",
        text: "if marker.next == self.row.next {",
        replacement: "if marker.next < Sequence::ZERO {",
    },
    Mutant {
        name: "reorder dropped as duplicate",
        file: "roaming-analytics/src/lane.rs",
        text: "match gaps::find(&row.gaps, sequence) {",
        replacement: "match gaps::find(&[], sequence) {",
    },
    Mutant {
        name: "marker believed anywhere",
        file: "roaming-analytics/src/lane.rs",
        text: "if marker.next == self.row.next {",
        replacement: "if marker.next >= Sequence::ZERO {",
    },
    Mutant {
        name: "time passes a gap",
        file: "roaming-analytics/src/lane.rs",
        text: "if self.row.gaps.is_empty() {",
        replacement: "if self.row.gaps.len() < usize::MAX {",
    },
    Mutant {
        name: "gap filled whole by one event",
        file: "roaming-analytics/src/gaps.rs",
        text: "gaps.splice(index..=index, left.into_iter().chain(right));",
        replacement: "gaps.splice(index..=index, left.into_iter().chain(right).take(0));",
    },
    Mutant {
        name: "late row not reloaded",
        file: "roaming-analytics/src/window.rs",
        text: "key.window_start <= *newest",
        replacement: "key.window_start < *newest",
    },
    Mutant {
        name: "rows observed during a commit taken for stored",
        file: "roaming-analytics/src/window.rs",
        text: "row.stored_events = events;",
        replacement: "row.stored_events = row.totals.events.max(events);",
    },
    Mutant {
        name: "broken record takes any number",
        file: "roaming-analytics/src/lane.rs",
        text: "let takes = self.place(sequence, gaps_max) == Place::Next;",
        replacement: "let takes = self.place(sequence, gaps_max) != Place::Duplicate;",
    },
    Mutant {
        name: "offset read twice is counted twice",
        file: "roaming-analytics/src/partition.rs",
        text: "self.position.next_offset.is_some_and(|next| offset < next)",
        replacement: "self.position.next_offset.is_some_and(|next| offset > next + 1_000_000)",
    },
    Mutant {
        name: "end forgotten",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.end = Some(count);",
        replacement: "self.row.end = Some(count).filter(|count| *count < Sequence::ZERO);",
    },
    Mutant {
        name: "gaps out of order",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.gaps.push((self.row.next, sequence));",
        replacement: "self.row.gaps.insert(0, (self.row.next, sequence));",
    },
    Mutant {
        name: "end one too far",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.end = Some(count);",
        replacement: "self.row.end = Some(count.next());",
    },
    Mutant {
        name: "reloaded row merged in part",
        file: "roaming-analytics/src/window.rs",
        text: "row.totals.merge(base);",
        replacement: "row.totals.events += base.events;",
    },
    Mutant {
        name: "offset goes back",
        file: "roaming-analytics/src/partition.rs",
        text: "let next_offset = self.position.next_offset?;",
        replacement: "let next_offset = self.position.next_offset? % 50;",
    },
    Mutant {
        name: "watermark lost on restart",
        file: "roaming-analytics/src/run.rs",
        text: "        run.advance();\n        run.watermark_stored",
        replacement: "        run.watermark_stored",
    },
    Mutant {
        name: "watermark follows the fastest lane",
        file: "roaming-analytics/src/run.rs",
        text: "filter(|lane| lane.holds_back()).map(time).min();",
        replacement: "filter(|lane| lane.holds_back()).map(time).max();",
    },
    Mutant {
        name: "finished lane holds the watermark back",
        file: "roaming-analytics/src/lane.rs",
        text: "!self.row.failed && !self.row.is_finished()",
        replacement: "!self.row.failed",
    },
    Mutant {
        name: "rejected record not offered as dead letter",
        file: "roaming-analytics/src/partition.rs",
        text: "            Observation::Rejected(RejectReason::UnreadablePayload)",
        replacement: "            Observation::Counted",
    },
    Mutant {
        name: "progress ahead of acknowledgement",
        file: "roaming-testkit/src/sample.rs",
        text: "let progress = self.acknowledged;",
        replacement: "let progress = self.next;",
    },
    Mutant {
        name: "answer to an earlier owner taken",
        file: "roaming-consumer/src/intake.rs",
        text: "task.ticket = *tickets;",
        replacement: "",
    },
    Mutant {
        name: "stored offset told once only",
        file: "roaming-consumer/src/intake.rs",
        text: "if is_due(self.state.all_offsets_told, OFFSETS_REPEAT) {",
        replacement: "if self.state.all_offsets_told.is_none() {",
    },
    Mutant {
        name: "offset told before it is stored",
        file: "roaming-consumer/src/intake.rs",
        text: "task.stored_offset.filter(|_| is_counted).map(|offset| (task.number, offset))",
        replacement: "task.stored_offset.filter(|_| is_counted).map(|offset| (task.number, offset + 1))",
    },
    Mutant {
        name: "fenced owner goes on",
        file: "roaming-consumer/src/intake.rs",
        text: "if error.disposition() == Disposition::Fence {",
        replacement: "if error.disposition() == Disposition::Fatal {",
    },
    Mutant {
        name: "dead letters of a failed checkpoint forgotten",
        file: "roaming-consumer/src/intake.rs",
        text: "counting.letters = letters_left;",
        replacement: "counting.letters.clear();",
    },
    Mutant {
        name: "partition resumed one record too late",
        file: "roaming-consumer/src/intake.rs",
        text: "self.group.resume(task.number, counting.next_offset())?",
        replacement: "self.group.resume(task.number, counting.next_offset() + 1)?",
    },
    Mutant {
        name: "refused offset not minded",
        file: "roaming-consumer/src/intake.rs",
        text: "self.is_refused = true;",
        replacement: "self.is_refused = false;",
    },
    Mutant {
        name: "one lost record not told",
        file: "roaming-consumer/src/intake.rs",
        text: "Some(next_offset) if next_offset < low => {",
        replacement: "Some(next_offset) if next_offset + 1 < low => {",
    },
    Mutant {
        name: "topic made anew not told",
        file: "roaming-consumer/src/intake.rs",
        text: "Some(next_offset) if next_offset > high => {",
        replacement: "Some(next_offset) if next_offset > high + 1_000_000 => {",
    },
    Mutant {
        name: "partitions not given up",
        file: "roaming-consumer/src/intake.rs",
        text: "if is_revoked {",
        replacement: "if !is_revoked {",
    },
    Mutant {
        name: "run unknown for good at first sight",
        file: "roaming-consumer/src/partition_task.rs",
        text: "} else if arrival.offset < self.runs_known_before {",
        replacement: "} else if arrival.offset < u64::MAX {",
    },
    Mutant {
        name: "records counted behind one that waits",
        file: "roaming-consumer/src/partition_task.rs",
        text: "if self.hold.is_some() {",
        replacement: "if self.hold == Some(Hold::Starting) {",
    },
    Mutant {
        name: "checkpoint without its dead letters",
        file: "roaming-consumer/src/partition_task.rs",
        text: "letters: mem::take(&mut self.letters),",
        replacement: "letters: mem::take(&mut self.letters).into_iter().skip(1).collect(),",
    },
    Mutant {
        name: "producer's progress ahead of acknowledgement",
        file: "roaming-producer/src/lane.rs",
        text: "            acknowledged: self.acknowledged,\n            emission_time",
        replacement: "            acknowledged: self.sequence(),\n            emission_time",
    },
    Mutant {
        name: "lane resumed one event too late",
        file: "roaming-producer/src/lane.rs",
        text: "resume_at: acknowledged,",
        replacement: "resume_at: progress.map_or(acknowledged, |_| acknowledged.next()),",
    },
    Mutant {
        name: "marker promises too much",
        file: "roaming-producer/src/lane.rs",
        text: "emission_time: self.quiet_until,",
        replacement: "emission_time: self.end_time(),",
    },
    Mutant {
        name: "quiet lane says nothing",
        file: "roaming-producer/src/wire.rs",
        text: "if now.since(last_sent) < MARKER_INTERVAL {",
        replacement: "if now.since(last_sent) < Duration::MAX {",
    },
    Mutant {
        name: "failed delivery ignored",
        file: "roaming-producer/src/wire.rs",
        text: "        polled?;",
        replacement: "        let _ = polled;",
    },
    Mutant {
        name: "flow control counts what is lost",
        file: "roaming-producer/src/wire.rs",
        text: "self.flow.forget_in_flight();",
        replacement: "",
    },
    Mutant {
        name: "flow control ignores a partition",
        file: "roaming-producer/src/flow.rs",
        text: "self.unread(partition) < self.unread_bytes_max",
        replacement: "partition == 0 || self.unread(partition) < self.unread_bytes_max",
    },
    Mutant {
        name: "second batch of a new client at once",
        file: "roaming-producer/src/outbox.rs",
        text: "|| !self.first_sent.contains(&partition))",
        replacement: "|| self.records < RECORDS_MAX)",
    },
    Mutant {
        name: "hand-over waits for nothing",
        file: "roaming-producer/src/sender.rs",
        text: "if outstanding == 0 {",
        replacement: "if outstanding < usize::MAX {",
    },
    Mutant {
        name: "hand-over does not wait for progress",
        file: "roaming-producer/src/fleet.rs",
        text: "self.sender.in_flight() + self.progress_in_flight + unrecorded",
        replacement: "self.sender.in_flight() + unrecorded.min(0)",
    },
    Mutant {
        name: "lanes that leave go on",
        file: "roaming-producer/src/sender.rs",
        text: "let stays = |slot: &Slot| !leaving.is_some_and(|slots| slots.contains(slot));",
        replacement: "let stays = |_: &Slot| leaving.is_none_or(|slots| !slots.is_empty());",
    },
    Mutant {
        name: "lanes that stay stop too",
        file: "roaming-producer/src/sender.rs",
        text: "let turn = self.turn(now)?;",
        replacement: "let turn = if self.hand_over.is_some() { Turn::Held } else { self.turn(now)? };",
    },
    Mutant {
        name: "lanes go on behind a lost client",
        file: "roaming-producer/src/sender.rs",
        text: "        self.fleet.restart();",
        replacement: "",
    },
    Mutant {
        name: "progress lost with a client",
        file: "roaming-producer/src/fleet.rs",
        text: "lane.sender.record_again();",
        replacement: "",
    },
    Mutant {
        name: "pace of the record before",
        file: "roaming-producer/src/fleet.rs",
        text: "before.allowed_until(wall_unix_ms).min(allowed)",
        replacement: "before.allowed_until(wall_unix_ms)",
    },
    Mutant {
        name: "partition owned again and again",
        file: "roaming-producer/src/assignment.rs",
        text: "self.reading.remove(&partition)?",
        replacement: "std::mem::take(self.reading.get_mut(&partition)?)",
    },
];
