//! Runs simulations: `simulate [FIRST [COUNT]]`. The first seed that fails is printed with its faults.

use std::process::ExitCode;

use roaming_testkit::Seed;
use roaming_testkit::simulation::{Report, simulate_sample};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Ok(first), Ok(count)) =
        (arguments.next().unwrap_or(Ok(0)), arguments.next().unwrap_or(Ok(1)))
    else {
        eprintln!("usage: simulate [FIRST_SEED [COUNT]], both whole numbers");
        return ExitCode::from(64);
    };
    let mut report = Report::default();
    for seed in first..first.saturating_add(count) {
        match simulate_sample(Seed(seed)) {
            Ok(more) => report.merge(&more),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} seeds from {first}: {report}");
    ExitCode::SUCCESS
}
