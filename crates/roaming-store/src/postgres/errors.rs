//! PostgreSQL's errors as ours, by SQLSTATE
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use std::io;
use std::time::Duration;

use crate::{DatabaseError, StoreError};

const DISK_FULL: &str = "53100";
/// What a server with a full disk says to who connects, "could not write init file", and no code of corrupted
/// data.
const INTERNAL_ERROR: &str = "XX000";
const READ_ONLY: &str = "25006";
const NO_RIGHT: &str = "42501";
const NO_DATABASE: &str = "3D000";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const IDLE_IN_TRANSACTION: &str = "25P03";

/// Classes of what passes: connection lost; transaction rolled back, as by a deadlock; out of
/// connections or memory; stopped by an administrator or a time limit; trouble of the server's system.
const PASSING_CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];

/// Class of a role that is not let in, or a password that is wrong.
const IDENTITY_CLASS: &str = "28";

/// Says what an error of an operation means, where nothing was written.
pub(super) fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |error| {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_default();
        let (class, code) = (code.get(..2).unwrap_or_default().to_owned(), code.into_owned());
        let alert = is_alert(&error);
        let passing = is_passing(&error);
        let source = said(error);
        match code.as_str() {
            _ if alert => StoreError::Tls { source },
            DISK_FULL => StoreError::Full { source },
            READ_ONLY => StoreError::WritesRefused { source },
            NO_RIGHT => StoreError::NoRight { source },
            NO_DATABASE => StoreError::NoDatabase { source },
            LOCK_NOT_AVAILABLE | IDLE_IN_TRANSACTION | INTERNAL_ERROR => {
                StoreError::Unavailable { source }
            }
            _ if class == IDENTITY_CLASS => StoreError::WrongIdentity { source },
            _ if PASSING_CLASSES.contains(&class.as_str()) => StoreError::Unavailable { source },
            _ if passing => StoreError::Unavailable { source },
            _ => StoreError::Refused { operation, source },
        }
    }
}

/// Returns what PostgreSQL says, in its own words; sqlx would add lines of both their sources.
pub(super) fn said(error: sqlx::Error) -> DatabaseError {
    match error.as_database_error() {
        Some(database) => match database.code() {
            Some(code) => format!("{} (SQLSTATE {code})", database.message()).into(),
            None => database.message().into(),
        },
        None => Box::new(error),
    }
}

/// Tells whether one side does not accept the other's certificate.
///
/// A server says so only after the handshake has ended for the client, as an error of the connection; a
/// handshake that a dying server cuts off has an error of the system as its cause.
fn is_alert(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(error) => !chain_has_io(&**error),
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::Other && error.get_ref().is_some(),
        _ => false,
    }
}

/// Tells whether the way to the server, and not the server, is what fails.
///
/// A proxy that has no server behind it at the moment takes connections and ends them at once: sqlx calls it
/// a breach of protocol where the first answer does not come, and an error of TLS where the second does not.
fn is_passing(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::PoolTimedOut
            | sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
    )
}

fn chain_has_io(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(<dyn std::error::Error>::is::<io::Error>)
}

/// Waits for `work`, and for at most `limit`: a server that hangs must not hang the caller.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Unavailable { source: Box::new(NoAnswer(limit)) }),
    }
}

/// The server says nothing.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL has not answered for {0:?}")]
pub(super) struct NoAnswer(pub(super) Duration);

/// A server cannot be reached, or does not take connections.
#[derive(Debug, thiserror::Error)]
#[error("no connection to PostgreSQL at {host}:{port}, which the DSN names")]
pub(super) struct Unreached {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) source: DatabaseError,
}
