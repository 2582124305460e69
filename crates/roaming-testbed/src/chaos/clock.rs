//! The wall clock of a process, which jumps.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What stands between a process and its clock.
const SOURCE: &str = include_str!("clock.c");

/// Compiles the library that [`Clock`]s need into `folder`, and returns where it is.
///
/// # Errors
/// Fails where there is no C compiler.
pub(super) fn library(folder: &Path) -> Result<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SOURCE)?;
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .args([&library, &source])
        .output()
        .context("cc cannot be started; install it (Debian package build-essential)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cc ended with {}: {said}", output.status);
    Ok(library)
}

/// A wall clock for processes that are started with it.
pub(super) struct Clock {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Clock {
    /// Makes a clock that is right; its offset stands in a file at `path`.
    pub(super) fn create(library: &Path, path: PathBuf) -> Result<Self> {
        let file = File::create(&path).with_context(|| format!("no clock {}", path.display()))?;
        let clock = Self { library: library.to_owned(), path, file };
        clock.set_ms(0)?;
        Ok(clock)
    }

    /// Lets a command that is not started yet go by this clock.
    pub(super) fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("CLOCK_OFFSET_FILE", &self.path);
    }

    /// Lets it be so many milliseconds ahead of the system's clock, at once.
    pub(super) fn set_ms(&self, offset: i64) -> Result<()> {
        self.file.write_all_at(&offset.to_ne_bytes(), 0).context("the clock cannot be set")
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_process_goes_by_its_clock() -> Result<()> {
        let folder = tempfile::TempDir::new()?;
        let clock = Clock::create(&library(folder.path())?, folder.path().join("offset"))?;
        for ahead_s in [0_i64, 600, -600] {
            clock.set_ms(ahead_s * 1000)?;
            let mut date = Command::new("date");
            clock.give(date.arg("+%s"));
            let shown: i64 = String::from_utf8(date.output()?.stdout)?.trim().parse()?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
            let ahead = shown - i64::try_from(now)?;
            ensure!((ahead - ahead_s).abs() <= 1, "{ahead} in place of {ahead_s}");
        }
        Ok(())
    }
}
