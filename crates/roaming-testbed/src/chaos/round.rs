//! One run, to which things happen.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roaming_testkit::{Concern, Seed};

use super::kind::{Form, Kind};
use super::loaded::{Loaded, REST_LIMIT, RUN, on_services};
use super::loss::Loss;
use super::stage::Stage;
use crate::trial::finished;

/// Rounds of one deck: together they have each kind of fault once; the last one loses something for good.
const DECK_ROUNDS: u64 = 4;

/// What happens in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// These faults, one after the other, of which nothing is left in the end.
    Faults(Vec<Kind>),
    /// What cannot be made good.
    Loss(Loss),
}

impl Act {
    /// Draws what a seed is for: four that follow each other, the first a multiple of four, have each kind
    /// of fault once, and a loss.
    pub fn draw(seed: Seed, form: Form) -> Self {
        let (deck, part) = (seed.0 / DECK_ROUNDS, seed.0 % DECK_ROUNDS);
        let parts = DECK_ROUNDS - 1;
        if part == parts {
            return Self::Loss(Loss::ALL[usize::from(deck % 2 == 1)]);
        }
        let mut kinds = form.kinds();
        let mut random = Seed(deck).stream(Concern::FaultMix);
        for left in (1..kinds.len()).rev() {
            kinds.swap(left, random.index(left + 1));
        }
        let of_part = kinds.into_iter().zip((0..parts).cycle()).filter(|(_, of)| *of == part);
        Self::Faults(of_part.map(|(kind, _)| kind).collect())
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Events that the engine says the run has.
    pub expected: u64,
    /// Events on the topic, each counted once; octet for octet those of the engine.
    pub on_topic: u64,
    /// Events that the store counted.
    pub counted: u64,
    /// Records on the topic that repeat another.
    pub repeated: u64,
    /// Records that the consumers dropped because they had been counted.
    pub dropped: u64,
    /// From loading the run to its last lane.
    pub took: Duration,
}

impl Proof {
    /// Returns how many events are missing, on the topic or in the store.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.on_topic.min(self.counted))
    }

    /// Returns how many events were counted twice.
    pub fn double(&self) -> u64 {
        self.counted.saturating_sub(self.expected).max(self.repeated.saturating_sub(self.dropped))
    }
}

/// Lets faults happen to a run on services of its own, tells `happened` of each fault how long recovery took, and
/// proves the run.
///
/// # Errors
/// Fails where anything is lost, counted twice or different, where there is no recovery, and where a daemon
/// ends by itself; the message says where the logs are.
pub fn run(
    seed: Seed,
    form: Form,
    kinds: &[Kind],
    mut happened: impl FnMut(Kind, Duration),
) -> Result<Proof> {
    on_services(seed, form, |loaded, stage| {
        let mut random = seed.stream(Concern::Fault);
        for &kind in kinds {
            let recovery = stage.suffer(kind, &mut random).with_context(|| kind.to_string())?;
            happened(kind, recovery);
        }
        proved(loaded, stage)
    })
}

/// Lets the rest of a run go by and proves all of it.
fn proved(loaded: &Loaded<'_>, stage: &mut Stage<'_>) -> Result<Proof> {
    loaded.hurry()?;
    let consumer = stage.consumers().next().context("no consumer")?;
    let (run, _) = finished(consumer, RUN, REST_LIMIT)?;
    let took = loaded.at.elapsed();
    let platform = loaded.platform;
    let (status, sheet) = loaded.verify(&platform.dsn)?;
    let topic = platform.compare_with_generated(&loaded.arguments())?;
    let proof = Proof {
        expected: loaded.expected,
        on_topic: topic.events(),
        counted: run.events,
        repeated: topic.duplicates,
        dropped: run.duplicates,
        took,
    };
    ensure!(proof.lost() == 0 && proof.double() == 0, "it does not balance: {proof:?}: {sheet}");
    ensure!(status == Some(0), "verify ended with {status:?}: {sheet}");
    Ok(proof)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn four_seeds_have_each_kind_once_and_a_loss() {
        for form in [Form::Short, Form::Long] {
            let mut losses = BTreeSet::new();
            for first in [0, 4, 400] {
                let mut kinds = Vec::new();
                for seed in first..first + DECK_ROUNDS {
                    match Act::draw(Seed(seed), form) {
                        Act::Faults(faults) => kinds.extend(faults),
                        Act::Loss(loss) => drop(losses.insert(loss)),
                    }
                }
                let distinct: BTreeSet<_> = kinds.iter().copied().collect();
                assert_eq!(kinds.len(), distinct.len());
                assert_eq!(distinct, form.kinds().into_iter().collect());
            }
            assert_eq!(losses, Loss::ALL.into());
        }
        assert_ne!(Act::draw(Seed(0), Form::Long), Act::draw(Seed(4), Form::Long));
    }
}
