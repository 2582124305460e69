//! Runs simulations of the whole way from the lanes' owners to the store, one for each seed.

use std::io::{IsTerminal, Write, stderr};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use roaming_testkit::Seed;
use roaming_testkit::simulation::{Report, show_sample, simulate_sample};

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
    /// Print each step as it happens
    #[arg(long)]
    steps: bool,
}

fn main() -> ExitCode {
    let Arguments { first, count, steps } = Arguments::parse();
    #[expect(clippy::disallowed_methods, reason = "how long it took is for people")]
    let begin = Instant::now();
    let simulate = if steps { show_sample } else { simulate_sample };
    let mut report = Report::default();
    for seed in first..first.saturating_add(count) {
        if stderr().is_terminal() && seed % 50 == 0 {
            eprint!("\r{} of {count} seeds, {:.0} s", seed - first, begin.elapsed().as_secs_f64());
            // It is for people who watch; a terminal that is gone is no reason to stop.
            let _ = stderr().flush();
        }
        match simulate(Seed(seed)) {
            Ok(more) => report.merge(&more),
            Err(failure) => {
                println!("{failure}");
                println!("step by step: make simulate FIRST={seed} SEEDS=1 ARGS=--steps");
                return ExitCode::FAILURE;
            }
        }
    }
    if stderr().is_terminal() {
        eprint!("\r");
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{count} seeds from {first} in {seconds:.1} s, all balance: {report}");
    ExitCode::SUCCESS
}
