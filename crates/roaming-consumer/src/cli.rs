//! The command line.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use roaming_events::Grouped;
use roaming_service::Exit;
use roaming_service::config::table::{POSTGRES_DSN, STORE};
use roaming_service::config::{Check, ConfigArgs, Settings};
use roaming_service::shutdown::stop_on_signal;
use roaming_service::telemetry::{Reader, chain};
use roaming_store::{PostgresOptions, PostgresStore, RunRow, SqliteStore, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::error::store_exit;
use crate::replay::{ReplayFrom, Replayed, replay};
use crate::verify::{VerifyError, find_run, verify};
use crate::{App, Bound, Config, ConsumerError};

/// What is checked of the settings beyond each one's own kind, so that it is told beside all else.
pub const CHECKS: [Check; 1] = [(&POSTGRES_DSN, check_dsn)];

/// Counts roaming events exactly once, and proves it
#[derive(Debug, Parser)]
#[command(name = "roaming-consumer", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume, count, and serve the page (the default)
    Run,
    /// Compare runs with their ledgers: status 0 where all balance, 2 where one does not or is not finished
    Verify(VerifyArgs),
    /// Count the whole log into another store, without a word to the group, and end
    Replay(ReplayArgs),
    /// List the runs in the store
    Runs,
    /// Show or check the settings, and do nothing else
    Config(ConfigArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct VerifyArgs {
    /// Name of the run; the last that was loaded under it
    #[arg(long)]
    run: Option<String>,
    /// Every run that has ended, one line for each that balances
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// Where to begin
    #[arg(long)]
    from: ReplayFrom,
}

impl Cli {
    /// Returns who reads the log.
    pub fn log_reader(&self) -> Reader {
        match self.command {
            None | Some(Command::Run) => Reader::Operator,
            Some(_) => Reader::Caller,
        }
    }

    /// Does what was asked for.
    pub async fn execute(self, settings: &Settings) -> Exit {
        let place = match Place::of(settings) {
            Ok(place) => place,
            Err(error) => return store_exit(&error).tell(&error),
        };
        match self.command {
            None | Some(Command::Run) => daemon(settings, place).await,
            Some(Command::Verify(args)) => print_balance(place, args.run.as_deref()).await,
            Some(Command::Replay(args)) => print_replay(settings, place, args.from).await,
            Some(Command::Runs) => print_runs(place).await,
            Some(Command::Config(args)) => args.execute(settings),
        }
    }
}

fn check_dsn(dsn: &str) -> Result<(), String> {
    match dsn.parse::<PostgresOptions>() {
        Ok(_) => Ok(()),
        Err(StoreError::WrongDsn { reason }) => Err(format!(
            "cannot be used: {reason}; write it as postgres://role:password@host:5432/database"
        )),
        Err(error) => Err(format!("cannot be used: {error}")),
    }
}

/// Where the store is.
enum Place {
    File(PathBuf),
    Postgres(PostgresOptions),
}

impl Place {
    fn of(settings: &Settings) -> Result<Self, StoreError> {
        let (file, file_origin) = settings.find(&STORE).expect("the file has a default");
        match settings.find(&POSTGRES_DSN) {
            Some((dsn, origin)) if !file_origin.goes_before(origin) => {
                Ok(Self::Postgres(dsn.parse()?))
            }
            _ => Ok(Self::File(file.into())),
        }
    }
}

async fn daemon(settings: &Settings, place: Place) -> Exit {
    info!(version = env!("CARGO_PKG_VERSION"), "roaming-consumer");
    match consume(Config::of(settings), place).await {
        Ok(()) => Exit::Done,
        Err(error) => error.exit().log(&error),
    }
}

async fn consume(config: Config, place: Place) -> Result<(), ConsumerError> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone()).map_err(ConsumerError::Thread)?;
    let bound = Bound::bind(config).await?;
    match place {
        Place::File(path) => count(bound, SqliteStore::open(path).await?, stop).await,
        // A server that is away is waited for, like the broker, once readiness can say so.
        Place::Postgres(options) => count(bound, PostgresStore::new(options), stop).await,
    }
}

async fn count(
    bound: Bound,
    store: impl Store + Clone,
    stop: CancellationToken,
) -> Result<(), ConsumerError> {
    let result = App::on(bound, store.clone()).run(stop).await;
    store.close().await;
    result
}

/// Replays, and prints how much that was.
async fn print_replay(settings: &Settings, place: Place, from: ReplayFrom) -> Exit {
    let replayed = replay_into(Config::of(settings), place, from).await;
    if io::stderr().is_terminal() {
        eprintln!();
    }
    match replayed {
        Ok(Replayed { partitions, records, records_wanted }) if records == records_wanted => {
            let records = Grouped(records);
            let text = format!(
                "{records} records of {partitions} partitions are counted; `verify --all` with the same store compares their runs\n"
            );
            print(&text, Exit::Done)
        }
        Ok(Replayed { records, records_wanted, .. }) => Exit::Failed.tell(&Stopped {
            records: Grouped(records).to_string(),
            records_wanted: Grouped(records_wanted).to_string(),
        }),
        Err(error) => error.exit().tell(&error),
    }
}

async fn replay_into(
    config: Config,
    place: Place,
    from: ReplayFrom,
) -> Result<Replayed, ConsumerError> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone()).map_err(ConsumerError::Thread)?;
    match place {
        Place::File(path) => {
            replay(config, SqliteStore::open(path).await?, from, stop, show_progress).await
        }
        Place::Postgres(options) => {
            replay(config, PostgresStore::new(options), from, stop, show_progress).await
        }
    }
}

/// Keeps one line of a terminal up to date.
fn show_progress(Replayed { records, records_wanted, .. }: Replayed) {
    if io::stderr().is_terminal() {
        let (records, wanted) = (Grouped(records), Grouped(records_wanted));
        eprint!("\r{records} of {wanted} records ");
        // It is for people who watch: a terminal that is gone is no reason to stop.
        let _ = io::stderr().flush();
    }
}

/// A replay was stopped.
#[derive(Debug, thiserror::Error)]
#[error(
    "stopped at {records} of {records_wanted} records; `replay --from stored` goes on from there"
)]
struct Stopped {
    records: String,
    records_wanted: String,
}

/// Prints the balance of a run; of all that have ended where none is named.
async fn print_balance(place: Place, run: Option<&str>) -> Exit {
    match balance(place, run).await {
        Ok((sheet, exit)) => print(&sheet, exit),
        Err(error) => {
            let exit = match &error {
                VerifyError::UnknownRun { .. } => Exit::Usage,
                VerifyError::Store(error) => store_exit(error),
                _ => Exit::Failed,
            };
            exit.tell(&error)
        }
    }
}

async fn balance(place: Place, name: Option<&str>) -> Result<(String, Exit), VerifyError> {
    match place {
        Place::File(path) => balance_in(SqliteStore::open_existing(path).await?, name).await,
        Place::Postgres(options) => {
            balance_in(PostgresStore::open_existing(options).await?, name).await
        }
    }
}

async fn balance_in(store: impl Store, name: Option<&str>) -> Result<(String, Exit), VerifyError> {
    let result = match name {
        Some(name) => balance_of(&store, name).await,
        None => balance_of_all(&store).await,
    };
    store.close().await;
    result
}

async fn balance_of(store: &impl Store, name: &str) -> Result<(String, Exit), VerifyError> {
    let run = find_run(store, name).await?;
    let verification = verify(store, &run).await?;
    let exit = if verification.holds() { Exit::Done } else { Exit::Unbalanced };
    Ok((format!("run {} ({})\n{verification}", run.name, run.run), exit))
}

/// Compares all runs that have ended. One that this engine cannot make is told, and the others are compared.
async fn balance_of_all(store: &impl Store) -> Result<(String, Exit), VerifyError> {
    let (mut sheets, mut exit) = (String::new(), Exit::Done);
    for run in store.runs().await? {
        let lanes = store.progress(run.run).await?.lanes;
        let finished = lanes.iter().filter(|lane| lane.is_finished()).count();
        let state = state(&run, finished);
        let _ = write!(sheets, "run {} ({}), {state}: ", run.name, run.run);
        if !run.has_ended(&lanes) {
            sheets.push_str("left out, it goes on\n");
            continue;
        }
        match verify(store, &run).await {
            Ok(verification) if verification.holds() => {
                let events = Grouped(verification.balance.sums().found.events);
                let _ = writeln!(sheets, "the balance holds, {events} events");
            }
            Ok(verification) => {
                let _ = write!(sheets, "the balance does not hold\n{verification}");
                exit = Exit::Unbalanced;
            }
            Err(VerifyError::CleanedUp { at, .. }) => {
                let _ = writeln!(sheets, "left out, its rows were cleaned up at {at}");
            }
            Err(VerifyError::Store(error)) => return Err(error.into()),
            Err(error) => {
                let _ = writeln!(sheets, "not compared, {}", chain(&error));
                exit = if exit == Exit::Done { Exit::Failed } else { exit };
            }
        }
    }
    Ok((sheets, exit))
}

async fn print_runs(place: Place) -> Exit {
    match runs(place).await {
        Ok(list) => print(&list, Exit::Done),
        Err(error) => store_exit(&error).tell(&error),
    }
}

async fn runs(place: Place) -> Result<String, StoreError> {
    match place {
        Place::File(path) => runs_in(SqliteStore::open_existing(path).await?).await,
        Place::Postgres(options) => runs_in(PostgresStore::open_existing(options).await?).await,
    }
}

async fn runs_in(store: impl Store) -> Result<String, StoreError> {
    let list = list(&store).await;
    store.close().await;
    list
}

async fn list(store: &impl Store) -> Result<String, StoreError> {
    let mut list = format!(
        "{:20} {:16} {:8} {:>9} {:>14}  {}\n",
        "name", "run", "state", "lanes", "events", "counted up to"
    );
    for run in store.runs().await? {
        let progress = store.progress(run.run).await?;
        let finished = progress.lanes.iter().filter(|lane| lane.is_finished()).count();
        let events: u64 = progress.lanes.iter().map(|lane| lane.tally.events).sum();
        let _ = writeln!(
            list,
            "{:20} {:16} {:8} {:>9} {:>14}  {}",
            run.name,
            run.run.to_string(),
            state(&run, finished),
            format!("{finished}/{}", run.lanes),
            Grouped(events),
            progress.watermark.unwrap_or(run.start),
        );
    }
    Ok(list)
}

/// Returns what a run does. The store has what was asked of it, which stays `running` after its last event.
fn state(run: &RunRow, finished: usize) -> &str {
    let is_finished = finished == usize::from(run.lanes) && run.state != "deleted";
    if is_finished { "finished" } else { &run.state }
}

/// Writes a command's result to standard output. A reader that went away has read enough.
fn print(text: &str, exit: Exit) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Err(error) => Exit::Failed.tell(&OutputError(error)),
    }
}

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the output cannot be written")]
struct OutputError(#[source] io::Error);
