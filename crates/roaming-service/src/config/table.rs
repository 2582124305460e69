//! All settings of all programs.

use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::setting::{InLab, Kind, Program, Setting, Spelling};

/// Declares each setting, its comment the text for people, and a list of them all.
macro_rules! settings {
    ($($(#[doc = $about:literal])+ $name:ident { $($field:ident: $value:expr),+ $(,)? })+) => {
        $(
            $(#[doc = $about])+
            pub static $name: Setting = Setting {
                about: concat!($($about),+),
                $($field: $value,)+
                ..PLAIN
            };
        )+

        /// Every setting of every program, in the order of the reference page.
        pub static ALL: &[&Setting] = &[$(&$name),+];
    };
}

/// What most settings have in common.
const PLAIN: Setting = Setting {
    key: "",
    env: "",
    flag: "",
    kind: TEXT,
    default: None,
    lab: None,
    secret: false,
    about: "",
    moves: "",
    programs: &[],
};

const EVERYONE: &[Program] =
    &[Program::Producer, Program::LoadScenarios, Program::Consumer, Program::Jobs, Program::Lab];
const JOBS: &[Program] = &[Program::Jobs];
const CLIENTS: &[Program] = &[Program::Producer, Program::LoadScenarios, Program::Consumer];
const MEMBERS: &[Program] = &[Program::Producer, Program::Consumer];
const LOADERS: &[Program] = &[Program::Producer, Program::LoadScenarios, Program::Lab];

const TEXT: Kind = Kind::Text { check: |text| !text.trim().is_empty(), allowed: "any text" };
const PLACE: Kind = Kind::Text {
    check: |text| text.starts_with("file:///") || text.starts_with("s3://"),
    allowed: "file:///folder or s3://bucket/folder",
};
const ADDRESS: Kind = Kind::Text {
    check: |text| text.parse::<SocketAddr>().is_ok(),
    allowed: "an IP address and a port, such as 127.0.0.1:9102",
};

settings! {
    /// File with settings, in YAML; see reference-config.yaml
    CONFIG {
        key: "config",
        env: "ROAMING_CONFIG",
        flag: "config",
        kind: Kind::File,
        moves: "every setting that is given neither by a flag nor by a variable",
        programs: EVERYONE,
    }
    /// What is logged: a level, or `target=level` separated by commas
    LOG {
        key: "telemetry.log",
        env: "ROAMING_LOG",
        flag: "log",
        kind: Kind::Text {
            check: is_log_filter,
            allowed: "a level (off, error, warn, info, debug or trace), or several of `target=level` separated by commas",
        },
        default: Some("info"),
        lab: Some(InLab { flag: "log", default: "warn" }),
        moves: "the number of lines on standard error",
        programs: EVERYONE,
    }
    /// Form of the log lines on standard error: for collectors, or for people
    LOG_FORMAT {
        key: "telemetry.log_format",
        env: "ROAMING_LOG_FORMAT",
        flag: "log-format",
        kind: Kind::Choice(&["json", "human"]),
        default: Some("json"),
        lab: Some(InLab { flag: "log-format", default: "human" }),
        moves: "nothing but the form",
        programs: EVERYONE,
    }
    /// Addresses of Kafka brokers, `host:port` separated by commas
    BOOTSTRAP_SERVERS {
        key: "kafka.bootstrap_servers",
        env: "BOOTSTRAP_SERVERS",
        flag: "bootstrap-servers",
        kind: Kind::Text {
            check: are_servers,
            allowed: "`host:port`, or several of them separated by commas",
        },
        default: Some("localhost:9092"),
        moves: "which cluster is used; two or three addresses let a start survive a broker that is down",
        programs: CLIENTS,
    }
    /// What protects the connections to the brokers
    KAFKA_SECURITY {
        key: "kafka.security",
        env: "ROAMING_KAFKA_SECURITY",
        flag: "kafka-security",
        kind: Kind::Choice(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]),
        default: Some("plaintext"),
        moves: "which listener of the brokers fits; `ssl` encrypts, `sasl_…` asks for a user",
        programs: CLIENTS,
    }
    /// PEM file of the authorities that sign the brokers' certificates; the system's where there is none
    KAFKA_CA {
        key: "kafka.ca",
        env: "ROAMING_KAFKA_CA",
        flag: "kafka-ca",
        kind: Kind::File,
        moves: "which brokers are believed",
        programs: CLIENTS,
    }
    /// PEM file of this client's certificate
    KAFKA_CERTIFICATE {
        key: "kafka.certificate",
        env: "ROAMING_KAFKA_CERTIFICATE",
        flag: "kafka-certificate",
        kind: Kind::File,
        moves: "who the brokers take this client for",
        programs: CLIENTS,
    }
    /// PEM file of the certificate's key
    KAFKA_KEY {
        key: "kafka.key",
        env: "ROAMING_KAFKA_KEY",
        flag: "kafka-key",
        kind: Kind::File,
        moves: "goes with the certificate",
        programs: CLIENTS,
    }
    /// SASL mechanism: the form in which the brokers know the passwords
    KAFKA_SASL_MECHANISM {
        key: "kafka.sasl_mechanism",
        env: "ROAMING_KAFKA_SASL_MECHANISM",
        flag: "kafka-sasl-mechanism",
        kind: Kind::Choice(&["scram-sha-256", "scram-sha-512"]),
        default: Some("scram-sha-512"),
        moves: "only whether the brokers know it",
        programs: CLIENTS,
    }
    /// SASL user
    KAFKA_USERNAME {
        key: "kafka.username",
        env: "ROAMING_KAFKA_USERNAME",
        flag: "kafka-username",
        moves: "who the brokers take this client for, and so what it may do",
        programs: CLIENTS,
    }
    /// The user's password
    KAFKA_PASSWORD {
        key: "kafka.password",
        env: "ROAMING_KAFKA_PASSWORD",
        flag: "kafka-password",
        secret: true,
        moves: "goes with the user",
        programs: CLIENTS,
    }
    /// Name of this replica in its consumer group, the same when it is started again and no other's (`group.instance.id`)
    KAFKA_INSTANCE {
        key: "kafka.instance",
        env: "ROAMING_KAFKA_INSTANCE",
        flag: "kafka-instance",
        kind: Kind::Text {
            check: |text| {
                let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                let is_name = (1..=249).contains(&text.len()) && text.chars().all(is_legal);
                is_name && text.chars().any(|c| c != '.')
            },
            allowed: "up to 249 letters, digits and `.`, `_`, `-`, not dots alone, such as consumer-1",
        },
        moves: "a replica that was killed and is started again at once goes on in some seconds; one that is stopped is missed only after 6 s; of two with one name one ends with status 1",
        programs: MEMBERS,
    }
    /// A profile's file, which is loaded where no profile is named, or a folder with profiles of your own, `NAME.yaml` each, which come before those of the same name
    SCENARIO_PATH {
        key: "scenarios.path",
        env: "SCENARIO_PATH",
        flag: "scenario-path",
        kind: Kind::FileOrFolder,
        moves: "what the profiles' names mean",
        programs: LOADERS,
    }
    /// Where the producer serves /metrics, /healthz and /readyz
    PRODUCER_LISTEN {
        key: "producer.listen",
        env: "ROAMING_PRODUCER_LISTEN",
        flag: "listen",
        kind: ADDRESS,
        default: Some("0.0.0.0:9101"),
        lab: Some(InLab { flag: "producer-listen", default: "127.0.0.1:9101" }),
        moves: "who can reach them; port 0 takes a free one",
        programs: &[Program::Producer, Program::Lab],
    }
    /// MiB that may stand unread in a partition of roaming.events before its lanes wait
    UNREAD_MIB {
        key: "producer.unread_mib",
        env: "ROAMING_PRODUCER_UNREAD_MIB",
        flag: "unread-mib",
        kind: Kind::Integer { min: 1, max: 1 << 20 },
        default: Some("64"),
        moves: "how far producers run ahead of consumers that fell behind; keep it far below the topic's retention",
        programs: &[Program::Producer],
    }
    /// Seconds that a stop of the producer may take
    PRODUCER_GRACE_S {
        key: "producer.grace_s",
        env: "ROAMING_PRODUCER_GRACE_S",
        flag: "grace-s",
        kind: Kind::Integer { min: 1, max: 3600 },
        default: Some("20"),
        moves: "when a stop that hangs is given up, naming what hung",
        programs: &[Program::Producer],
    }
    /// Where the consumer serves the live page, /metrics, /healthz and /readyz
    CONSUMER_LISTEN {
        key: "consumer.listen",
        env: "ROAMING_LISTEN",
        flag: "listen",
        kind: ADDRESS,
        default: Some("0.0.0.0:9102"),
        lab: Some(InLab { flag: "listen", default: "127.0.0.1:9102" }),
        moves: "who can reach them; port 0 takes a free one",
        programs: &[Program::Consumer, Program::Lab],
    }
    /// Length of an aggregate window in simulated minutes, fixed for the life of a store
    WINDOW_MINUTES {
        key: "consumer.window_minutes",
        env: "ROAMING_WINDOW_MINUTES",
        flag: "window-minutes",
        kind: Kind::Text {
            check: |text| text.parse().is_ok_and(|minutes: u16| minutes > 0 && 1440 % minutes == 0),
            allowed: "minutes that divide a day, such as 5, 15 or 60",
        },
        default: Some("15"),
        moves: "how fine the aggregates are, and how many rows the store holds",
        programs: &[Program::Consumer],
    }
    /// Milliseconds between two checkpoints of a partition
    FLUSH_INTERVAL_MS {
        key: "consumer.flush_interval_ms",
        env: "ROAMING_FLUSH_INTERVAL_MS",
        flag: "flush-interval-ms",
        kind: Kind::Integer { min: 10, max: 10_000 },
        default: Some("200"),
        moves: "longer: fewer and larger transactions; shorter: less is read again after a crash",
        programs: &[Program::Consumer],
    }
    /// File of the SQLite store, where no PostgreSQL is named in the same place or a stronger one
    STORE {
        key: "store.file",
        env: "ROAMING_STORE",
        flag: "store",
        default: Some("roaming.db"),
        moves: "where it is counted; a new file starts from the beginning of the topic",
        programs: &[Program::Consumer],
    }
    /// PostgreSQL database of the store, where no file is named in a stronger place: `postgres://role:password@host:5432/database`
    POSTGRES_DSN {
        key: "store.postgres_dsn",
        env: "POSTGRES_DSN",
        flag: "postgres-dsn",
        kind: Kind::Text {
            check: |text| {
                let text = text.trim();
                text.starts_with("postgres://") || text.starts_with("postgresql://")
            },
            allowed: "postgres://role:password@host:5432/database?sslmode=…",
        },
        secret: true,
        moves: "where it is counted, and whether several consumers can share the work; TLS is asked for in it",
        programs: &[Program::Consumer, Program::Jobs],
    }
    /// Where the schedule of the jobs serves /metrics, /healthz and /readyz
    JOBS_LISTEN {
        key: "jobs.listen",
        env: "ROAMING_JOBS_LISTEN",
        flag: "listen",
        kind: ADDRESS,
        default: Some("0.0.0.0:9103"),
        moves: "who can reach them; port 0 takes a free one",
        programs: JOBS,
    }
    /// Where backups are: `file:///folder` or `s3://bucket/folder`
    BACKUPS {
        key: "jobs.backups",
        env: "ROAMING_BACKUPS",
        flag: "backups",
        kind: PLACE,
        moves: "where backups are written and looked for",
        programs: JOBS,
    }
    /// Where runs that have ended are archived: `file:///folder` or `s3://bucket/folder`
    ARCHIVE {
        key: "jobs.archive",
        env: "ROAMING_ARCHIVE",
        flag: "archive",
        kind: PLACE,
        moves: "where they are written, and that clean-up waits for it",
        programs: JOBS,
    }
    /// Where weekly reports are written: `file:///folder` or `s3://bucket/folder`
    REPORTS {
        key: "jobs.reports",
        env: "ROAMING_REPORTS",
        flag: "reports",
        kind: PLACE,
        moves: "where they are written, and that the schedule makes them",
        programs: JOBS,
    }
    /// Days for which the rows of a run stay in the store after its end
    KEEP_DAYS {
        key: "jobs.keep_days",
        env: "ROAMING_KEEP_DAYS",
        flag: "keep-days",
        kind: Kind::Integer { min: 1, max: 36_500 },
        default: Some("30"),
        moves: "how large the store grows, and how long after its end a run can be verified",
        programs: JOBS,
    }
    /// Address of an object storage that speaks S3; Amazon's where there is none
    S3_ENDPOINT {
        key: "s3.endpoint",
        env: "ROAMING_S3_ENDPOINT",
        flag: "s3-endpoint",
        kind: Kind::Text {
            check: |text| text.starts_with("https://") || text.starts_with("http://"),
            allowed: "an address such as https://minio.example:9000",
        },
        moves: "who is asked for s3://…; http:// sends what is stored unencrypted",
        programs: JOBS,
    }
    /// Region of the object storage
    S3_REGION {
        key: "s3.region",
        env: "ROAMING_S3_REGION",
        flag: "s3-region",
        default: Some("us-east-1"),
        moves: "only whether the storage takes the requests' signatures",
        programs: JOBS,
    }
    /// Access key of the object storage
    S3_ACCESS_KEY {
        key: "s3.access_key",
        env: "ROAMING_S3_ACCESS_KEY",
        flag: "s3-access-key",
        secret: true,
        moves: "who the storage takes the jobs for",
        programs: JOBS,
    }
    /// Secret of the access key
    S3_SECRET_KEY {
        key: "s3.secret_key",
        env: "ROAMING_S3_SECRET_KEY",
        flag: "s3-secret-key",
        secret: true,
        moves: "goes with the access key",
        programs: JOBS,
    }
    /// Folder for the lab's store, made where it is missing; a fresh one among the temporary files where there is none
    LAB_DIR {
        key: "lab.dir",
        env: "ROAMING_LAB_DIR",
        flag: "dir",
        moves: "where the store stays after the run",
        programs: &[Program::Lab],
    }
}

/// Returns every way in which anything can be written.
pub(super) fn spellings() -> impl Iterator<Item = Spelling> {
    ALL.iter().flat_map(|setting| {
        // The lab has flags of its own, and nothing else.
        let (direct, by_file) = setting.spellings(Program::Consumer);
        std::iter::once(direct).chain(by_file)
    })
}

/// Whether each part is a level or has one. The library would take any other word for a target, and then log
/// nothing else.
fn is_log_filter(text: &str) -> bool {
    let has_level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    text.split(',').all(has_level) && EnvFilter::try_new(text).is_ok()
}

fn are_servers(text: &str) -> bool {
    let is_server = |server: &str| {
        server.trim().rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    text.split(',').all(is_server)
}
