//! Processes die in the middle of a run.

use roaming_testbed::{tell, trial};

#[test]
fn a_killed_producer_and_a_killed_consumer_lose_nothing_and_count_nothing_twice()
-> anyhow::Result<()> {
    // A run at full speed, and one that is paced.
    for seed in [1, 2] {
        tell!("{:?}", trial::run(seed)?);
    }
    Ok(())
}
