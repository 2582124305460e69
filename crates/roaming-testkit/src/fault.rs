//! Which faults happen in a simulation, and how often.

use crate::seed::{Concern, Seed, Stream};
use crate::store::StoreFaults;

/// Fault knobs. Frequencies are in a thousand occasions; an occasion is one tick of the simulated clock,
/// unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Faults {
    /// A consumer ends between two steps, and forgets all.
    pub consumer_crash: u32,
    /// A partition moves to another consumer; the earlier one goes on for a while without knowing.
    pub consumer_rebalance: u32,
    /// A client reads some of a partition once more.
    pub rewind: u32,
    /// A lane's owner ends; what it has in flight may still arrive.
    pub producer_crash: u32,
    /// Lanes move to another owner; the earlier one may go on for a while without knowing.
    pub producer_rebalance: u32,
    /// What arrives is not acknowledged. An occasion is a record, or a batch.
    pub acknowledgement_lost: u32,
    /// A record of a sender overtakes some others, which delivery promises not to allow. An occasion is a
    /// record.
    pub reorder: u32,
    /// The longest time that an owner goes on without knowing that it is none any more, in ticks.
    pub zombie_ticks_max: u64,
    /// A stranger writes a broken, foreign or impossible record.
    pub stranger: u32,
    /// An event is broken at its source, in each of its copies. An occasion is an event.
    pub damage: u32,
    /// Retention drops what every consumer has stored.
    pub truncation: u32,
    /// A broker does not answer a consumer. An occasion is a question.
    pub broker_cut_off: u32,
    /// The group does not take an offset, as where it meets a rebalance. An occasion is an offset.
    pub offset_commit_lost: u32,
    /// What the store does.
    pub store: StoreFaults,
    /// A run is paused, or a paused one goes on; where producers are the daemon's, it may also get another
    /// speed, or be taken away for a while.
    pub pause: u32,
    /// A producer does nothing for a while, and may be expelled meanwhile.
    pub producer_freeze: u32,
    /// The wall clock of a producer jumps.
    pub clock_jump: u32,
    /// A partition has no leader for a while: it takes nothing.
    pub leader_away: u32,
    /// A client of a producer delivers nothing more. An occasion is a batch.
    pub delivery_failed: u32,
    /// A client of a producer refuses the next record.
    pub send_refused: u32,
    /// The first batch of a client to a partition is overtaken by the second. An occasion is a batch.
    pub first_batch_overtaken: u32,
    /// All progress that stands in a partition of `roaming.lanes` is lost.
    pub progress_lost: u32,
}

/// What happens to the log at the end of the faults, and cannot be made good: it must be told exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disaster {
    /// Retention removes records of a partition that are not stored yet.
    Overtaken,
    /// The topic is made anew, and is empty.
    Recreated,
}

impl Disaster {
    /// Draws one, for few seeds.
    pub fn draw(seed: Seed) -> Option<Self> {
        match seed.stream(Concern::Disaster).below(30) {
            0 => Some(Self::Overtaken),
            1 => Some(Self::Recreated),
            _ => None,
        }
    }
}

impl Faults {
    /// Draws a mix: each fault is off in about two of five mixes, so that some seeds look at few faults
    /// closely and others at all together.
    pub fn draw(seed: Seed) -> Self {
        let mut stream = seed.stream(Concern::FaultMix);
        let mut knob = |max| draw_knob(&mut stream, max);
        Self {
            consumer_crash: knob(60),
            consumer_rebalance: knob(60),
            rewind: knob(100),
            producer_crash: knob(60),
            producer_rebalance: knob(60),
            acknowledgement_lost: knob(30),
            reorder: knob(200),
            zombie_ticks_max: u64::from(knob(40)),
            stranger: knob(200),
            damage: knob(40),
            truncation: knob(50),
            broker_cut_off: knob(200),
            offset_commit_lost: knob(500),
            store: StoreFaults {
                unavailable: knob(300),
                unknown_after_commit: knob(150),
                unknown_before_commit: knob(150),
            },
            pause: knob(60),
            producer_freeze: knob(30),
            clock_jump: knob(60),
            leader_away: knob(30),
            delivery_failed: knob(10),
            send_refused: knob(10),
            first_batch_overtaken: knob(500),
            progress_lost: knob(5),
        }
    }
}

fn draw_knob(stream: &mut Stream, max: u32) -> u32 {
    let value = stream.between(1, u64::from(max)) as u32;
    if stream.chance(400) { 0 } else { value }
}
