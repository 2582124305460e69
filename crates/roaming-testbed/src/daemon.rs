//! One process under test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait::{wait_for, wait_until};

/// How long a daemon may take to serve its port.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a daemon may take to end after SIGTERM: its own grace period and some more.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often a daemon of one name may be started in a test.
const STARTS_MAX: usize = 99;

/// A daemon that was started, with a log of its own. It is killed when dropped.
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    address: Option<String>,
}

impl Daemon {
    /// Starts a program; what it says goes to a file in `folder`.
    ///
    /// # Errors
    /// Fails where it cannot be started.
    pub fn start(name: &str, command: &Command, folder: &Path) -> Result<Self> {
        let log = (1..=STARTS_MAX)
            .map(|start| folder.join(format!("{name}.{start}.log")))
            .find(|path| !path.exists())
            .context("no name is left for a log")?;
        let file = File::create(&log).with_context(|| format!("no log {}", log.display()))?;
        let child = bound_to_this_thread(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { name: name.to_owned(), child, log, address: None })
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything that this start logged so far.
    ///
    /// # Errors
    /// Fails where the log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("the log of {} is gone", self.name))
    }

    /// Returns how many lines of its log hold `text`.
    ///
    /// # Errors
    /// As [`log`](Self::log).
    pub fn lines_with(&self, text: &str) -> Result<usize> {
        Ok(self.log()?.lines().filter(|line| line.contains(text)).count())
    }

    /// Waits until its log holds `text`.
    ///
    /// # Errors
    /// Fails where it does not within `limit`.
    pub fn wait_for_line(&self, text: &str, limit: Duration) -> Result<Duration> {
        let what = format!("`{text}` in the log of {}", self.name);
        wait_until(&what, limit, || Ok(self.lines_with(text)? > 0))
    }

    /// Returns what a path of its port answers, whatever the status.
    ///
    /// # Errors
    /// Fails where nobody answers.
    pub fn get(&mut self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.address()?);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            .build()
            .into();
        let answer = agent.get(&url).call().with_context(|| format!("{} is silent", self.name))?;
        Ok(answer.into_body().read_to_string()?)
    }

    /// Returns the sum of a metric that counts over its labels; 0 where it is not there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn metric(&mut self, name: &str) -> Result<u64> {
        Ok(Self::metric_in(&self.get("/metrics")?, name))
    }

    /// Returns the same of what `/metrics` answered.
    pub fn metric_in(metrics: &str, name: &str) -> u64 {
        let samples = metrics.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Where its port is, as it says in its log: it takes a free one.
    fn address(&mut self) -> Result<String> {
        if let Some(address) = &self.address {
            return Ok(address.clone());
        }
        let what = format!("the address of {}", self.name);
        let (address, _) = wait_for(&what, START_LIMIT, || {
            let log = self.log()?;
            let line =
                log.lines().find_map(|line| line.split_once("\"address\":\"")?.1.split('"').next());
            Ok(line.map(str::to_owned))
        })?;
        self.address = Some(address.clone());
        Ok(address)
    }

    /// Ends it at once, as a crash does (SIGKILL).
    ///
    /// # Errors
    /// Fails where it had ended before.
    pub fn kill(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "{} had ended before it was killed", self.name);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it stand still (SIGSTOP).
    ///
    /// # Errors
    /// Fails where the signal cannot be sent.
    pub fn freeze(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// As [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Asks it to end (SIGTERM) and returns how it ended.
    ///
    /// # Errors
    /// Fails where it does not end in time.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.ended(STOP_LIMIT)
    }

    /// Returns how it ended; `None` where it runs.
    ///
    /// # Errors
    /// Fails where the system does not say.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself and returns how.
    ///
    /// # Errors
    /// Fails where it does not end within `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || self.has_ended()).map(|(status, _)| status)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status()?;
        ensure!(status.success(), "{} took no {signal}", self.name);
        Ok(())
    }
}

/// Returns the same command under `setpriv`, which becomes it: the process is killed when the thread that
/// starts it ends in whatever way, and so never outlives a test that was killed itself.
fn bound_to_this_thread(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    bound
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
