//! What the daemons say: what became of each record, and their logs.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::report::Trace;

/// Whose words are heard.
const DAEMONS: [&str; 2] = ["roaming_consumer", "roaming_producer"];

/// Counts observations by name, and notes the other lines of the log; clones share both.
#[derive(Clone)]
pub(super) struct Observations {
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
    trace: Trace,
}

impl Observations {
    pub(super) fn new(trace: Trace) -> Self {
        Self { counts: Arc::default(), trace }
    }

    /// Calls `each` with every observation and how often it was.
    pub(super) fn for_each(&self, mut each: impl FnMut(&str, u64)) {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (observation, count) in &*counts {
            each(observation, *count);
        }
    }
}

impl Subscriber for Observations {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = |daemon| metadata.target().starts_with(daemon);
        *metadata.level() != Level::DEBUG && DAEMONS.into_iter().any(is_ours)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() == Level::TRACE {
            event.record(&mut Count(self));
        } else {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.trace.note(format!("   {}:{}", event.metadata().level(), line.0));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A line of the log, as text.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

struct Count<'a>(&'a Observations);

impl Visit for Count<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "observation" {
            let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
            match counts.get_mut(value) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(value.to_owned(), 1);
                }
            }
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
