//! The command line.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use roaming_service::Exit;
use roaming_service::config::table::{
    ARCHIVE, BACKUPS, JOBS_LISTEN, KEEP_DAYS, POSTGRES_DSN, REPORTS, S3_ACCESS_KEY, S3_ENDPOINT,
    S3_REGION, S3_SECRET_KEY,
};
use roaming_service::config::{Check, ConfigArgs, Setting, Settings};
use roaming_service::shutdown::stop_on_signal;
use roaming_service::telemetry::Reader;
use roaming_store::{PostgresOptions, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::archive::archive;
use crate::backup::backup;
use crate::clean_up::{Keep, clean_up};
use crate::due::SCHEDULED;
use crate::moment::Moment;
use crate::report::report;
use crate::restore::restore;
use crate::schedule::{Schedule, Worker};
use crate::{Done, Job, JobError, Place, S3Options, recorded};

/// What is checked of the settings beyond each one's own kind, so that it is told beside all else.
pub const CHECKS: [Check; 1] = [(&POSTGRES_DSN, check_dsn)];

/// Looks after the store: backs it up, restores it, archives runs, cleans up after them and reports
#[derive(Debug, Parser)]
#[command(name = "roaming-jobs", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write all tables of the store, as of one moment, into a new folder of a place
    Backup(BackupArgs),
    /// Fill an empty database from a backup, all of it or nothing
    Restore(RestoreArgs),
    /// Write each run that has ended into a folder of its own, named after its id
    Archive(ArchiveArgs),
    /// Remove the rows of runs that ended more than --keep-days ago, once they are archived where --archive or
    /// `ROAMING_ARCHIVE` names a place; their lanes and offsets stay
    CleanUp,
    /// Write the report on the last whole week into a place, as report-2026-W48.md
    Report(ReportArgs),
    /// Do each job when it is due, until stopped, and serve /metrics, /healthz and /readyz
    Schedule,
    /// Show or check the settings, and do nothing else
    Config(ConfigArgs),
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// Where the folder is made, `file:///folder` or `s3://bucket/folder`; else the setting --backups
    #[arg(long, value_name = "URL")]
    to: Option<String>,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// A backup, or where backups are, of which the newest is taken; else the setting --backups
    #[arg(long, value_name = "URL")]
    from: Option<String>,
}

#[derive(Debug, Args)]
struct ArchiveArgs {
    /// Where the folders are made, `file:///folder` or `s3://bucket/folder`; else the setting --archive
    #[arg(long, value_name = "URL")]
    to: Option<String>,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Where the report is written, `file:///folder` or `s3://bucket/folder`; else the setting --reports
    #[arg(long, value_name = "URL")]
    to: Option<String>,
}

impl Cli {
    /// Returns who reads the log.
    pub fn log_reader(&self) -> Reader {
        match self.command {
            Command::Schedule => Reader::Operator,
            _ => Reader::Caller,
        }
    }

    /// Does what was asked for.
    pub async fn execute(self, settings: &Settings) -> Exit {
        let result = match self.command {
            Command::Backup(args) => back_up(settings, args).await,
            Command::Restore(args) => fill_from(settings, args).await,
            Command::Archive(args) => archive_ended(settings, args).await,
            Command::CleanUp => remove_old(settings).await,
            Command::Report(args) => report_week(settings, args).await,
            Command::Schedule => return schedule(settings).await,
            Command::Config(args) => return args.execute(settings),
        };
        match result {
            Ok(done) => print(&format!("{done}\n")),
            Err(error) => error.exit().tell(&error),
        }
    }
}

async fn back_up(settings: &Settings, args: BackupArgs) -> Result<Done, JobError> {
    let options = database(settings)?;
    let work = async {
        let to = place(settings, args.to, "--to", &BACKUPS)?;
        backup(&options, &to, Moment::now()).await
    };
    recorded(&options, Job::Backup, work).await
}

async fn archive_ended(settings: &Settings, args: ArchiveArgs) -> Result<Done, JobError> {
    let options = database(settings)?;
    let work = async {
        let to = place(settings, args.to, "--to", &ARCHIVE)?;
        archive(&options, &to, Moment::now()).await
    };
    recorded(&options, Job::Archive, work).await
}

async fn remove_old(settings: &Settings) -> Result<Done, JobError> {
    let options = database(settings)?;
    let keep = Keep {
        period: Duration::from_hours(24 * settings.integer::<u64>(&KEEP_DAYS)),
        until_archived: settings.find(&ARCHIVE).is_some(),
    };
    recorded(&options, Job::CleanUp, clean_up(&options, keep, Moment::now())).await
}

async fn report_week(settings: &Settings, args: ReportArgs) -> Result<Done, JobError> {
    let options = database(settings)?;
    let work = async {
        let to = place(settings, args.to, "--to", &REPORTS)?;
        report(&options, &to, Moment::now()).await
    };
    recorded(&options, Job::Report, work).await
}

/// Runs the daemon.
async fn schedule(settings: &Settings) -> Exit {
    info!(version = env!("CARGO_PKG_VERSION"), "roaming-jobs");
    let options = match database(settings) {
        Ok(options) => options,
        Err(error) => return error.exit().log(&error),
    };
    let stop = CancellationToken::new();
    if let Err(error) = stop_on_signal(stop.clone()) {
        return Exit::Failed.log(&error);
    }
    let worker = BySettings(settings.clone());
    let listen = settings.address(&JOBS_LISTEN);
    let schedule = Schedule::bind(listen, options, worker).await;
    match schedule {
        Ok(schedule) => match schedule.run(stop).await {
            Ok(()) => Exit::Done,
            Err(error) => Exit::Failed.log(&error),
        },
        Err(error) => Exit::Usage.log(&error),
    }
}

/// Does jobs as the commands do that are given no options.
struct BySettings(Settings);

impl Worker for BySettings {
    /// A store may have no archive and no reports; but where it has no place for backups, that is told again and
    /// again.
    fn jobs(&self) -> Vec<Job> {
        let is_wanted = |job: &Job| match job {
            Job::Archive => self.0.find(&ARCHIVE).is_some(),
            Job::Report => self.0.find(&REPORTS).is_some(),
            _ => true,
        };
        SCHEDULED.into_iter().filter(is_wanted).collect()
    }

    async fn work(&self, job: Job) -> Result<Done, JobError> {
        let settings = &self.0;
        match job {
            Job::Backup => back_up(settings, BackupArgs { to: None }).await,
            Job::Restore => fill_from(settings, RestoreArgs { from: None }).await,
            Job::Archive => archive_ended(settings, ArchiveArgs { to: None }).await,
            Job::CleanUp => remove_old(settings).await,
            Job::Report => report_week(settings, ReportArgs { to: None }).await,
        }
    }
}

/// Only what is done is told in the store: what is not must leave the database empty.
async fn fill_from(settings: &Settings, args: RestoreArgs) -> Result<Done, JobError> {
    let from = place(settings, args.from, "--from", &BACKUPS)?;
    restore(&database(settings)?, &from, Moment::now).await
}

/// Returns the database of the store.
fn database(settings: &Settings) -> Result<PostgresOptions, JobError> {
    let dsn = settings.secret(&POSTGRES_DSN).ok_or(JobError::NoDatabase)?;
    Ok(dsn.reveal().parse::<PostgresOptions>()?.named("roaming-jobs"))
}

/// Returns the place that a command's own option names, else that of a setting.
fn place(
    settings: &Settings,
    own: Option<String>,
    flag: &'static str,
    setting: &Setting,
) -> Result<Place, JobError> {
    let set = || settings.find(setting).map(|(url, _)| url.to_owned());
    let url = own.or_else(set).ok_or(JobError::NoPlace { flag, variable: setting.env })?;
    Ok(Place::open(&url, &s3(settings))?)
}

fn s3(settings: &Settings) -> S3Options {
    S3Options {
        endpoint: settings.find(&S3_ENDPOINT).map(|(address, _)| address.to_owned()),
        region: settings.text(&S3_REGION).to_owned(),
        access_key: settings.secret(&S3_ACCESS_KEY),
        secret_key: settings.secret(&S3_SECRET_KEY),
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

/// Writes a command's result to standard output. A reader that went away has read enough.
fn print(text: &str) -> Exit {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => Exit::Failed.tell(&OutputError(error)),
    }
}

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the output cannot be written")]
struct OutputError(#[source] io::Error);
