//! Runs simulations of the whole way from the lanes' owners to the store, one for each seed.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use roaming_testkit::Seed;
use roaming_testkit::simulation::{Kind, Report, show, simulate};

/// Simulate producers, log, consumer group and store with faults, one world for each seed, and check that
/// everything balances. The first seed that fails is printed with its faults and its last steps.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// The first seed
    #[arg(default_value_t = 0)]
    first: u64,
    /// How many seeds
    #[arg(default_value_t = 1)]
    count: u64,
    /// Simulate one kind of world alone: sample lanes and a model of producers, or the engine's lanes and the
    /// producer's own code
    #[arg(long, value_parser = parse_kind)]
    only: Option<Kind>,
    /// Print each step as it happens
    #[arg(long)]
    steps: bool,
}

fn main() -> ExitCode {
    let Arguments { first, count, only, steps } = Arguments::parse();
    #[expect(clippy::disallowed_methods, reason = "how long it took is for people")]
    let begin = Instant::now();
    let simulate = if steps { show } else { simulate };
    let mut reports = BTreeMap::new();
    for seed in first..first.saturating_add(count) {
        if stderr().is_terminal() && seed % 50 == 0 {
            eprint!("\r{} of {count} seeds, {:.0} s", seed - first, begin.elapsed().as_secs_f64());
            // It is for people who watch; a terminal that is gone is no reason to stop.
            let _ = stderr().flush();
        }
        for kind in Kind::ALL.into_iter().filter(|kind| only.is_none_or(|only| only == *kind)) {
            let report: &mut Report = reports.entry(kind.as_str()).or_default();
            match simulate(kind, Seed(seed)) {
                Ok(more) => report.merge(&more),
                Err(failure) => {
                    println!("{failure}");
                    let kind = kind.as_str();
                    println!(
                        "step by step: make simulate FIRST={seed} SEEDS=1 ARGS='--only {kind} --steps'"
                    );
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    if stderr().is_terminal() {
        eprint!("\r");
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{count} seeds from {first} in {seconds:.1} s, all balance");
    for (kind, report) in reports {
        println!("{kind}: {report}");
    }
    ExitCode::SUCCESS
}

fn parse_kind(name: &str) -> Result<Kind, String> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    kind.ok_or_else(|| format!("known: {}", Kind::ALL.map(Kind::as_str).join(", ")))
}
