//! How a process ends.

use std::error::Error;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};

use tracing::error;

use crate::telemetry::chain;

/// What the exit status of every command and daemon means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Status 0: done, or stopped when asked to.
    Done,
    /// Status 1: something failed that the command could not help.
    Failed,
    /// Status 2: the balance of a run does not hold, or the run is not finished.
    Unbalanced,
    /// Status 64: wrong use or configuration (`EX_USAGE` of sysexits.h).
    Usage,
}

impl Exit {
    /// Returns the status as the operating system sees it.
    pub const fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Unbalanced => 2,
            Self::Usage => 64,
        }
    }

    /// Says on standard error why a command ends so, in the one form that all programs have.
    #[must_use]
    pub fn tell(self, error: &(dyn Error + 'static)) -> Self {
        tell(error);
        self
    }

    /// Says why a daemon ends so: in its log, or as a command does where the log shows no errors.
    #[must_use]
    pub fn log(self, error: &(dyn Error + 'static)) -> Self {
        if tracing::enabled!(tracing::Level::ERROR) {
            error!(error = chain(error), "ended");
            return self;
        }
        self.tell(error)
    }
}

/// Writes one line on standard error.
pub(crate) fn tell(error: &(dyn Error + 'static)) {
    // Where not even standard error can be written, the status has to do.
    let _ = writeln!(io::stderr(), "error: {}", chain(error));
}

/// Runs a program to its end. Work that still goes on then on threads of its own, such as a comparison that
/// nobody waits for any more, ends with the process and does not delay it.
///
/// # Panics
/// Panics where the operating system gives it no thread.
pub fn run(program: impl Future<Output = Exit>) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("nothing is done without threads");
    let exit = runtime.block_on(program);
    runtime.shutdown_background();
    exit
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_that_scripts_rely_on() {
        let all = [Exit::Done, Exit::Failed, Exit::Unbalanced, Exit::Usage];
        assert_eq!(all.map(Exit::status), [0, 1, 2, 64]);
    }
}
