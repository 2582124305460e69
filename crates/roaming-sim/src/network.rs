//! Network weather: what a visited network's signalling is like at a time.
//!
//! It is a function of profile, seed and simulated time, solved once for the whole run and never
//! changed, so it couples subscribers of different lanes without a lane knowing another.

use crate::profile::{ConditionKind, Profile};
use crate::queue::Tick;
use crate::rng::{Chance, Keys, Purpose};

/// Weather changes this often: shorter than any window that is reported, longer than a procedure.
const STEP_MS: Tick = 5 * 60 * 1000;
/// One in this many steps is a burst of loss.
const BURST_EVERY: u32 = 24;
/// Crowding at which the queues in a network take half of what is left of their range.
pub(crate) const CROWDING_MAX: u32 = 1024;

/// The weather of all visited networks over a run.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    steps_per_network: usize,
    steps: Vec<Conditions>,
}

/// What a network is like during one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// An exchange loses a message.
    pub(crate) loss: Chance,
    /// A request cannot be routed to the home network, and an agent on the way says so.
    pub(crate) undeliverable: Chance,
    /// A request is refused for congestion.
    pub(crate) refused: Chance,
    /// Latency, in parts per thousand of the usual.
    pub(crate) latency_permille: u32,
    /// How full the queues of radio and core network are, 0 to [`CROWDING_MAX`].
    pub(crate) crowding: u32,
}

impl Weather {
    pub(crate) fn solve(profile: &Profile, keys: &Keys) -> Self {
        let end = profile.duration.ms() + profile.traffic.late_report_max.ms();
        let steps_per_network = (end / u64::from(STEP_MS)) as usize + 1;
        let mut steps = Vec::with_capacity(profile.visited_networks.len() * steps_per_network);
        for network in 0..profile.visited_networks.len() as u32 {
            for step in 0..steps_per_network as u32 {
                steps.push(conditions(profile, keys, network, step));
            }
        }
        Self { steps_per_network, steps }
    }

    /// Returns the conditions in a visited network.
    pub(crate) fn at(&self, network: u8, now: Tick) -> &Conditions {
        let step = ((now / STEP_MS) as usize).min(self.steps_per_network - 1);
        &self.steps[usize::from(network) * self.steps_per_network + step]
    }
}

fn conditions(profile: &Profile, keys: &Keys, network: u32, step: u32) -> Conditions {
    let link = &profile.visited_networks[network as usize].link;
    let draw = keys.draw(Purpose::Weather, network, step);
    // Mostly in the lower half of the range; a burst is at its end.
    let burst = draw.again().below(BURST_EVERY) == 0;
    let fraction = if burst { 1024 } else { draw.below(512) };
    let range = u64::from(link.loss_max_ppm - link.loss_min_ppm);
    let mut loss_ppm = link.loss_min_ppm + (range * u64::from(fraction) / 1024) as u32;
    let (mut undeliverable_ppm, mut refused_ppm) = (0, 0);
    let mut latency_permille = 1000;
    let at = u64::from(step) * u64::from(STEP_MS);
    for condition in &profile.conditions {
        let (from, until) = (condition.from.ms(), (condition.from + condition.lasts).ms());
        if u32::from(condition.network) != network || !(from..until).contains(&at) {
            continue;
        }
        match condition.kind {
            ConditionKind::Outage { loss_ppm: lost, undeliverable_ppm: unrouted } => {
                loss_ppm = loss_ppm.max(lost);
                undeliverable_ppm = undeliverable_ppm.max(unrouted);
            }
            ConditionKind::Congestion { latency_permille: slower, refused_ppm: refused } => {
                latency_permille = latency_permille.max(slower);
                refused_ppm = refused_ppm.max(refused);
            }
        }
    }
    let hour = ((profile.start.unix_ms() + at) / 3_600_000 % 24) as usize;
    Conditions {
        loss: Chance::from_ppm(loss_ppm),
        undeliverable: Chance::from_ppm(undeliverable_ppm),
        refused: Chance::from_ppm(refused_ppm),
        latency_permille,
        crowding: (profile.traffic.diurnal_permille[hour] / 4).min(CROWDING_MAX),
    }
}
