//! Members of the groups that have a name.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roaming_testbed::Platform;
use roaming_testbed::services::{KafkaOptions, Postgres};

const LIMIT: Duration = Duration::from_mins(2);

/// The library that a member uses tells it once, in an error like any other, that it will never go on.
#[test]
fn a_member_whose_name_another_has_ends_and_says_what_to_do() -> Result<()> {
    Platform::with(Postgres::shared(), &KafkaOptions::default(), |platform| {
        for (program, owns) in [
            ("roaming-producer", "partition of lanes owned"),
            ("roaming-consumer", "partition acquired"),
        ] {
            let mut command = platform.command(program)?;
            command
                .args(["run", "--listen", "127.0.0.1:0"])
                .args(["--kafka-instance", "the-only-one"]);
            let mut first = platform.daemon(&format!("{program}-first"), &command)?;
            first.wait_for_line(owns, LIMIT)?;
            let second = platform.daemon(&format!("{program}-second"), &command)?;
            let status = first.ended(LIMIT).context("two have one name")?;
            ensure!(status.code() == Some(1), "it ended with {status}");
            let advice = "another member of the group has the name `the-only-one`";
            ensure!(first.lines_with(advice)? > 0, "it does not say why: {}", first.log()?);
            second.wait_for_line(owns, LIMIT)?;
            ensure!(second.stop()?.success(), "the second did not stop well");
        }
        Ok(())
    })
}
