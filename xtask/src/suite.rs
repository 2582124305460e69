//! All tests of the workspace, and one closing line that adds them up.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context;

use crate::workspace::Workspace;

/// How many tests did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} skipped", self.ignored)?;
        }
        Ok(())
    }
}

/// Every test of the workspace; goes on after a failure, so that one run shows all of them.
const TESTS: &[&str] = &["test", "--locked", "--workspace", "--no-fail-fast"];

/// Breaks each invariant on purpose and looks whether the simulation finds it.
const MUTANTS: &[&str] =
    &["run", "--locked", "--quiet", "--package", "roaming-testkit", "--bin", "mutants"];

/// Runs all tests, whether or not some fail, and prints the closing line.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut count = Count::default();
    for program in [TESTS, MUTANTS] {
        count.add(cargo(workspace, program)?);
    }
    println!("\ntests took {:.0} s", started.elapsed().as_secs_f64());
    println!("{count}");
    Ok(if count.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs cargo, passes its output on and counts the results in it.
fn cargo(workspace: &Workspace, arguments: &[&str]) -> anyhow::Result<Count> {
    let mut child = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(&workspace.root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo does not start")?;
    let mut count = Count::default();
    let output = child.stdout.take().context("the output of cargo is not captured")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("the output of cargo cannot be read")?;
        println!("{line}");
        count.add(result(&line));
    }
    let status = child.wait().context("cargo cannot be waited for")?;
    Ok(settle(count, status.success()))
}

/// Makes the count and the exit status agree: what does not compile or dies before its closing line has
/// failed too, and a program that counts nothing is one test itself.
fn settle(count: Count, success: bool) -> Count {
    match (success, count) {
        (false, Count { failed: 0, .. }) => Count { failed: 1, ..count },
        (true, Count { passed: 0, failed: 0, ignored: 0 }) => Count { passed: 1, ..count },
        _ => count,
    }
}

/// Reads the closing line of one test program; every other line counts nothing.
fn result(line: &str) -> Count {
    let mut count = Count::default();
    let Some(rest) = line.strip_prefix("test result: ") else { return count };
    let counts = rest.split_once(". ").map_or("", |(_, counts)| counts);
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else { continue };
        let Ok(number) = number.parse() else { continue };
        match what {
            "passed" => count.passed = number,
            "failed" => count.failed = number,
            "ignored" => count.ignored = number,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up() {
        let mut count = Count::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 40 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 1.20s",
        ] {
            count.add(result(line));
        }
        assert_eq!(count, Count { passed: 43, failed: 2, ignored: 1 });
        assert_eq!(count.to_string(), "43 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn a_program_that_dies_has_failed() {
        let passed = Count { passed: 7, ..Count::default() };
        assert_eq!(settle(passed, false), Count { passed: 7, failed: 1, ignored: 0 });
        assert_eq!(settle(passed, true), passed);
        assert_eq!(settle(Count::default(), true).passed, 1);
        let failed = Count { failed: 2, ..passed };
        assert_eq!(settle(failed, false), failed);
    }

    #[test]
    fn a_run_without_skipped_tests_does_not_mention_them() {
        assert_eq!(Count { passed: 2, ..Count::default() }.to_string(), "2 passed, 0 failed");
    }
}
