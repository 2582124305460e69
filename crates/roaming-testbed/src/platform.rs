//! One platform: services of its own, the topics, and what is started on them.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::services::{Kafka, KafkaOptions, Postgres};
use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::topic::{self, TopicEvents};
use crate::{Daemon, binaries};

/// Partitions of `roaming.events`, unless told otherwise.
pub(crate) const PARTITIONS: u16 = 8;

/// Apache Kafka and a database of PostgreSQL, with the topics made; all gone when dropped.
pub struct Platform {
    /// The brokers.
    pub kafka: Kafka,
    /// Where the consumers store.
    pub dsn: String,
    folder: TempDir,
}

impl Platform {
    /// Runs a test on a platform of its own. Where it fails the logs of its daemons are kept.
    ///
    /// # Errors
    /// Fails where the test does, and says where the logs are.
    pub fn with<T>(
        postgres: &Postgres,
        kafka: &KafkaOptions,
        test: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let platform = Self::on(Kafka::start(kafka), postgres.create_database())?;
        platform.producer_command(&["topics", "create"])?;
        platform.run(test)
    }

    /// Makes a platform of services that run already; the topics are not made.
    ///
    /// # Errors
    /// Fails where there is no folder for logs.
    pub fn on(kafka: Kafka, dsn: String) -> Result<Self> {
        let folder = TempDir::with_prefix("roaming-").context("no folder for logs")?;
        Ok(Self { kafka, dsn, folder })
    }

    /// Runs a test. Where it fails the logs of the daemons are kept.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn run<T>(self, test: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let mut platform = self;
        let result = test(&platform);
        if result.is_err() {
            platform.folder.disable_cleanup(true);
        }
        result.with_context(|| format!("the logs are in {}", platform.folder().display()))
    }

    /// Starts a producer.
    ///
    /// # Errors
    /// Fails where it cannot be started.
    pub fn producer(&self, name: &str) -> Result<Daemon> {
        let mut command = self.command("roaming-producer")?;
        command.args(["run", "--listen", "127.0.0.1:0"]);
        self.daemon(name, &command)
    }

    /// Starts a consumer.
    ///
    /// # Errors
    /// As [`producer`](Self::producer).
    pub fn consumer(&self, name: &str) -> Result<Daemon> {
        let mut command = self.command("roaming-consumer")?;
        command.args(["run", "--listen", "127.0.0.1:0"]);
        self.daemon(name, &command)
    }

    /// Starts a daemon by its command; its log is among those of the platform.
    ///
    /// # Errors
    /// As [`producer`](Self::producer).
    pub fn daemon(&self, name: &str, command: &Command) -> Result<Daemon> {
        Daemon::start(name, command, self.folder())
    }

    /// Runs a command of the producer to its end and returns what it printed.
    ///
    /// # Errors
    /// Fails where its status is not 0, with what it said.
    pub fn producer_command(&self, arguments: &[&str]) -> Result<String> {
        successful(self.command("roaming-producer")?.args(arguments))
    }

    /// The same for the consumer.
    ///
    /// # Errors
    /// As [`producer_command`](Self::producer_command).
    pub fn consumer_command(&self, arguments: &[&str]) -> Result<String> {
        successful(self.command("roaming-consumer")?.args(arguments))
    }

    /// Returns a command of the product that knows where the services are.
    ///
    /// # Errors
    /// Fails where the binaries cannot be built.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(binaries::path(program)?);
        // What the person who runs the tests has set is not for the programs under test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROAMING_") {
                command.env_remove(name);
            }
        }
        command
            .env("BOOTSTRAP_SERVERS", self.kafka.bootstrap_servers())
            .env("POSTGRES_DSN", &self.dsn)
            .current_dir(self.folder());
        Ok(command)
    }

    /// Returns how many records of a run repeat another one that is on the topic by now.
    ///
    /// # Errors
    /// Fails where the topic cannot be read, or a repetition differs from what it repeats.
    pub fn repeated(&self, run: &[&str]) -> Result<u64> {
        let lanes = self.lanes_folder()?;
        Ok(self.read_topic(run, lanes.path())?.duplicates)
    }

    /// Reads the events of a run from the topic and compares them, octet for octet, with what
    /// `roaming-producer generate` prints for the same arguments.
    ///
    /// # Errors
    /// Fails where they differ.
    pub fn compare_with_generated(&self, run: &[&str]) -> Result<TopicEvents> {
        let lanes = self.lanes_folder()?;
        let events = self.read_topic(run, lanes.path())?;
        let mut generate = self
            .command("roaming-producer")?
            .arg("generate")
            .args(run)
            .stdout(Stdio::piped())
            .spawn()
            .context("generate cannot be started")?;
        let output = generate.stdout.take().context("generate has no output")?;
        events.compare(&mut BufReader::with_capacity(1 << 20, output))?;
        let status = generate.wait()?;
        ensure!(status.success(), "generate ended with {status}");
        Ok(events)
    }

    /// Returns where each partition of `roaming.events` ends, by Kafka: the offset of the next record.
    ///
    /// # Errors
    /// Fails where not all of them can be had.
    pub fn topic_ends(&self) -> Result<BTreeMap<u16, u64>> {
        let mut kcat = Command::new("kcat");
        kcat.args(["-b", &self.kafka.bootstrap_servers(), "-Q"]);
        for partition in 0..PARTITIONS {
            kcat.args(["-t", &format!("roaming.events:{partition}:-1")]);
        }
        let ends = successful(&mut kcat)?;
        let end = |line: &str| {
            let (partition, offset) = line.split_once('[')?.1.split_once("] offset ")?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let ends: BTreeMap<_, _> = ends.lines().filter_map(end).collect();
        ensure!(ends.len() == usize::from(PARTITIONS), "not all partitions answer: {ends:?}");
        Ok(ends)
    }

    /// Returns how many events of a run are on the topic, each counted once, whatever is missing.
    ///
    /// # Errors
    /// Fails where the topic cannot be read.
    pub fn events_on_topic(&self, run: &[&str]) -> Result<u64> {
        topic::count(&self.kcat(), &self.generated_key_prefix(run)?)
    }

    fn lanes_folder(&self) -> Result<TempDir> {
        TempDir::new_in(self.folder()).context("no folder for lanes")
    }

    fn read_topic(&self, run: &[&str], lanes: &Path) -> Result<TopicEvents> {
        let first = self.generated_key_prefix(run)?;
        topic::read(&self.kcat(), &first, lanes)
    }

    fn kcat(&self) -> [String; 2] {
        ["-b".to_owned(), self.kafka.bootstrap_servers()]
    }

    /// What the ids of a run's events begin with.
    fn generated_key_prefix(&self, run: &[&str]) -> Result<String> {
        let mut arguments = vec!["generate"];
        arguments.extend(run);
        arguments.extend(["--lane", "0"]);
        let events = self.producer_command(&arguments)?;
        let id = events.split_once("\"id\":\"").context("lane 0 has no event")?.1;
        Ok(id[..8].to_owned())
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn successful(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().context("it cannot be started")?;
    let said = String::from_utf8_lossy(&stderr);
    ensure!(status.success(), "{command:?} ended with {status}: {said}");
    String::from_utf8(stdout).context("it printed no text")
}
