//! Which database, as an operator names it.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use crate::StoreError;

/// What a DSN may say. Any other word is refused: misspelt, it would silently change nothing.
const PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Who connects, where nobody says otherwise.
const CONSUMER: &str = "roaming-consumer";

/// Where tables and views are, so that the database can be shared with other programs.
pub(super) const SCHEMA: &str = "roaming";

/// A database of a PostgreSQL server, and how to reach it.
///
/// Made from a DSN, `postgres://role:password@host:5432/database?sslmode=verify-full&sslrootcert=…`.
/// What it leaves out comes from libpq's environment (`PGHOST`, `PGPASSWORD`, … and `~/.pgpass`). Shown
/// and logged, it has no password.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) connect: Box<PgConnectOptions>,
}

impl FromStr for PostgresOptions {
    type Err = StoreError;

    /// # Errors
    /// [`StoreError::WrongDsn`] says what is wrong with it, without repeating it.
    fn from_str(dsn: &str) -> Result<Self, StoreError> {
        let url: Url = dsn.trim().parse().map_err(|error: url::ParseError| wrong(error))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("it must begin with postgres://"));
        }
        if holds_a_part_of_the_password(&url) {
            return Err(wrong(
                "what follows the server holds @ or #; within a password write @ / ? # & % as %40 %2F %3F %23 %26 %25",
            ));
        }
        let parameter =
            |name| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value);
        // Its name may be the end of a password with a `&`, so that only its place is told.
        if let Some(before) = url.query_pairs().position(|(key, _)| !is_known(&key)) {
            return Err(wrong(format_args!(
                "the name of parameter {} is unknown; known: {}",
                before + 1,
                PARAMETERS.join(", ")
            )));
        }
        if parameter("sslmode").is_some_and(|mode| PgSslMode::from_str(&mode).is_err()) {
            return Err(wrong("sslmode may be disable, prefer, require, verify-ca or verify-full"));
        }
        for file in ["sslrootcert", "sslcert", "sslkey"] {
            check_readable(file, parameter(file))?;
        }
        if parameter("sslcert").is_some() != parameter("sslkey").is_some() {
            return Err(wrong("sslcert and sslkey belong together"));
        }
        let connect = PgConnectOptions::from_str(dsn.trim()).map_err(|error| match error {
            sqlx::Error::Configuration(reason) => wrong(reason),
            _ => wrong("a parameter has a value that it cannot have"),
        })?;
        let verifies =
            matches!(connect.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        if parameter("sslrootcert").is_some() && !verifies {
            return Err(wrong(
                "sslrootcert checks nothing without sslmode=verify-full (or verify-ca)",
            ));
        }
        Ok(Self { connect: Box::new(prepared(connect)) })
    }
}

impl PostgresOptions {
    /// Says who connects, as the server shows it, where the DSN does not.
    #[must_use]
    pub fn named(mut self, program: &str) -> Self {
        if self.connect.get_application_name() == Some(CONSUMER) {
            *self.connect = self.connect.application_name(program);
        }
        self
    }
}

/// Adds what every connection has in common.
fn prepared(connect: PgConnectOptions) -> PgConnectOptions {
    let named = match connect.get_application_name() {
        Some(_) => connect,
        None => connect.application_name(CONSUMER),
    };
    named
        .options([
            ("search_path", SCHEMA),
            // A row that somebody else holds for longer is asked for again after a pause.
            ("lock_timeout", "5s"),
            // Where this process stands still within a transaction, the next owner need not wait for it.
            ("idle_in_transaction_session_timeout", "15s"),
        ])
        // Else sqlx logs the whole text of a slow statement.
        .disable_statement_logging()
}

/// Whether a password was cut where a `/`, `?` or `#` of its own stands, written as it is: the server's name
/// would be the role, and the rest of the password a database or a parameter, which are told and logged.
fn holds_a_part_of_the_password(url: &Url) -> bool {
    let query = url.query().unwrap_or_default();
    url.fragment().is_some() || url.path().contains('@') || query.contains('@')
}

fn is_known(parameter: &str) -> bool {
    PARAMETERS.contains(&parameter) || parameter.starts_with("options[")
}

fn check_readable(parameter: &str, path: Option<Cow<'_, str>>) -> Result<(), StoreError> {
    let Some(path) = path else { return Ok(()) };
    if path.contains("-----BEGIN") {
        return Err(wrong(format_args!("{parameter} takes the name of a PEM file, not its text")));
    }
    match File::open(&*path) {
        Ok(_) => Ok(()),
        // The name is not repeated: it may be a key that was put there in its place.
        Err(error) => {
            Err(wrong(format_args!("{parameter} names a file that cannot be read: {error}")))
        }
    }
}

fn wrong(reason: impl fmt::Display) -> StoreError {
    StoreError::WrongDsn { reason: reason.to_string() }
}

impl fmt::Display for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connect = &self.connect;
        write!(f, "postgres://{}@", connect.get_username())?;
        match connect.get_socket() {
            Some(socket) => write!(f, "{}", socket.display())?,
            None => write!(f, "{}", connect.get_host())?,
        }
        let database = connect.get_database().unwrap_or(connect.get_username());
        write!(f, ":{}/{database}", connect.get_port())
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresOptions({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(dsn: &str, says: &str) {
        let error = dsn.parse::<PostgresOptions>().expect_err(dsn).to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_dsn_is_shown_without_its_password() {
        let options: PostgresOptions =
            "postgres://me:secret@db.example:6000/roaming?sslmode=require".parse().unwrap();
        assert_eq!(options.to_string(), "postgres://me@db.example:6000/roaming");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn a_wrong_dsn_is_refused_without_repeating_it() {
        check_refused("host=db user=me password=secret", "relative URL");
        check_refused("mysql://me:secret@db/roaming", "begin with postgres://");
        check_refused("postgres://me:secret@db:port/roaming", "invalid port");
        check_refused("postgres://me@db/roaming?pasword=secret", "parameter 1 is unknown");
        check_refused("postgres://me:secret@db/roaming?sslmode=full", "sslmode may be");
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused_without_any_part_of_it() {
        for cut in ["12/secret", "12?secret", "12?host=secret", "12#secret", "12/a?user=b#secret"] {
            check_refused(&format!("postgres://role:{cut}@host/db"), "write @ / ? # & % as %40");
        }
        check_refused("postgres://role@host/db#secret", "write @ / ? # & % as %40");
        check_refused("postgres://role@host/db?password=12&secret", "parameter 2 is unknown");
        let escaped: PostgresOptions = "postgres://role:1%402%2F3%3F@host/d%40b".parse().unwrap();
        assert_eq!(escaped.to_string(), "postgres://role@host:5432/d@b");
    }

    #[test]
    fn certificates_that_would_not_be_used_are_refused() {
        let this = file!().rsplit('/').next().unwrap();
        let file = format!("{}/src/postgres/{this}", env!("CARGO_MANIFEST_DIR"));
        let dsn = |rest: &str| format!("postgres://me:secret@db/roaming?{rest}");
        check_refused(
            &dsn("sslmode=verify-full&sslrootcert=/no/ca.pem"),
            "sslrootcert names a file that cannot be read",
        );
        check_refused(&dsn("sslkey=MIIEsecret"), "sslkey names a file that cannot be read");
        check_refused(&dsn("sslkey=-----BEGIN+secret-----"), "sslkey takes the name of a PEM file");
        check_refused(&dsn(&format!("sslcert={file}")), "belong together");
        check_refused(&dsn(&format!("sslrootcert={file}")), "without sslmode=verify-full");
        dsn(&format!("sslmode=verify-ca&sslrootcert={file}")).parse::<PostgresOptions>().unwrap();
    }
}
