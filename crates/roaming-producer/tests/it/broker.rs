//! The broker of a test, runs on it, and what stands on its topics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Parser};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use roaming_events::{LaneId, LaneTally, Record, RunId, SimTime, Tally};
use roaming_producer::commands::{self, LoadArgs, NameArgs, ResumeArgs};
use roaming_producer::fleet::WINDOW;
use roaming_service::control;
use roaming_service::kafka::{Broker, KafkaSettings};
use roaming_service::reader::{Read, TopicReader};
use roaming_service::topics;
use roaming_sim::profile::BUILTIN;
use roaming_sim::{ControlRecord, Simulation, ledger};
use tempfile::TempDir;

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) const EVENTS_PARTITIONS: u16 = 4;
pub(crate) const LANES_PARTITIONS: u16 = 2;
pub(crate) const LANES: u16 = 8;

/// A broker with the topics and the token of its log, and a folder with a small profile, `small`.
pub(crate) struct TestBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) settings: KafkaSettings,
    folder: TempDir,
}

/// A command line of one command's arguments.
#[derive(Parser)]
struct Named<A: Args> {
    #[command(flatten)]
    args: A,
}

impl TestBroker {
    pub(crate) async fn start() -> Self {
        let cluster = MockCluster::new(1).expect("a broker");
        for topic in topics::all(EVENTS_PARTITIONS, LANES_PARTITIONS) {
            cluster.create_topic(topic.name, i32::from(topic.partitions), 1).expect("a topic");
        }
        let settings = KafkaSettings::new(cluster.bootstrap_servers(), Broker::Embedded);
        control::ensure_token(&settings).await.expect("a token");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("small.yaml"), small_profile(200)).expect("a profile");
        Self { cluster, settings, folder }
    }

    pub(crate) fn scenario_path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Loads the small profile and returns what was printed.
    pub(crate) async fn load(&self, options: &[&str]) -> Result<String, commands::CommandError> {
        let profile = self.scenario_path().join("small.yaml");
        let lanes = LANES.to_string();
        let args = ["load", "--profile", profile.to_str().expect("text"), "--lanes", &lanes];
        let load =
            Named::<LoadArgs>::parse_from(args.into_iter().chain(options.iter().copied())).args;
        let mut out = Vec::new();
        commands::load(&self.settings, &load, &mut out).await?;
        Ok(String::from_utf8(out).expect("text"))
    }

    /// Makes the broker refuse the next request to append, for good.
    pub(crate) fn refuse_next(&self) {
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        self.answer(RDKafkaApiKey::Produce, refusal, 1);
    }

    /// Makes the broker answer the next requests of a kind with an error.
    pub(crate) fn answer(&self, kind: RDKafkaApiKey, error: RDKafkaRespErr, times: usize) {
        self.cluster.request_errors(kind, &vec![error; times]);
    }

    /// Makes the broker answer requests of a kind well again.
    pub(crate) fn answer_well(&self, kind: RDKafkaApiKey) {
        self.cluster.clear_request_errors(kind);
    }

    /// Returns the control record of a run.
    pub(crate) async fn record(&self, name: &str) -> ControlRecord {
        let state = control::read(&self.settings).await.expect("control records");
        serde_json::from_slice(&state.runs[name]).expect("a control record")
    }

    /// Returns what a run must add up to.
    pub(crate) async fn expected(&self, name: &str) -> (RunId, Tally) {
        let record = self.record(name).await;
        let simulation = Simulation::try_new(record.specification).expect("a good specification");
        (record.run, ledger::run(&Arc::new(simulation), WINDOW))
    }

    /// Returns how many events of a run are emitted before a time.
    pub(crate) async fn due(&self, name: &str, before: SimTime) -> u64 {
        let specification = self.record(name).await.specification;
        let simulation = Arc::new(Simulation::try_new(specification).expect("a specification"));
        let events = LaneId::all(LANES).flat_map(|lane| simulation.lane(lane));
        events.filter(|event| event.emission_time < before).count() as u64
    }

    pub(crate) async fn pause(&self, name: &str) {
        let args = Named::<NameArgs>::parse_from(["pause", name]).args;
        commands::pause(&self.settings, &args, &mut std::io::sink()).await.expect("paused");
    }

    pub(crate) async fn resume_at_full_speed(&self, name: &str) {
        let args = Named::<ResumeArgs>::parse_from(["resume", name, "--speed", "max"]).args;
        commands::resume(&self.settings, &args, &mut std::io::sink()).await.expect("resumed");
    }

    /// Puts a control record in the place of a run's, as another release might.
    pub(crate) async fn write_record(&self, name: &str, record: &[u8]) {
        control::write(&self.settings, name, record).await.expect("written");
    }

    /// Returns the keys of `roaming.lanes` that a compacted topic would hold.
    pub(crate) async fn progress_keys(&self) -> BTreeSet<String> {
        let mut reader = TopicReader::open(&self.settings, topics::LANES).await.expect("a reader");
        let mut keys = BTreeSet::new();
        while let Read::Record(record) = reader.next().await.expect("a record") {
            let key = String::from_utf8(record.key).expect("text");
            match record.payload {
                Some(_) => keys.insert(key),
                None => keys.remove(&key),
            };
        }
        keys
    }

    /// Reads all that stands on `roaming.events`.
    pub(crate) async fn log(&self) -> Log {
        let mut reader = TopicReader::open(&self.settings, topics::EVENTS).await.expect("a reader");
        let mut log = Log::default();
        while let Read::Record(record) = reader.next().await.expect("a record") {
            log.add(record.partition, &record.key, &record.payload.expect("a payload"));
        }
        log
    }
}

/// The profile `demo` with so many subscribers.
pub(crate) fn small_profile(subscribers: u32) -> String {
    let mut found = 0;
    let line = |line: &str| {
        if line.starts_with("subscribers:") {
            found += 1;
            return format!("subscribers: {subscribers}\n");
        }
        format!("{line}\n")
    };
    let profile = BUILTIN[0].1.lines().map(line).collect();
    assert_eq!(found, 1);
    profile
}

/// What stands on the topic, lane by lane; computed from its bytes alone.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) lanes: BTreeMap<(RunId, LaneId), LoggedLane>,
    /// The latest emission time of any event.
    pub(crate) latest: SimTime,
}

#[derive(Debug, Default)]
pub(crate) struct LoggedLane {
    /// First occurrences.
    pub(crate) tally: LaneTally,
    pub(crate) repeated: u64,
    pub(crate) ended: bool,
    /// The time of the last marker.
    pub(crate) marked: SimTime,
}

impl Log {
    /// Adds a record; fails at a sequence that jumps, and at a record in a partition not its own.
    fn add(&mut self, partition: u16, key: &[u8], payload: &[u8]) {
        let record = Record::decode(key, payload).expect("a good record");
        let id = record.id();
        assert_eq!(id.lane.partition(EVENTS_PARTITIONS), partition);
        let lane = self.lanes.entry((id.run, id.lane)).or_default();
        let next = lane.tally.events;
        match record {
            Record::Event(event) => {
                assert!(id.sequence.get() <= next, "{} jumps over {next}", id.sequence);
                if id.sequence.get() == next {
                    lane.tally.add(key, payload);
                } else {
                    lane.repeated += 1;
                }
                self.latest = self.latest.max(event.emission_time);
            }
            Record::End(_) => {
                assert_eq!(id.sequence.get(), next, "an end marker names the number of events");
                lane.ended = true;
            }
            Record::Marker(marker) => lane.marked = marker.emission_time,
        }
    }

    /// Fails unless the log holds every lane of the run to its end, byte for byte.
    #[track_caller]
    pub(crate) fn assert_holds(&self, run: RunId, expected: &Tally) {
        assert_eq!(expected.lanes.len(), usize::from(LANES));
        for (&lane, tally) in &expected.lanes {
            let found = &self.lanes[&(run, lane)];
            assert_eq!(found.tally, *tally, "lane {lane}");
            assert!(found.ended, "lane {lane}");
        }
    }

    /// Returns how many different events of a run there are.
    pub(crate) fn events_of(&self, run: RunId) -> u64 {
        let lanes = self.lanes.iter().filter(|((of, _), _)| *of == run);
        lanes.map(|(_, lane)| lane.tally.events).sum()
    }

    pub(crate) fn repeated(&self) -> u64 {
        self.lanes.values().map(|lane| lane.repeated).sum()
    }

    pub(crate) fn events(&self) -> u64 {
        self.lanes.values().map(|lane| lane.tally.events).sum()
    }
}

/// Waits until `condition` holds; fails where it does not in time.
#[track_caller]
pub(crate) fn within_deadline(what: &'static str) -> impl AsyncFn(&dyn Fn() -> bool) {
    let start = Instant::now();
    async move |condition: &dyn Fn() -> bool| {
        while !condition() {
            assert!(start.elapsed() < DEADLINE, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
