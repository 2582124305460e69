//! Runs trials, one after the other, and prints what each did and saw.
//!
//! `cargo run --release -p roaming-testbed --bin trials -- --runs 20`

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use roaming_testbed::trial::{self, Trial};

/// Kill a producer and a consumer in the middle of a run, again and again, and prove each run
#[derive(Debug, Parser)]
struct Args {
    /// How many runs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Seed of the first; each further one has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let Args { runs, seed } = Args::parse();
    println!(
        "{:>5}  {:>9}  {:>9}  {:>10}  {:>5}  {:>10}  {:>8}  {:>11}  {:>11}  {:>7}",
        "seed",
        "producer",
        "consumer",
        "events",
        "lanes",
        "duplicates",
        "dropped",
        "taken over",
        "assignments",
        "seconds"
    );
    println!(
        "{:>5}  {:>9}  {:>9}  {:>10}  {:>5}  {:>10}  {:>8}  {:>5} {:>5}  {:>5} {:>5}",
        "",
        "killed at",
        "killed at",
        "",
        "ended",
        "on topic",
        "",
        "prod.",
        "cons.",
        "prod.",
        "cons."
    );
    let failed = (seed..seed + runs).filter(|&seed| !show(seed, trial::run(seed))).count();
    println!("{} of {runs} runs balance", runs - failed as u64);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what came of a trial; says whether it holds.
fn show(seed: u64, result: Result<Trial>) -> bool {
    match result {
        Ok(trial) => {
            println!(
                "{seed:>5}  {:>7} ‰  {:>7} ‰  {:>10}  {:>5}  {:>10}  {:>8}  {:>5} {:>5}  {:>5} {:>5}  {:>7.1}",
                trial.producer_killed_permille,
                trial.consumer_killed_permille,
                trial.events,
                trial.lanes,
                trial.repeated,
                trial.dropped,
                trial.producer_takeover.partitions,
                trial.consumer_takeover.partitions,
                trial.producer_takeover.assignments,
                trial.consumer_takeover.assignments,
                trial.took.as_secs_f64()
            );
            true
        }
        Err(error) => {
            println!("{seed:>5}  FAILED: {error:#}");
            false
        }
    }
}
