//! Topic administration of Apache Kafka.

use std::fmt;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::{Cleanup, TopicAdmin, TopicError, TopicSpec, metadata, partitions, partitions_in};
use crate::kafka::{ClientError, KafkaSettings, LogContext, REACH_TIMEOUT};

/// The largest batch that the clients send, in octets: librdkafka's `message.max.bytes`. A topic that takes
/// less would refuse a full one, again and again.
const BATCH_OCTETS_MAX: u64 = 1_000_000;

/// Replicas that survive the loss of one and still have two: no topic needs more.
const REPLICAS_MAX: usize = 3;

/// Topic administration of Apache Kafka.
pub struct KafkaAdmin {
    client: AdminClient<LogContext>,
    settings: KafkaSettings,
}

impl KafkaAdmin {
    /// Makes an administrator; nothing is asked yet.
    ///
    /// # Errors
    /// Fails where the client library refuses the settings.
    pub fn try_new(settings: &KafkaSettings) -> Result<Self, ClientError> {
        let client = settings
            .admin()
            .create_with_context(LogContext::default())
            .map_err(|source| settings.explain("create a client", source))?;
        Ok(Self { client, settings: settings.clone() })
    }

    /// Looks at topics and returns all that is wrong with them: missing, too few partitions, unsafe settings.
    ///
    /// # Errors
    /// Fails where no broker answers, or it does not let this client see the settings.
    pub async fn inspect(&self, topics: &[TopicSpec]) -> Result<Vec<TopicError>, ClientError> {
        let mut faults = Vec::new();
        let mut present = Vec::new();
        for spec in topics {
            let metadata = metadata(&self.settings, Some(spec.name))?;
            match partitions_in(&self.settings, &metadata, spec.name) {
                Ok(found) => {
                    faults.extend(check_partitions(spec, found).err());
                    let (replicas, wanted) = (replicas(&metadata, spec.name), most(&metadata));
                    if replicas < wanted {
                        let (topic, found) = (spec.name, replicas);
                        faults.push(TopicError::Replicas { topic, found, wanted });
                    }
                    present.push((spec, replicas));
                }
                Err(error @ ClientError::UnknownTopic { .. }) => faults.push(error.into()),
                Err(error) => return Err(error),
            }
        }
        if present.is_empty() {
            return Ok(faults);
        }
        let resources: Vec<_> =
            present.iter().map(|(spec, _)| ResourceSpecifier::Topic(spec.name)).collect();
        let options = AdminOptions::new().request_timeout(Some(REACH_TIMEOUT));
        let described = self
            .client
            .describe_configs(&resources, &options)
            .await
            .map_err(|source| self.settings.explain("read the settings of topics", source))?;
        for ((spec, replicas), described) in present.into_iter().zip(described) {
            let resource = described.map_err(|code| {
                let operation = format!("read the settings of topic {}", spec.name);
                self.settings.explain(operation, KafkaError::AdminOp(code))
            })?;
            faults.extend(unsafe_settings(spec, replicas, &resource));
        }
        Ok(faults)
    }
}

/// Returns how many replicas this cluster can hold now, up to the three that survive the loss of one.
fn most(metadata: &Metadata) -> usize {
    metadata.brokers().len().clamp(1, REPLICAS_MAX)
}

/// Returns how many replicas each partition of a topic has at least.
fn replicas(metadata: &Metadata, topic: &str) -> usize {
    let found = metadata.topics().iter().filter(|found| found.name() == topic);
    let partitions = found.flat_map(MetadataTopic::partitions);
    partitions.map(|partition| partition.replicas().len()).min().unwrap_or_default()
}

impl TopicAdmin for KafkaAdmin {
    type Error = TopicError;

    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<&'static str>, TopicError> {
        let replicas = most(&metadata(&self.settings, None)?);
        let wanted: Vec<NewTopic<'_>> =
            topics.iter().map(|spec| new_topic(spec, replicas)).collect();
        let options = AdminOptions::new().operation_timeout(Some(REACH_TIMEOUT));
        let results = self
            .client
            .create_topics(&wanted, &options)
            .await
            .map_err(|source| self.settings.explain("create topics", source))?;
        let mut created = Vec::new();
        for result in results {
            let (name, code) = match result {
                Ok(name) => (name, None),
                Err((name, code)) => (name, Some(code)),
            };
            let Some(spec) = topics.iter().find(|spec| spec.name == name) else { continue };
            match code {
                None => created.push(spec.name),
                Some(RDKafkaErrorCode::TopicAlreadyExists) => {
                    check_partitions(spec, partitions(&self.settings, spec.name)?)?;
                }
                Some(code) => {
                    let source = KafkaError::AdminOp(code);
                    let operation = format!("create topic {}", spec.name);
                    return Err(self.settings.explain(operation, source).into());
                }
            }
        }
        Ok(created)
    }
}

/// The safe settings of a topic: no unclean election, and no acknowledgement by one replica alone where
/// three hold the data.
fn new_topic(spec: &TopicSpec, replicas: usize) -> NewTopic<'static> {
    let replication = TopicReplication::Fixed(replicas.try_into().unwrap_or(i32::MAX));
    let topic = NewTopic::new(spec.name, i32::from(spec.partitions), replication)
        .set("min.insync.replicas", if replicas >= REPLICAS_MAX { "2" } else { "1" })
        .set("unclean.leader.election.enable", "false");
    match spec.cleanup {
        Cleanup::Delete => topic.set("cleanup.policy", "delete"),
        Cleanup::Compact => topic
            .set("cleanup.policy", "compact")
            .set("min.cleanable.dirty.ratio", "0.1")
            .set("segment.ms", "600000")
            .set("max.compaction.lag.ms", "600000"),
    }
}

/// Returns the settings of a topic that differ from what the platform's promises rest on.
fn unsafe_settings(
    spec: &TopicSpec,
    replicas: usize,
    resource: &ConfigResource,
) -> Vec<TopicError> {
    let cleanup = match spec.cleanup {
        Cleanup::Delete => "delete",
        Cleanup::Compact => "compact",
    };
    let rules = [
        ("cleanup.policy", Safe::Exactly(cleanup)),
        ("unclean.leader.election.enable", Safe::Exactly("false")),
        ("min.insync.replicas", in_sync(replicas)),
        ("max.message.bytes", Safe::AtLeast(BATCH_OCTETS_MAX)),
    ];
    let mut faults = Vec::new();
    for (setting, safe) in rules {
        // A broker that does not know a setting does not act on it.
        let Some(entry) = resource.get(setting) else { continue };
        let found = entry.value.clone().unwrap_or_default();
        if !safe.holds(&found) {
            let wanted = safe.to_string();
            let remedy = format!(
                "change it with kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {setting}=…",
                spec.name
            );
            faults.push(TopicError::Setting { topic: spec.name, setting, found, wanted, remedy });
        }
    }
    faults
}

/// Returns how many replicas must have a record: two where there are three, and never all where there are
/// several, so that the loss of one loses no record and stops nobody.
fn in_sync(replicas: usize) -> Safe {
    let most = replicas.saturating_sub(1).max(1) as u64;
    Safe::Between(if replicas >= REPLICAS_MAX { 2 } else { 1 }, most)
}

/// The values of a setting that are safe.
enum Safe {
    Exactly(&'static str),
    AtLeast(u64),
    Between(u64, u64),
}

impl Safe {
    fn holds(&self, found: &str) -> bool {
        match self {
            Self::Exactly(wanted) => found == *wanted,
            Self::AtLeast(least) => found.parse::<u64>().is_ok_and(|found| found >= *least),
            Self::Between(least, most) => {
                found.parse::<u64>().is_ok_and(|found| (*least..=*most).contains(&found))
            }
        }
    }
}

impl fmt::Display for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(wanted) => f.write_str(wanted),
            Self::AtLeast(least) => write!(f, "{least} or more"),
            Self::Between(least, most) if least == most => write!(f, "{least}"),
            Self::Between(least, most) => write!(f, "{least} to {most}"),
        }
    }
}

/// Checks that a topic has at least the partitions that it must have.
fn check_partitions(spec: &TopicSpec, found: u16) -> Result<(), TopicError> {
    if found < spec.partitions {
        return Err(TopicError::TooFew { topic: spec.name, found, wanted: spec.partitions });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::all;

    #[test]
    fn three_replicas_need_two_to_acknowledge() {
        let topic = new_topic(&all(1, 1)[0], 3);
        assert!(topic.config.contains(&("min.insync.replicas", "2")));
        assert!(new_topic(&all(1, 1)[0], 1).config.contains(&("min.insync.replicas", "1")));
    }

    #[test]
    fn as_many_replicas_must_be_in_sync_as_lose_nothing_and_stop_nobody() {
        let refused = |replicas: usize, in_sync: u64| {
            let safe = super::in_sync(replicas);
            (!safe.holds(&in_sync.to_string())).then(|| safe.to_string())
        };
        for (replicas, in_sync) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 4)] {
            assert_eq!(refused(replicas, in_sync), None, "{in_sync} of {replicas}");
        }
        for (replicas, in_sync, wanted) in
            [(1, 2, "1"), (2, 2, "1"), (3, 1, "2"), (3, 3, "2"), (5, 5, "2 to 4")]
        {
            assert_eq!(refused(replicas, in_sync).as_deref(), Some(wanted), "{replicas}");
        }
    }
}
