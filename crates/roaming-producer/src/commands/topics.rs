//! `topics create` and `topics check`: what the daemons have no right to do.

use std::io::Write;

use roaming_service::config::integer;
use roaming_service::control;
use roaming_service::kafka::{ClientError, KafkaSettings};
use roaming_service::telemetry::chain;
use roaming_service::topics::{self, KafkaAdmin, TopicAdmin};

use super::CommandError;

/// How many partitions the topics that scale have at least.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct TopicsArgs {
    /// Partitions of roaming.events: as many consumers can share the work
    #[arg(long, default_value_t = topics::PARTITIONS, value_parser = integer::<u16>(1, u16::MAX.into()))]
    events_partitions: u16,
    /// Partitions of roaming.lanes: as many producers can share the work
    #[arg(long, default_value_t = topics::PARTITIONS, value_parser = integer::<u16>(1, u16::MAX.into()))]
    lanes_partitions: u16,
}

/// Creates the topics that are missing, and the log's token where it has none.
///
/// # Errors
/// Fails where a topic has too few partitions, or the broker refuses.
pub async fn create(
    settings: &KafkaSettings,
    args: TopicsArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let wanted = topics::all(args.events_partitions, args.lanes_partitions);
    let created = KafkaAdmin::try_new(settings)?.ensure(&wanted).await?;
    for topic in wanted {
        let what = if created.contains(&topic.name) { "created" } else { "exists" };
        writeln!(out, "{}: {what}", topic.name).map_err(CommandError::Output)?;
    }
    let token = control::ensure_token(settings).await?;
    writeln!(out, "log {token}").map_err(CommandError::Output)
}

/// Checks that all topics are there with their partitions and safe settings, and the log's token; says all
/// that is wrong.
///
/// # Errors
/// Fails where anything is.
pub async fn check(
    settings: &KafkaSettings,
    args: TopicsArgs,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let wanted = topics::all(args.events_partitions, args.lanes_partitions);
    let faults = KafkaAdmin::try_new(settings)?.inspect(&wanted).await?;
    for topic in &wanted {
        let of_topic: Vec<_> = faults.iter().filter(|fault| fault.topic() == topic.name).collect();
        if of_topic.is_empty() {
            writeln!(out, "{}: fine", topic.name).map_err(CommandError::Output)?;
        }
        for fault in of_topic {
            writeln!(out, "{}: {}", topic.name, chain(fault)).map_err(CommandError::Output)?;
        }
    }
    if !faults.is_empty() {
        return Err(CommandError::Topics { faults: faults.len() });
    }
    let token = control::read(settings).await?.token.ok_or(ClientError::NoToken)?;
    writeln!(out, "log {token}").map_err(CommandError::Output)
}
