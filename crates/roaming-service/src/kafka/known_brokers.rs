//! Whether a client knows a broker at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;

/// How often a client that is polled tells its statistics, in milliseconds.
pub(super) const STATISTICS_INTERVAL_MS: &str = "2000";
/// In so many statistics, one after the other, a client that begins anew may name no broker.
const EMPTY_MAX: u32 = 1;
/// Source of a name for whichever broker coordinates a group: it has no address of its own.
const LOGICAL: &str = "logical";

/// What a client's statistics say of the brokers that it knows.
///
/// The only broker of a cluster that stops, starts or stood still may answer that the cluster has no brokers.
/// librdkafka then forgets the address that it has and, some of the time, never looks at `bootstrap.servers` again
/// (<https://github.com/confluentinc/librdkafka/issues/5301>): such a client reports nothing, fails nothing, and
/// is to be given up for another.
#[derive(Debug, Default)]
pub struct KnownBrokers {
    /// How many statistics in a row named none.
    empty: AtomicU32,
}

/// As much of the statistics as says which brokers a client knows.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, Known>,
}

#[derive(Deserialize)]
struct Known {
    source: String,
}

impl KnownBrokers {
    /// Takes note of a client's statistics, as the library hands them over in JSON.
    pub fn read(&self, statistics: &[u8]) {
        // What cannot be read says nothing against the client.
        let Ok(Statistics { brokers }) = serde_json::from_slice(statistics) else { return };
        if brokers.values().any(|known| known.source != LOGICAL) {
            self.empty.store(0, Ordering::Relaxed);
        } else {
            self.empty.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the client has forgotten all brokers and will not look for one.
    pub fn are_forgotten(&self) -> bool {
        self.empty.load(Ordering::Relaxed) > EMPTY_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COORDINATOR: &str = r#""GroupCoordinator":{"source":"logical","state":"INIT"}"#;

    #[test]
    fn a_client_that_names_no_address_for_two_statistics_has_forgotten_all() {
        let brokers = KnownBrokers::default();
        let read = |named: &str| {
            let brokers_json = format!(r#"{{"name":"r","brokers":{{{named}}},"topics":{{}}}}"#);
            brokers.read(brokers_json.as_bytes());
            brokers.are_forgotten()
        };
        assert!(!read(COORDINATOR), "it may be about to begin anew");
        assert!(read(COORDINATOR));
        assert!(read(""));
        for source in ["configured", "learned", "internal"] {
            let known =
                format!(r#"{COORDINATOR},"kafka:9092/1":{{"source":"{source}","state":"DOWN"}}"#);
            assert!(!read(&known), "{source}");
            assert!(!read(COORDINATOR));
            assert!(read(COORDINATOR));
        }
        brokers.read(b"no statistics");
        assert!(brokers.are_forgotten(), "nothing new was said");
    }
}
