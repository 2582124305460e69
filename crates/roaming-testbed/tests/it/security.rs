//! Secure connections: the right identity does its work with the fewest rights, each wrong one is refused and
//! told why.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roaming_testbed::services::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use roaming_testbed::trial::finished;
use roaming_testbed::wait::wait_until;
use roaming_testbed::{Platform, tell};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(2);
/// Nobody granted anything to the last one.
const CLIENTS: [&str; 6] = [
    "roaming-producer",
    "roaming-consumer",
    "roaming-operator",
    "roaming-reader",
    "admin",
    "passer-by",
];
/// Status of what failed, and of what was started with settings that cannot work.
const FAILED: i32 = 1;
const USAGE: i32 = 64;
const ACLS: &str = "org.apache.kafka.tools.AclCommand";

/// How clients show who they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Password,
    Certificate,
}

/// Services that let in only who shows who he is, and that may do only what `scripts/kafka-acls` and
/// `scripts/postgres-roles` grant.
struct Secure {
    by: By,
    certificates: TempDir,
    /// Kept for as long as the platform that stores in it.
    _postgres: Postgres,
    database: String,
}

impl Secure {
    fn start(by: By) -> Result<(Self, Platform)> {
        let certificates = TempDir::new()?;
        let folder = certificates.path();
        script("certificates", |command| command.arg(folder).args(CLIENTS))?;
        let kafka = Kafka::start(&kafka_options(by, folder)?);
        let launcher = folder.join("kafka-acls.sh");
        let services = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services");
        std::fs::write(
            &launcher,
            format!("#!/bin/sh\nexec {services} kafka-tool {ACLS} \"$@\"\n"),
        )?;
        Command::new("chmod").arg("+x").arg(&launcher).status()?;
        script("kafka-acls", |command| {
            command.args(kafka.tool_arguments()).env("KAFKA_ACLS", &launcher)
        })?;

        let certificate = Some((folder.join("server.pem"), folder.join("server.key")));
        let postgres =
            Postgres::start(&PostgresOptions { certificate, ..PostgresOptions::default() });
        let admin = postgres.dsn();
        script("postgres-roles", |command| {
            command
                .arg(&admin)
                .env("ROAMING_WRITER_PASSWORD", "writer-secret")
                .env("ROAMING_READER_PASSWORD", "reader-secret")
        })?;
        let database = postgres.dsn_of("roaming");
        let database = database.split_once('@').context("a DSN has a server")?.1.to_owned();
        let secure = Self { by, certificates, _postgres: postgres, database };
        let dsn = secure.dsn("roaming:writer-secret", "ca.pem");
        let platform = Platform::on(kafka, dsn)?;
        Ok((secure, platform))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.certificates.path().join(name)
    }

    fn dsn(&self, role: &str, ca: &str) -> String {
        let ca = self.file(ca);
        format!(
            "postgres://{role}@{}?sslmode=verify-full&sslrootcert={}",
            self.database,
            ca.display()
        )
    }

    /// Returns a command of the product that shows who it is.
    fn command(&self, platform: &Platform, program: &str, who: &str) -> Result<Command> {
        let mut command = platform.command(program)?;
        command.env("ROAMING_KAFKA_CA", self.file("ca.pem"));
        match self.by {
            By::Password => command
                .env("ROAMING_KAFKA_SECURITY", "sasl_ssl")
                .env("ROAMING_KAFKA_USERNAME", who)
                .env("ROAMING_KAFKA_PASSWORD", format!("{who}-secret")),
            By::Certificate => command
                .env("ROAMING_KAFKA_SECURITY", "ssl")
                .env("ROAMING_KAFKA_CERTIFICATE", self.file(&format!("{who}.pem")))
                .env("ROAMING_KAFKA_KEY", self.file(&format!("{who}.key"))),
        };
        Ok(command)
    }

    fn operator(&self, platform: &Platform, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(platform, "roaming-producer", "roaming-operator")?;
        let output = command.args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(())
    }
}

/// Runs a script of the project.
fn script(name: &str, prepare: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name);
    let output = prepare(&mut Command::new(path)).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scripts/{name} ended with {}: {said}", output.status);
    Ok(())
}

fn kafka_options(by: By, folder: &Path) -> Result<KafkaOptions> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    for name in ["server", "admin"] {
        let both = read(&format!("{name}.key"))? + &read(&format!("{name}.pem"))?;
        std::fs::write(folder.join(format!("{name}.keystore.pem")), both)?;
    }
    let folder = folder.display();
    let truststore = format!("ssl.truststore.type=PEM\nssl.truststore.location={folder}/ca.pem\n");
    let common = format!(
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
# The controller's listener, on loopback, knows nobody by name.
super.users=User:admin;User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.keystore.pem
{truststore}"
    );
    let login = r#"org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="admin-secret";"#;
    Ok(match by {
        By::Password => KafkaOptions {
            properties: format!(
                "{common}listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config={login}
"
            ),
            storage_options: CLIENTS
                .map(|who| format!("--add-scram SCRAM-SHA-512=[name={who},password={who}-secret]"))
                .join(" "),
            tool_properties: format!(
                "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={login}\n{truststore}"
            ),
            ..KafkaOptions::default()
        },
        By::Certificate => KafkaOptions {
            properties: format!(
                "{common}listener.security.protocol.map=CLIENTS:SSL,CONTROLLER:PLAINTEXT
ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+)$/$1/
"
            ),
            tool_properties: format!(
                "security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location={folder}/admin.keystore.pem\n{truststore}"
            ),
            ..KafkaOptions::default()
        },
    })
}

#[test]
fn passwords_and_the_fewest_rights_suffice_and_a_lost_right_comes_back() -> Result<()> {
    let (secure, platform) = Secure::start(By::Password)?;
    platform.run(|platform| a_run(&secure, platform, Some(lose_rights)))
}

#[test]
fn certificates_and_the_fewest_rights_suffice() -> Result<()> {
    let (secure, platform) = Secure::start(By::Certificate)?;
    platform.run(|platform| a_run(&secure, platform, None))
}

type Disturbance = fn(&Platform, &mut roaming_testbed::Daemon) -> Result<()>;

/// A run from topics to verification, each step by who is to do it; then the wrong identities.
fn a_run(secure: &Secure, platform: &Platform, disturb: Option<Disturbance>) -> Result<()> {
    secure.operator(platform, &["topics", "create"])?;
    secure.operator(platform, &["topics", "check"])?;
    let mut producer = secure.command(platform, "roaming-producer", "roaming-producer")?;
    let mut producer =
        platform.daemon("producer", producer.args(["run", "--listen", "127.0.0.1:0"]))?;
    let mut consumer = secure.command(platform, "roaming-consumer", "roaming-consumer")?;
    let mut consumer =
        platform.daemon("consumer", consumer.args(["run", "--listen", "127.0.0.1:0"]))?;
    let run = ["scenarios", "load", "--profile", "demo", "--speed", "500"];
    secure.operator(platform, &run)?;
    wait_until("some events", LIMIT, || {
        Ok(consumer.metric("roaming_events_processed_total")? > 10_000)
    })?;
    if let Some(disturb) = disturb {
        disturb(platform, &mut producer)?;
    }
    secure.operator(platform, &["scenarios", "speed", "demo", "max"])?;
    finished(&mut consumer, "demo", LIMIT)?;
    secure.operator(platform, &["scenarios", "status"])?;
    platform.consumer_command(&["verify", "--run", "demo"])?;
    // A producer that lost a right on purpose has told so.
    let undisturbed = if disturb.is_some() { vec![&consumer] } else { vec![&producer, &consumer] };
    for daemon in undisturbed {
        ensure!(
            daemon.lines_with("uthorization failed")? == 0,
            "a right is missing: {}",
            daemon.log()?
        );
    }
    wrong_identities(secure, platform)
}

/// How long the producer must not call itself ready while it may write events and no progress: longer than it
/// waits for progress to be lost.
const UNREADY_FOR: Duration = Duration::from_secs(8);

/// Takes the right to write to a topic away in the middle of a run, and gives it back.
fn lose_rights(platform: &Platform, producer: &mut roaming_testbed::Daemon) -> Result<()> {
    for topic in ["roaming.events", "roaming.lanes"] {
        lose_a_right(platform, producer, topic)?;
    }
    Ok(())
}

fn lose_a_right(
    platform: &Platform,
    producer: &mut roaming_testbed::Daemon,
    topic: &str,
) -> Result<()> {
    let right = [
        "--force",
        "--allow-principal",
        "User:roaming-producer",
        "--operation",
        "Write",
        "--topic",
        topic,
    ];
    platform.kafka.tool(ACLS, &[&["--remove"], &right[..]].concat());
    wait_until("a lost right in /readyz", LIMIT, || {
        let said = producer.get("/readyz")?;
        Ok(said.contains(topic) && said.contains("grant this client the right to write there"))
    })?;
    tell!("| right to write {topic} lost in a run | /readyz | {} |", producer.get("/readyz")?);
    let start = Instant::now();
    while start.elapsed() < UNREADY_FOR {
        let said = producer.get("/readyz")?;
        ensure!(said.contains("grant this client"), "ready without the right: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
    platform.kafka.tool(ACLS, &[&["--add"], &right[..]].concat());
    wait_until("a ready producer", LIMIT, || {
        Ok(producer.get("/readyz")?.contains(r#""reasons":{}"#))
    })?;
    Ok(())
}

/// Each is refused, within seconds, and told why in the words of who found out: the library, or the service.
fn wrong_identities(secure: &Secure, platform: &Platform) -> Result<()> {
    let daemon = ["run", "--listen", "127.0.0.1:0"];
    let kafka = |what: &str, says: &str, change: &dyn Fn(&mut Command)| -> Result<()> {
        let mut command = secure.command(platform, "roaming-producer", "roaming-producer")?;
        change(&mut command);
        refused(platform, what, FAILED, says, command.args(daemon))
    };
    let localhost = platform.kafka.bootstrap_servers().replace("127.0.0.1", "localhost");
    kafka("broker of another authority", "certificate verify failed", &|command| {
        command.env("ROAMING_KAFKA_CA", secure.file("other-ca.pem"));
    })?;
    kafka("broker of another name", "certificate verify failed", &|command| {
        command.env("BOOTSTRAP_SERVERS", &localhost);
    })?;
    match secure.by {
        By::Password => {
            kafka("wrong password", "invalid credentials", &|command| {
                command.env("ROAMING_KAFKA_PASSWORD", "guessed");
            })?;
            let mut reader = secure.command(platform, "load-scenarios", "roaming-reader")?;
            let load = ["--profile", "demo", "--name", "theirs"];
            let says = "Cluster authorization failed";
            refused(platform, "missing right", FAILED, says, reader.args(load))?;
            let mut reader = secure.command(platform, "roaming-producer", "roaming-reader")?;
            let says = "does not allow this client to create topic roaming.";
            refused(platform, "missing right", FAILED, says, reader.args(["topics", "create"]))?;
        }
        By::Certificate => {
            // A certificate of an authority that the broker does not name is not even shown to it. For the
            // missing one older Javas send alert 42, bad certificate, and newer ones 116, certificate required.
            for (wrong, says) in
                [("stranger", "SSL alert number"), ("expired", "alert certificate unknown")]
            {
                kafka(&format!("certificate {wrong}"), says, &|command| {
                    command
                        .env("ROAMING_KAFKA_CERTIFICATE", secure.file(&format!("{wrong}.pem")))
                        .env("ROAMING_KAFKA_KEY", secure.file(&format!("{wrong}.key")));
                })?;
            }
        }
    }
    // Who he is, is beyond doubt; but nobody granted him anything.
    for program in ["roaming-producer", "roaming-consumer"] {
        let what = format!("{program} of a name without rights");
        let mut command = secure.command(platform, program, "passer-by")?;
        refused(platform, &what, FAILED, "Topic authorization failed", command.args(daemon))?;
    }
    let store = |what: &str, says: &str, dsn: String| -> Result<()> {
        let mut command = secure.command(platform, "roaming-consumer", "roaming-consumer")?;
        refused(platform, what, USAGE, says, command.env("POSTGRES_DSN", dsn).args(daemon))
    };
    store(
        "database of another authority",
        "unable to get local issuer certificate",
        secure.dsn("roaming:writer-secret", "other-ca.pem"),
    )?;
    store(
        "database of another name",
        "hostname mismatch",
        secure.dsn("roaming:writer-secret", "ca.pem").replace("127.0.0.1", "localhost"),
    )?;
    store("wrong database password", "SQLSTATE 28P01", secure.dsn("roaming:guessed", "ca.pem"))?;
    // What it may not do, it may not do either where nothing keeps it to reading.
    store(
        "wrong database role",
        "the role lacks a right",
        format!(
            "{}&options=-c%20default_transaction_read_only%3Doff",
            secure.dsn("roaming_reader:reader-secret", "ca.pem")
        ),
    )?;
    // A database that takes no writes may take some later, as after a failover: the consumer waits.
    let mut reader = secure.command(platform, "roaming-consumer", "roaming-consumer")?;
    reader.env("POSTGRES_DSN", secure.dsn("roaming_reader:reader-secret", "ca.pem")).args(daemon);
    let mut reader = platform.daemon("reader", &reader)?;
    wait_until("a refused role in /readyz", LIMIT, || {
        Ok(reader.get("/readyz")?.contains("not roaming_reader"))
    })?;
    tell!("| wrong database role | /readyz | {} |", reader.get("/readyz")?);
    Ok(())
}

/// Runs a program that must end by itself, with `status`, and say why.
fn refused(
    platform: &Platform,
    what: &str,
    status: i32,
    says: &str,
    command: &Command,
) -> Result<()> {
    let mut program = platform.daemon(what, command)?;
    let ended = program.ended(LIMIT)?;
    let said = program.log()?;
    let last = said.lines().last().unwrap_or_default();
    let message = last.split("\"error\":\"").last().unwrap_or(last);
    tell!("| {what} | {ended} | {message} |");
    ensure!(ended.code() == Some(status), "{what}: {ended}, not {status}: {last}");
    ensure!(message.contains(says), "{what}: `{says}` is not in {last}");
    for secret in ["guessed", "-secret"] {
        ensure!(!said.contains(secret), "{what}: the password is shown: {said}");
    }
    Ok(())
}
