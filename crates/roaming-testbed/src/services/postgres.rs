//! A PostgreSQL.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::folder::Folder;
use super::process::{Server, run, script};

/// How long the server may take to end.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// The superuser, who is the only user at first, and his password, both as in the script.
const SUPERUSER: &str = "postgres:roaming";

/// What kind of server is wanted.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Lines of `postgresql.conf` that come after, and so before, those of the script.
    pub settings: String,
    /// PEM files of the server's certificate and key; only connections with TLS are let in then.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// MiB of a disk of its own for the server's data, so that it can be full; needs root.
    pub disk_mib: Option<u32>,
}

/// A server; it is gone when dropped.
pub struct Postgres {
    server: Mutex<Option<Server>>,
    port: u16,
    has_own_disk: bool,
    databases: AtomicU32,
    // Dropped last: the server writes into it.
    folder: Folder,
}

impl Postgres {
    /// Returns the server that all tests of this process share, each with databases of its own. It is
    /// gone when the process ends.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&PostgresOptions::default()))
    }

    /// Starts a server and waits until it serves.
    #[track_caller]
    pub fn start(options: &PostgresOptions) -> Self {
        let folder = Folder::create("roaming-postgres-");
        let dir = folder.path();
        let settings = dir.join("further.conf");
        fs::write(&settings, &options.settings).expect("the settings can be written");
        let mut prepare = script("postgres");
        prepare.arg(dir).arg(&settings);
        if let Some((certificate, key)) = &options.certificate {
            prepare.env("TLS_CERTIFICATE", certificate).env("TLS_KEY", key);
        }
        if let Some(disk_mib) = options.disk_mib {
            prepare.env("DISK_MIB", disk_mib.to_string());
        }
        run(&mut prepare);
        let port = fs::read_to_string(dir.join("port")).expect("a port");
        let postgres = Self {
            server: Mutex::default(),
            port: port.trim().parse().expect("a port"),
            has_own_disk: options.disk_mib.is_some(),
            databases: AtomicU32::default(),
            folder,
        };
        postgres.start_again();
        postgres
    }

    /// Returns the DSN of the database `postgres`, for its superuser.
    pub fn dsn(&self) -> String {
        self.dsn_of("postgres")
    }

    /// Returns the DSN of a database, for the superuser.
    pub fn dsn_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@{}/{database}", self.address())
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Makes a database that is empty and returns its DSN, for the superuser.
    #[track_caller]
    pub fn create_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.dsn_of(&name)
    }

    /// Runs statements as the superuser and returns what they print: rows, their columns separated by `|`.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        run(Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", statements])
            .arg(self.dsn_of(database)))
    }

    /// Ends the server: its connections are cut, and what is committed stays.
    #[track_caller]
    pub fn stop(&self) {
        let server = self.server().take().expect("the server runs");
        // The fast shutdown.
        server.signal("INT");
        server.wait(STOP_LIMIT);
    }

    /// Starts the server again, on the same port and data.
    #[track_caller]
    pub fn start_again(&self) {
        let mut server = self.server();
        assert!(server.is_none(), "the server runs");
        let dir = self.folder.path();
        *server = Some(Server::start(
            script("postgres-server").arg(dir),
            &dir.join("pid"),
            &dir.join("log"),
            "ready to accept connections",
        ));
    }

    /// Fills the disk of the server's own to the last octet.
    ///
    /// # Errors
    /// Fails where it has none, or is not full afterwards.
    pub fn fill_disk(&self) -> io::Result<()> {
        if !self.has_own_disk {
            return Err(io::Error::other("the server has no disk of its own"));
        }
        let mut filler = File::create(self.filler())?;
        let chunk = vec![0; 1 << 20];
        loop {
            match filler.write(&chunk) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the place on its disk back, and starts the server again where it ended for want of it.
    ///
    /// # Errors
    /// Fails where there was nothing to give back.
    pub fn free_disk(&self) -> io::Result<()> {
        fs::remove_file(self.filler())?;
        let mut server = self.server();
        if server.as_ref().is_some_and(|server| !server.is_running()) {
            *server = None;
            drop(server);
            self.start_again();
        }
        Ok(())
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("data/filler")
    }

    /// Returns the folder of the server: a place for files that go with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
