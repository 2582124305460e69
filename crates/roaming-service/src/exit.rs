//! How a process ends.

use std::process::{ExitCode, Termination};

/// What the exit status of every command and daemon means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Status 0: done, or stopped when asked to.
    Done,
    /// Status 1: something failed that the command could not help.
    Failed,
    /// Status 2: the balance of a run does not hold.
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
