//! What can go wrong with a store, and what that asks for.

use std::path::PathBuf;

/// What the database behind a store says.
pub type DatabaseError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder that should hold the store does not exist.
    #[error("folder {} for the store does not exist; create it, name another with --store, or name a PostgreSQL database with --postgres-dsn or POSTGRES_DSN", folder.display())]
    FolderMissing {
        /// The missing folder.
        folder: PathBuf,
    },
    /// There is no store, and none was to be created.
    #[error(
        "no store at {store}; name the one that the consumer writes with --store or --postgres-dsn"
    )]
    NotFound {
        /// Where it was looked for.
        store: String,
    },
    /// The file may not be written.
    #[error("store {} is read-only; give the user of this process write access to it and its folder, name another with --store, or name a PostgreSQL database with --postgres-dsn or POSTGRES_DSN", path.display())]
    ReadOnly {
        /// The store.
        path: PathBuf,
    },
    /// The file cannot be opened.
    #[error("store {} cannot be opened; check that it is a file in a folder that this process may write to, name another with --store, or name a PostgreSQL database with --postgres-dsn or POSTGRES_DSN", path.display())]
    CannotOpen {
        /// The store.
        path: PathBuf,
        /// What the database says.
        source: DatabaseError,
    },
    /// The file is no database, or what is there is another program's.
    #[error(
        "{store} is not a store of this program and is left as it is; name another with --store or --postgres-dsn"
    )]
    NotAStore {
        /// The file, or the schema of a database.
        store: String,
    },
    /// A newer version of the program has made or migrated the store.
    #[error(
        "store {store} has schema version {found}, this program knows versions up to {known}; use a newer roaming-consumer, or name another store with --store or --postgres-dsn"
    )]
    NewerSchema {
        /// The store.
        store: String,
        /// Its schema version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// An older version of the program has made the store, and whoever came does not migrate it.
    #[error(
        "store {store} has schema version {found}, and this program works with {known}; start the consumer of this release on it first, which migrates it"
    )]
    OlderSchema {
        /// The store.
        store: String,
        /// Its schema version.
        found: u32,
        /// The version that this program works with.
        known: u32,
    },
    /// What should be filled is not empty.
    #[error(
        "table {table} of {store} holds rows already, and all is left as it is; restore into a new database that no consumer was started on: `scripts/postgres-roles DSN NAME` makes one"
    )]
    NotEmpty {
        /// The database.
        store: String,
        /// The first table that holds a row.
        table: String,
    },
    /// The DSN cannot be used. Ends the process: it does not change while it runs.
    #[error(
        "the DSN of PostgreSQL cannot be used: {reason}; write it as postgres://role:password@host:5432/database (--postgres-dsn or POSTGRES_DSN)"
    )]
    WrongDsn {
        /// What is wrong with it, without a password.
        reason: String,
    },
    /// The server does not let the role in (SQLSTATE class 28). Ends the process: another password takes
    /// another start.
    #[error(
        "PostgreSQL does not let the role in; check role and password of --postgres-dsn or POSTGRES_DSN, and the server's pg_hba.conf"
    )]
    WrongIdentity {
        /// What the database says.
        source: DatabaseError,
    },
    /// One side does not accept the other's certificate, or there is no TLS. Ends the process: files that
    /// do not fit together take a person.
    #[error(
        "no TLS connection to PostgreSQL; check sslmode, sslrootcert, sslcert and sslkey of --postgres-dsn or POSTGRES_DSN against the server's certificate"
    )]
    Tls {
        /// What the TLS library says.
        source: DatabaseError,
    },
    /// The server has no such database (3D000). Ends the process: it could be misspelt.
    #[error(
        "PostgreSQL has no such database; make it with scripts/postgres-roles, or name another with --postgres-dsn or POSTGRES_DSN"
    )]
    NoDatabase {
        /// What the database says.
        source: DatabaseError,
    },
    /// The role lacks a right (42501), from the start or since it was revoked. Ends the process: a person
    /// must grant it.
    #[error(
        "the role lacks a right that the consumer needs; grant it with scripts/postgres-roles, and start the consumer again, nothing is lost"
    )]
    NoRight {
        /// What the database says.
        source: DatabaseError,
    },
    /// The database takes no writes (25006): a standby, or `default_transaction_read_only`. Waited for:
    /// after a failover the next connection may find the primary.
    #[error(
        "PostgreSQL takes no writes; point --postgres-dsn at the primary and at the role that may write (scripts/postgres-roles: roaming, not roaming_reader), or set default_transaction_read_only of the database to off, the consumer then goes on by itself and has lost nothing"
    )]
    WritesRefused {
        /// What the database says.
        source: DatabaseError,
    },
    /// The store's offsets belong to another log.
    #[error(
        "the store holds run data of log {found}, but the broker's log is {expected}; give the consumer a new store with --store or --postgres-dsn, or point it at the broker that the store belongs to"
    )]
    OtherLog {
        /// The token of the log that was offered.
        expected: String,
        /// The token that the store is tied to.
        found: String,
    },
    /// The store's rows were made with windows of another length.
    #[error(
        "the store holds windows of {found_ms} ms, but the configuration says {expected_ms} ms; keep the window length, or give the consumer a new store with --store or --postgres-dsn"
    )]
    OtherWindow {
        /// The length that was offered, in milliseconds.
        expected_ms: u64,
        /// The length that the store is tied to, in milliseconds.
        found_ms: u64,
    },
    /// The partition has another owner now.
    #[error("partition {partition} was acquired by another owner after epoch {epoch}")]
    Fenced {
        /// The partition.
        partition: u16,
        /// The epoch of the refused checkpoint.
        epoch: i64,
    },
    /// It is unknown whether the transaction counts.
    #[error("the outcome of a checkpoint of partition {partition} is unknown")]
    UnknownOutcome {
        /// The partition.
        partition: u16,
        /// What the database says.
        source: DatabaseError,
    },
    /// There is no room for more.
    #[error(
        "the store is full; free space on its disk, the consumer then goes on by itself and has lost nothing"
    )]
    Full {
        /// What the database says.
        source: DatabaseError,
    },
    /// What passes: another process holds the store for longer than the time limit, a connection is lost
    /// or cannot be made, the server is starting, stopping, out of connections, or does not answer. Waited
    /// for, at start too.
    #[error("the store is not available at the moment")]
    Unavailable {
        /// What the database says.
        source: DatabaseError,
    },
    /// A stored value is not one that this program writes.
    #[error(
        "table {table} holds {value} in column {column}, which this program never writes; restore the store from a copy"
    )]
    Damaged {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// The database refuses a statement for a reason that trying again does not remove.
    #[error("the store refused to {operation}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// What the database says.
        source: DatabaseError,
    },
}

/// What an error asks the caller to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try the same again after a pause; nothing was written.
    Retry,
    /// Throw the partition's state away, acquire it again and reload: the state in memory may not be
    /// what stands in the store.
    Fence,
    /// Stop and say so: a person must act.
    Fatal,
}

impl StoreError {
    /// Returns what the error asks for.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Full { .. } | Self::Unavailable { .. } | Self::WritesRefused { .. } => {
                Disposition::Retry
            }
            Self::Fenced { .. } | Self::UnknownOutcome { .. } => Disposition::Fence,
            _ => Disposition::Fatal,
        }
    }

    /// Whether it takes another setting, right or database, and not another attempt.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::FolderMissing { .. }
                | Self::NotFound { .. }
                | Self::ReadOnly { .. }
                | Self::CannotOpen { .. }
                | Self::NotAStore { .. }
                | Self::NewerSchema { .. }
                | Self::OlderSchema { .. }
                | Self::NotEmpty { .. }
                | Self::WrongDsn { .. }
                | Self::WrongIdentity { .. }
                | Self::Tls { .. }
                | Self::NoDatabase { .. }
                | Self::NoRight { .. }
                | Self::OtherLog { .. }
                | Self::OtherWindow { .. }
        )
    }

    /// All that [`kind`](Self::kind) returns.
    pub const KINDS: [&str; 6] = [
        "store_full",
        "store_unavailable",
        "store_read_only",
        "store_fenced",
        "store_unknown_outcome",
        "store_refused",
    ];

    /// Returns a short name, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Full { .. } => "store_full",
            Self::Unavailable { .. } => "store_unavailable",
            Self::WritesRefused { .. } => "store_read_only",
            Self::Fenced { .. } => "store_fenced",
            Self::UnknownOutcome { .. } => "store_unknown_outcome",
            _ => "store_refused",
        }
    }
}
