//! Lets things happen to runs for a while, and prints how long recovery took and what was lost.
//!
//! `cargo run -p roaming-testbed --bin chaos -- --minutes 30`

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use roaming_testbed::chaos::{self, Act, Form, Tally};
use roaming_testkit::Seed;

/// Kill, freeze, cut off and fill up everything while runs go on, and prove each run
#[derive(Debug, Parser)]
struct Args {
    /// For how long; the last round is finished
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Seed of the first round; each further one has the next [default: by the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds at the most
    #[arg(long)]
    rounds: Option<usize>,
    /// How many brokers and what else there is
    #[arg(long, value_enum, default_value_t = Size::Long)]
    form: Size,
    /// The kinds of faults of each round, by their places in the list that is printed first, in place of what the seed draws
    #[arg(long, value_delimiter = ',')]
    kinds: Option<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Size {
    /// One broker, and no disk that can be full
    Short,
    /// Three brokers, and a store with a disk of its own
    Long,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let by_clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let first = args.seed.unwrap_or_else(by_clock);
    let form = match args.form {
        Size::Short => Form::Short,
        Size::Long => Form::Long,
    };
    let kinds = form.kinds();
    for (number, kind) in kinds.iter().enumerate() {
        println!("{number:>3}  {kind}");
    }
    if let Some(unknown) = args.kinds.iter().flatten().find(|number| **number >= kinds.len()) {
        eprintln!("error: no kind {unknown}; --kinds takes numbers of the list above");
        return ExitCode::from(64);
    }
    let chosen = args.kinds.map(|numbers| {
        Act::Faults(numbers.iter().filter_map(|number| kinds.get(*number).copied()).collect())
    });
    let start = Instant::now();
    let is_time_left = || start.elapsed() < Duration::from_mins(args.minutes);
    let mut tally = Tally::default();
    for seed in (first..).take(args.rounds.unwrap_or(usize::MAX)).take_while(|_| is_time_left()) {
        let seed = Seed(seed);
        let act = chosen.clone().unwrap_or_else(|| Act::draw(seed, form));
        if let Err(error) = round(seed, form, &act, &mut tally, start) {
            println!("{:>5} s  seed {seed} FAILED: {error:#}", start.elapsed().as_secs());
            println!("         again: make chaos SEED={seed} ARGS=\"--rounds 1\"");
            tally.failed();
        }
    }
    println!("\nseeds {first} and after, {:.0} s\n{tally}", start.elapsed().as_secs_f64());
    if tally.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn round(seed: Seed, form: Form, act: &Act, tally: &mut Tally, start: Instant) -> Result<()> {
    let now = || start.elapsed().as_secs();
    match act {
        Act::Faults(kinds) => {
            let proof = chaos::run(seed, form, kinds, |kind, recovery| {
                println!("{:>5} s  seed {seed}: {kind}: {:.1} s", now(), recovery.as_secs_f64());
                tally.recovered(kind, recovery);
            })?;
            println!("{:>5} s  seed {seed}: {proof:?}", now());
            tally.proved(&proof);
        }
        Act::Loss(loss) => {
            let told = chaos::lose(*loss, seed, form)?;
            println!("{:>5} s  seed {seed}: {loss}: {told:?}", now());
            tally.told(*loss, told);
        }
    }
    Ok(())
}
