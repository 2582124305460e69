//! A broker with a log made by the engine, and consumers on it.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::BorrowedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use roaming_consumer::{App, Config, ConsumerError};
use roaming_events::{End, EventId, LaneId, json};
use roaming_service::control;
use roaming_service::kafka::{Broker, KafkaSettings};
use roaming_service::topics;
use roaming_sim::control::Speed;
use roaming_sim::{ControlRecord, Profile, STREAM_VERSION, Simulation, Specification};
use roaming_store::{SqliteStore, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The longest that a test waits for something: a group join alone takes three seconds.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) const PARTITIONS: u16 = 4;
pub(crate) const LANES: u16 = 8;

/// A record as it is produced.
#[derive(Clone, Debug)]
pub(crate) struct Produced {
    pub(crate) partition: u16,
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// A small run, of a few thousand events.
pub(crate) fn simulation(name: &str) -> Arc<Simulation> {
    let mut profile = Profile::builtin("demo").unwrap();
    profile.subscribers = 60;
    let specification = Specification {
        name: name.to_owned(),
        profile,
        seed: 7,
        lanes: LANES,
        events_partitions: PARTITIONS,
        lanes_partitions: PARTITIONS,
        stream_version: STREAM_VERSION,
    };
    Arc::new(Simulation::try_new(Arc::new(specification)).unwrap())
}

/// Every record of a run, lane by lane, with the end markers.
pub(crate) fn records(simulation: &Arc<Simulation>) -> Vec<Produced> {
    let specification = simulation.specification();
    let mut records = Vec::new();
    for lane in LaneId::all(specification.lanes) {
        let partition = lane.partition(specification.events_partitions);
        let mut events = simulation.lane(lane);
        for event in events.by_ref() {
            let mut payload = Vec::new();
            json::encode(&event, &mut payload);
            records.push(Produced { partition, key: event.id.text().to_vec(), payload });
        }
        let id = EventId { run: specification.run_id(), lane, sequence: events.sequence() };
        let end = End { id, emission_time: specification.end() };
        let mut payload = Vec::new();
        end.encode(&mut payload);
        records.push(Produced { partition, key: end.key().to_vec(), payload });
    }
    records
}

/// A broker and its topics.
pub(crate) struct Log {
    /// It ends when this is dropped.
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) settings: KafkaSettings,
}

impl Log {
    pub(crate) async fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for topic in topics::all(PARTITIONS, PARTITIONS) {
            cluster.create_topic(topic.name, i32::from(topic.partitions), 1).unwrap();
        }
        let settings = KafkaSettings::new(cluster.bootstrap_servers(), Broker::Embedded);
        let log = Self { cluster, settings };
        control::ensure_token(&log.settings).await.unwrap();
        log
    }

    /// Loads a run: its control record stands on the topic when this returns.
    pub(crate) async fn load(&self, simulation: &Simulation) -> ControlRecord {
        let specification = Arc::clone(simulation.specification());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let record = ControlRecord::start(specification, Speed::Max, now);
        self.write_control(&record).await;
        record
    }

    pub(crate) async fn write_control(&self, record: &ControlRecord) {
        let json = serde_json::to_vec(record).unwrap();
        control::write(&self.settings, &record.specification.name, &json).await.unwrap();
    }

    /// Appends records in order, and returns when all are in the log.
    pub(crate) async fn produce(&self, records: &[Produced]) {
        let producer: FutureProducer = self.settings.producer().create().unwrap();
        let mut sent = Vec::with_capacity(records.len());
        for record in records {
            let mut message = FutureRecord::to(topics::EVENTS)
                .partition(i32::from(record.partition))
                .key(&record.key)
                .payload(&record.payload);
            loop {
                match producer.send_result(message) {
                    Ok(delivery) => break sent.push(delivery),
                    Err((_, refused)) => {
                        // The client's queue is full: it drains by itself.
                        message = refused;
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        for delivery in sent {
            delivery.await.unwrap().unwrap();
        }
    }

    /// Reads a topic's only partition from its beginning until `count` records are there.
    pub(crate) fn read<T>(
        &self,
        topic: &str,
        count: usize,
        take: impl Fn(&BorrowedMessage<'_>) -> T,
    ) -> Vec<T> {
        let consumer: BaseConsumer = self.settings.reader().create().unwrap();
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&assignment).unwrap();
        let deadline = Instant::now() + DEADLINE;
        let mut taken = Vec::new();
        while taken.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} records of {topic}", taken.len());
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                taken.push(take(&message));
            }
        }
        taken
    }

    /// Offsets that the group has committed, by partition; 0 where there is none.
    pub(crate) fn committed(&self) -> Vec<u64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.settings.bootstrap_servers)
            .set("group.id", roaming_service::kafka::CONSUMER_GROUP)
            .create()
            .unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition(topics::EVENTS, i32::from(partition));
        }
        let committed = consumer.committed_offsets(partitions, DEADLINE).unwrap();
        committed
            .elements()
            .iter()
            .map(|element| match element.offset() {
                Offset::Offset(offset) => offset.cast_unsigned(),
                _ => 0,
            })
            .collect()
    }
}

/// A consumer that runs in this process.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), ConsumerError>>,
}

impl Running {
    pub(crate) async fn start(log: &Log, store: impl Store) -> Self {
        Self::start_with(config(log), store).await
    }

    pub(crate) async fn start_with(config: Config, store: impl Store) -> Self {
        let app = App::build(config, store).await.unwrap();
        let (address, stop) = (app.address(), CancellationToken::new());
        let task = tokio::spawn(app.run(stop.clone()));
        Self { address, stop, task }
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(self) -> Result<(), ConsumerError> {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn end(self) -> Result<(), ConsumerError> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("it ends by itself").unwrap()
    }

    /// Asks its page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false).build();
            let mut answer = ureq::Agent::new_with_config(config).get(&url).call().unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
        })
        .await
        .unwrap()
    }
}

/// A consumer in a process of its own.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(log: &Log, store: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_roaming-consumer"))
            .args(["--bootstrap-servers", &log.settings.bootstrap_servers])
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--store"])
            .arg(store)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn config(log: &Log) -> Config {
    Config::new(log.settings.clone(), ([127, 0, 0, 1], 0).into())
}

pub(crate) async fn store(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.unwrap()
}

/// Waits until `is_so` is.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the store has a run's end in every lane.
pub(crate) async fn until_finished(store: &impl Store, simulation: &Simulation) {
    let run = simulation.specification().run_id();
    until("every lane is finished", async || {
        let lanes = store.progress(run).await.unwrap().lanes;
        lanes.len() == usize::from(LANES)
            && lanes.iter().all(roaming_analytics::LaneRow::is_finished)
    })
    .await;
}

/// Waits until the store has at least so many events of a run.
pub(crate) async fn until_counted(store: &impl Store, simulation: &Simulation, events: u64) {
    let run = simulation.specification().run_id();
    until("events are counted", async || {
        let lanes = store.progress(run).await.unwrap().lanes;
        lanes.iter().map(|lane| lane.tally.events).sum::<u64>() >= events
    })
    .await;
}
