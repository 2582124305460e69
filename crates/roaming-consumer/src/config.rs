//! How the consumer runs.

use std::net::SocketAddr;
use std::time::Duration;

use roaming_analytics::PartitionConfig;
use roaming_events::SimDuration;
use roaming_service::config::Settings;
use roaming_service::config::table::{CONSUMER_LISTEN, FLUSH_INTERVAL_MS, WINDOW_MINUTES};
use roaming_service::kafka::KafkaSettings;

/// Settings of an [`App`](crate::App).
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker.
    pub kafka: KafkaSettings,
    /// Where `/metrics`, the health checks and the page are served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Name of this replica, for the store and the page.
    pub owner: String,
    /// Length of an aggregate window, simulated; fixed for the life of a store.
    pub window: SimDuration,
    /// Time between two checkpoints of a partition. Shorter: less is read again after a crash, and the
    /// producer's flow control sees progress sooner. Longer: fewer and larger transactions.
    pub flush_interval: Duration,
    /// The most events of a partition that are counted but not yet stored. At it the partition pauses
    /// until its checkpoint is written.
    pub unstored_events_max: u64,
    /// The most missing intervals of a lane that are remembered; beyond it the lane has failed.
    pub gaps_max: usize,
    /// The most aggregate rows of a partition that are kept in memory; beyond it closed windows are
    /// forgotten, and read again from the store when a late event needs them.
    pub rows_max: usize,
    /// How long stopping, or giving a partition up, may take.
    pub grace: Duration,
}

impl Config {
    /// Port of the consumer where nothing else is asked for.
    pub const PORT: u16 = 9102;
    /// Minutes of a window where nothing else is asked for.
    pub const WINDOW_MINUTES: u16 = 15;
    /// Milliseconds between checkpoints where nothing else is asked for.
    pub const FLUSH_INTERVAL_MS: u16 = 200;

    /// Makes the configuration that a program's settings ask for.
    pub fn of(settings: &Settings) -> Self {
        let minutes: u64 = settings.integer(&WINDOW_MINUTES);
        Self {
            window: SimDuration::from_secs(minutes * 60),
            flush_interval: Duration::from_millis(settings.integer(&FLUSH_INTERVAL_MS)),
            ..Self::new(KafkaSettings::of_member(settings), settings.address(&CONSUMER_LISTEN))
        }
    }

    /// Makes the settings for a broker, with every other one at its default.
    pub fn new(kafka: KafkaSettings, listen: SocketAddr) -> Self {
        Self {
            kafka,
            listen,
            owner: format!("{}-{}", hostname(), std::process::id()),
            window: SimDuration::from_secs(u64::from(Self::WINDOW_MINUTES) * 60),
            flush_interval: Duration::from_millis(u64::from(Self::FLUSH_INTERVAL_MS)),
            unstored_events_max: 250_000,
            gaps_max: 1024,
            rows_max: 200_000,
            grace: Duration::from_secs(20),
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// Fails on the first setting that is out of range, and says what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const DAY_MS: u64 = 86_400_000;
        let window = self.window.ms();
        if window == 0 || !DAY_MS.is_multiple_of(window) {
            return Err(ConfigError::Window { found_ms: window });
        }
        let flush = self.flush_interval;
        if !(Duration::from_millis(10)..=Duration::from_secs(10)).contains(&flush) {
            return Err(ConfigError::FlushInterval { found: flush });
        }
        for (setting, found) in [
            ("unstored_events_max", self.unstored_events_max),
            ("gaps_max", self.gaps_max as u64),
            ("rows_max", self.rows_max as u64),
        ] {
            if found == 0 {
                return Err(ConfigError::Zero { setting });
            }
        }
        Ok(())
    }

    pub(crate) fn partition(&self) -> PartitionConfig {
        PartitionConfig { window: self.window, gaps_max: self.gaps_max, rows_max: self.rows_max }
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "consumer".to_owned(), |name| name.trim().to_owned())
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Windows would not line up with days.
    #[error(
        "windows of {found_ms} ms; allowed are lengths that divide a day, such as 15 minutes (--window-minutes)"
    )]
    Window {
        /// The length, in milliseconds.
        found_ms: u64,
    },
    /// Checkpoints would be too frequent or too rare.
    #[error("{found:?} between checkpoints; allowed is 10 ms to 10 s (--flush-interval-ms)")]
    FlushInterval {
        /// The interval.
        found: Duration,
    },
    /// A bound of nothing at all.
    #[error("{setting} is 0; allowed is 1 and more")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use roaming_service::kafka::Broker;

    use super::*;

    fn config() -> Config {
        let kafka = KafkaSettings::new("x:1", Broker::Kafka);
        Config::new(kafka, ([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn what_is_out_of_range_says_what_is_allowed() {
        let mut odd = config();
        odd.window = SimDuration::from_secs(7 * 60);
        let text = odd.validate().expect_err("seven minutes").to_string();
        assert!(text.contains("--window-minutes"), "{text}");
        let mut never = config();
        never.flush_interval = Duration::from_mins(1);
        let text = never.validate().expect_err("a minute").to_string();
        assert!(text.contains("10 ms to 10 s"), "{text}");
        let mut none = config();
        none.rows_max = 0;
        assert_eq!(none.validate(), Err(ConfigError::Zero { setting: "rows_max" }));
    }
}
