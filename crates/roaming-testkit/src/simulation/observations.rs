//! What the consumer says became of each record.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Counts observations by name, as they stand in the consumer's log; clones share the counts.
#[derive(Clone, Default)]
pub(super) struct Observations {
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Observations {
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
        *metadata.level() == Level::TRACE && metadata.target().starts_with("roaming_consumer")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Count(self));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
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
