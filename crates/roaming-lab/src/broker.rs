//! The embedded broker: librdkafka's in-process cluster, a Kafka-protocol listener on loopback.
//!
//! It keeps 5 MiB a partition in memory and checks no producer sequences: what a run on it proves is the
//! path of the events, not how the pipeline takes faults of a broker.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};

use rdkafka::error::KafkaError;
use rdkafka::mocking::MockCluster;
use roaming_service::kafka::{Broker, KafkaSettings};
use roaming_service::topics::{TopicAdmin, TopicSpec};

/// A running broker; it ends when this value is dropped.
pub struct EmbeddedBroker {
    bootstrap_servers: String,
    requests: Option<Sender<CreateTopic>>,
    thread: Option<JoinHandle<()>>,
}

/// A topic to create, and where to say how that went.
struct CreateTopic {
    name: &'static str,
    partitions: u16,
    done: SyncSender<Result<(), KafkaError>>,
}

impl EmbeddedBroker {
    /// Starts the broker on a free port of the loopback interface.
    ///
    /// # Errors
    /// Fails where the listener or its thread cannot be made.
    pub fn start() -> Result<Self, BrokerError> {
        let (started, start) = mpsc::sync_channel(1);
        let (requests, inbox) = mpsc::channel();
        // The cluster is a raw handle that must stay on one thread.
        let thread = thread::Builder::new()
            .name("embedded-broker".to_owned())
            .spawn(move || serve(&started, &inbox))
            .map_err(BrokerError::Thread)?;
        let bootstrap_servers = start.recv().map_err(|_| BrokerError::Gone)??;
        Ok(Self { bootstrap_servers, requests: Some(requests), thread: Some(thread) })
    }

    /// Returns the settings with which clients reach it.
    pub fn settings(&self) -> KafkaSettings {
        KafkaSettings::new(&self.bootstrap_servers, Broker::Embedded)
    }

    fn create(&self, spec: &TopicSpec) -> Result<(), BrokerError> {
        let (done, result) = mpsc::sync_channel(1);
        let request = CreateTopic { name: spec.name, partitions: spec.partitions, done };
        let requests = self.requests.as_ref().ok_or(BrokerError::Gone)?;
        requests.send(request).map_err(|_| BrokerError::Gone)?;
        let created = result.recv().map_err(|_| BrokerError::Gone)?;
        created.map_err(|source| BrokerError::Topic { topic: spec.name, source })
    }
}

impl TopicAdmin for EmbeddedBroker {
    type Error = BrokerError;

    async fn ensure(&self, topics: &[TopicSpec]) -> Result<Vec<&'static str>, BrokerError> {
        for spec in topics {
            self.create(spec)?;
        }
        Ok(topics.iter().map(|spec| spec.name).collect())
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// Holds the cluster until nobody can ask for a topic any more.
fn serve(started: &SyncSender<Result<String, BrokerError>>, inbox: &Receiver<CreateTopic>) {
    const BROKERS: i32 = 1;
    const REPLICATION: i32 = 1;
    let cluster = match MockCluster::new(BROKERS) {
        Ok(cluster) => cluster,
        Err(source) => {
            let _ = started.send(Err(BrokerError::Start(source)));
            return;
        }
    };
    // A receiver that is gone has given up on the broker: the loop below then ends at once.
    let _ = started.send(Ok(cluster.bootstrap_servers()));
    for CreateTopic { name, partitions, done } in inbox {
        let _ = done.send(cluster.create_topic(name, i32::from(partitions), REPLICATION));
    }
}

/// Why the embedded broker does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The listener could not be opened.
    #[error("the embedded broker could not start")]
    Start(#[source] KafkaError),
    /// The system gave no thread.
    #[error("the embedded broker got no thread")]
    Thread(#[source] std::io::Error),
    /// A topic could not be created.
    #[error("topic {topic} could not be created on the embedded broker")]
    Topic {
        /// The topic.
        topic: &'static str,
        /// What the library said.
        source: KafkaError,
    },
    /// The broker's thread has ended.
    #[error("the embedded broker has ended")]
    Gone,
}
