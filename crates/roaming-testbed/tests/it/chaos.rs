//! Everything that can happen on one broker in some minutes; `make chaos` does more of it, for longer.

use anyhow::{Result, ensure};
use roaming_testbed::chaos::{self, Form, Kind, Tally};
use roaming_testbed::tell;
use roaming_testkit::Seed;

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_counted_twice() -> Result<()> {
    let kinds = [
        Kind::ConsumerKilled,
        Kind::ProducerRestarted,
        Kind::ConsumerFrozen,
        Kind::ConsumerCut,
        Kind::AnswersLost,
        Kind::BrokerFrozen,
        Kind::BrokerRestarted,
        Kind::ConsumerClock,
        Kind::StoreRestarted,
        Kind::StoreAway,
        Kind::NamedConsumerRestarted,
    ];
    let mut tally = Tally::default();
    let proof =
        chaos::run(Seed(1), Form::Short, &kinds, |kind, recovery| tally.recovered(kind, recovery))?;
    tally.proved(&proof);
    // How long recovery takes is for a machine without other work to show: `make chaos` keeps to the goals.
    tell!("{tally}");
    ensure!(proof.dropped > 0, "nothing was sent again, so that nothing was proved: {proof:?}");
    Ok(())
}
