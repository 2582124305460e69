//! Follows the topic `roaming.scenarios` and tells the sender.

use roaming_service::control::{ControlEntry, ControlReader};
use roaming_service::health::Health;
use roaming_service::kafka::{ClientError, KafkaSettings};
use roaming_service::telemetry::chain;
use roaming_sim::ControlRecord;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::sender::Command;

/// The part that holds readiness until the topic has been read.
const HEALTH_PART: &str = "scenarios";

/// Tells the sender of every control record, from the first one until `stop`.
///
/// # Errors
/// Fails where the topic does not exist or may not be read. A broker that is away is waited for.
pub async fn run(
    settings: KafkaSettings,
    commands: mpsc::Sender<Command>,
    health: Health,
    stop: CancellationToken,
) -> Result<(), ClientError> {
    health.hold(HEALTH_PART, "reading roaming.scenarios");
    let mut reader = ControlReader::open(&settings)?;
    loop {
        let entry = tokio::select! {
            entry = reader.next() => entry?,
            () = stop.cancelled() => return Ok(()),
        };
        let command = match entry {
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
                    Err(error) => {
                        warn!(run = name, error = chain(&error), "control record passed over");
                        continue;
                    }
                }
            }
        };
        if commands.send(command).await.is_err() {
            return Ok(());
        }
    }
}
