//! One server process, and the script that keeps it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to start.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the command that runs a subcommand of `scripts/services`.
pub(super) fn script(subcommand: &str) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/services"));
    command.arg(subcommand);
    command
}

/// Runs a command to its end and returns what it printed; panics with what it said where it fails.
#[track_caller]
pub(super) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("scripts/services can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server that runs for as long as this is kept.
pub(super) struct Server {
    keeper: Child,
    pid: u32,
}

impl Server {
    /// Starts a server whose process id comes to stand in `pid_file`, and waits until its `log` has one more
    /// line with `ready`.
    #[track_caller]
    pub(super) fn start(keeper: &mut Command, pid_file: &Path, log: &Path, ready: &str) -> Self {
        // What an earlier start left there.
        let _ = fs::remove_file(pid_file);
        let ready_before = lines_with(log, ready);
        let mut keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("scripts/services can be run");
        let start = Instant::now();
        loop {
            let pid = fs::read_to_string(pid_file).ok().and_then(|pid| pid.trim().parse().ok());
            if let Some(pid) = pid
                && lines_with(log, ready) > ready_before
            {
                return Self { keeper, pid };
            }
            let has_ended = keeper.try_wait().expect("the keeper can be asked").is_some()
                || pid.is_some_and(|pid: u32| !PathBuf::from(format!("/proc/{pid}/stat")).exists());
            if has_ended || start.elapsed() > START_LIMIT {
                drop(Self { keeper, pid: 0 });
                panic!("the server did not start; its log ends with:\n{}", tail(log));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Sends a signal to the server itself.
    #[track_caller]
    pub(super) fn signal(&self, signal: &str) {
        run(Command::new("kill").args(["-s", signal, &self.pid.to_string()]));
    }

    /// Whether it has not ended.
    pub(super) fn is_running(&self) -> bool {
        is_running(self.pid)
    }

    /// Waits until the server has ended.
    #[track_caller]
    pub(super) fn wait(&self, limit: Duration) {
        let start = Instant::now();
        while is_running(self.pid) {
            assert!(start.elapsed() < limit, "the server did not end in {limit:?}");
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Server {
    /// The end of its standard input is the keeper's, and the keeper's is the server's.
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Whether a process is there and no zombie: the keeper reaps its child when it ends itself.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('Z'));
    state == Some(false)
}

fn lines_with(log: &Path, text: &str) -> usize {
    let log = fs::read_to_string(log).unwrap_or_default();
    log.lines().filter(|line| line.contains(text)).count()
}

fn tail(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
