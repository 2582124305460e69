//! Follows the topic `roaming.scenarios` and tells the sender.

use std::time::Duration;

use roaming_service::backoff::Backoff;
use roaming_service::control::{ControlEntry, ControlReader};
use roaming_service::health::Health;
use roaming_service::kafka::{ClientError, KafkaSettings};
use roaming_service::telemetry::chain;
use roaming_sim::ControlRecord;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::sender::Command;

/// Pauses between attempts to read the topic.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// The part that holds readiness until the topic has been read.
const HEALTH_PART: &str = "scenarios";

/// Tells the sender of every control record, from the first one until `stop`.
///
/// Where the topic cannot be read it is tried again: a record that is told twice changes nothing.
///
/// # Errors
/// None: whatever the broker says is waited out, and `/readyz` says so.
pub async fn run(
    settings: KafkaSettings,
    commands: mpsc::Sender<Command>,
    health: Health,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    health.hold(HEALTH_PART, "reading roaming.scenarios");
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_LONGEST);
    loop {
        let followed = tokio::select! {
            followed = follow(&settings, &commands, &health) => followed,
            () = stop.cancelled() => return Ok(()),
        };
        let Err(error) = followed else { return Ok(()) };
        let pause = backoff.pause();
        health.hold(HEALTH_PART, chain(&error));
        warn!(
            error = chain(&error),
            ?pause,
            "roaming.scenarios not followed, trying again after a pause"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Reads the topic; returns where the sender is gone.
async fn follow(
    settings: &KafkaSettings,
    commands: &mpsc::Sender<Command>,
    health: &Health,
) -> Result<(), ClientError> {
    let mut reader = ControlReader::open(settings).await?;
    loop {
        let command = match reader.next().await? {
            ControlEntry::Token(token) => {
                info!(%token, "log");
                continue;
            }
            ControlEntry::UpToDate => {
                health.release(HEALTH_PART);
                continue;
            }
            ControlEntry::Run { name, record: None } => Command::Control { name, record: None },
            ControlEntry::Run { name, record: Some(bytes) } => {
                match serde_json::from_slice::<ControlRecord>(&bytes) {
                    Ok(record) if record.run != record.specification.run_id() => {
                        warn!(run = name, "control record passed over: its id is of another run");
                        continue;
                    }
                    Ok(record) => Command::Control { name, record: Some(Box::new(record)) },
                    Err(error) => Command::Unreadable { name, error },
                }
            }
        };
        if commands.send(command).await.is_err() {
            return Ok(());
        }
    }
}
