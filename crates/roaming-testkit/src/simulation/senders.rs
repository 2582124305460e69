//! Replicas of the producer: its production code, over simulated clients, topics, group and clocks.

mod account;
mod control;
mod lanes_topic;
mod membership;
mod network;
mod replica;

use std::collections::BTreeMap;

use roaming_events::{LaneId, RunId, SimTime};
use roaming_service::topics;

use super::coordinator::{Coordinator, MemberId};
use super::report::{Finding, Outcome};
use super::{Producers, World};
use crate::engine::EngineScenario;
use crate::fault::Faults;
use crate::seed::Stream;
use control::ControlTopic;
use lanes_topic::LanesTopic;
use network::{Network, Place};
use replica::Replica;

/// The most replicas at a time.
const REPLICAS_MAX: u64 = 3;
/// For how long nothing must have been sent or heard of before producers count as idle: longer than the
/// pause after a client was given up, the interval of markers and that of progress.
const QUIET_MS: u64 = 3_000;
/// For how many ticks a replica is frozen at most, and after how many its session times out.
const FREEZE_TICKS_MAX: u64 = 60;
const SESSION_TICKS: u64 = 20;
/// For how many ticks the sender's thread alone stands still at most: longer than the group waits for it.
const THREAD_TICKS_MAX: u64 = 250;
/// For how many ticks a partition has no leader at most: longer than lanes may take to come to rest.
const AWAY_TICKS_MAX: u64 = 150;
/// How far the wall clock of a replica jumps at most.
const JUMP_MS_MAX: u64 = 30_000;

/// All replicas, their group, and the topics that are theirs alone.
pub(super) struct Senders<'a> {
    scenario: &'a EngineScenario,
    replicas: Vec<Replica>,
    coordinator: Coordinator,
    /// How many replicas are to run.
    wanted: usize,
    ids: MemberId,
    network: Network,
    lanes: LanesTopic,
    control: ControlTopic,
    /// Partitions without a leader, and the tick at which they have one again.
    away: BTreeMap<Place, u64>,
    stream: Stream,
    /// The tick at which anything happened last.
    stirred: u64,
    /// Up to where runs were told to go, after the faults.
    told: Option<SimTime>,
}

impl<'a> Senders<'a> {
    pub(super) fn new(world: &World<'_>, scenario: &'a EngineScenario, stream: Stream) -> Self {
        Self {
            scenario,
            replicas: Vec::new(),
            coordinator: Coordinator::default(),
            wanted: 1,
            ids: 0,
            network: Network::default(),
            lanes: LanesTopic::new(scenario.partitions().lanes),
            control: ControlTopic::new(world, scenario),
            away: BTreeMap::new(),
            stream,
            stirred: 0,
            told: None,
        }
    }

    /// Moves partitions: to others, with a replica more or less, or away from one that does not know.
    fn rebalance(&mut self, world: &mut World<'_>) {
        world.report.count("producer rebalance");
        match world.fault.below(4) {
            0 => {
                world.report.count("lanes moved");
                self.coordinator.rotate();
            }
            1 => {
                world.report.count("producers scaled");
                self.wanted = world.fault.between(1, REPLICAS_MAX) as usize;
            }
            _ => {
                let ticks = world.fault.between(0, world.faults.zombie_ticks_max);
                let Some(replica) = pick(&mut self.replicas, world) else { return };
                if replica.lose_membership(world.tick + ticks) {
                    world.report.count("producer expelled");
                    world
                        .trace
                        .note(format!("{}: producer {} is expelled", world.tick, replica.id));
                    self.coordinator.expel(replica.id);
                }
            }
        }
    }

    /// Lets a replica stand still, perhaps for longer than its session lasts.
    fn freeze(&mut self, world: &mut World<'_>) {
        if world.fault.chance(300) {
            let ticks = world.fault.between(1, THREAD_TICKS_MAX);
            let Some(replica) = pick(&mut self.replicas, world) else { return };
            replica.freeze_sender(world.tick + ticks);
            world.report.count("sender frozen");
            world.trace.note(format!("{}: sender {} is frozen", world.tick, replica.id));
            return;
        }
        let ticks = world.fault.between(1, FREEZE_TICKS_MAX);
        let Some(replica) = pick(&mut self.replicas, world) else { return };
        let thawed = world.tick + ticks;
        replica.freeze(thawed);
        world.report.count("producer frozen");
        world.trace.note(format!("{}: producer {} is frozen", world.tick, replica.id));
        if ticks > SESSION_TICKS {
            let learns = thawed + world.fault.between(0, world.faults.zombie_ticks_max);
            if replica.lose_membership(learns) {
                world.report.count("session of a frozen producer timed out");
                self.coordinator.falls_silent(replica.id, world.tick + SESSION_TICKS);
            }
        }
    }

    /// Starts and stops replicas until there are as many as wanted.
    fn scale(&mut self, world: &mut World<'_>) {
        let running = self.replicas.iter().filter(|replica| !replica.is_stopping()).count();
        if running < self.wanted && world.schedule.chance(300) {
            self.ids += 1;
            let account = account::Account::new(world.options.unread_bytes_max);
            let network = self.network.of_process(account.clone());
            let partitions = self.scenario.partitions();
            let replica =
                Replica::start(world, self.ids, network, account, partitions, &self.control);
            self.coordinator.join(self.ids);
            world.trace.note(format!("{}: producer {} joins", world.tick, self.ids));
            self.replicas.push(replica);
        } else if running > self.wanted {
            let index = world.schedule.index(self.replicas.len());
            if !self.replicas[index].is_stopping() {
                world.report.count("producer stopped");
                self.replicas[index].stop();
            }
        }
    }

    /// Lets a replica do a little; returns whether it goes on.
    fn drive(&mut self, world: &mut World<'_>, index: usize) -> Result<bool, Finding> {
        let replica = &mut self.replicas[index];
        if replica.is_frozen(world.tick) || world.schedule.chance(150) {
            return Ok(true);
        }
        let given_up = replica.follow(world, &self.control, &self.lanes);
        self.coordinator.given_up(replica.id, &given_up);
        let has_stirred = replica.step(world)?;
        if has_stirred || !given_up.is_empty() {
            self.stirred = world.tick;
        }
        if replica.has_left() {
            self.coordinator.expel(replica.id);
            return Ok(!replica.has_stopped());
        }
        if replica.is_to_learn(world.tick)
            && !self.coordinator.has(replica.id)
            && replica.joins_again()
        {
            self.coordinator.join(replica.id);
            world.report.count("producer joined again");
            world.trace.note(format!("{}: producer {} joins again", world.tick, replica.id));
        }
        Ok(true)
    }
}

/// Returns any replica.
fn pick<'a>(replicas: &'a mut [Replica], world: &mut World<'_>) -> Option<&'a mut Replica> {
    if replicas.is_empty() {
        return None;
    }
    let index = world.fault.index(replicas.len());
    replicas.get_mut(index)
}

impl Producers for Senders<'_> {
    fn control(&mut self, world: &mut World<'_>, run: RunId, stream: &mut Stream) {
        self.control.change(world, &self.lanes, run, stream);
    }

    fn fail(&mut self, world: &mut World<'_>) {
        let Faults { producer_crash, producer_rebalance, producer_freeze, .. } = world.faults;
        let Faults { clock_jump, leader_away, send_refused, progress_lost, .. } = world.faults;
        if world.fault.chance(producer_crash) && !self.replicas.is_empty() {
            let replica = self.replicas.swap_remove(world.fault.index(self.replicas.len()));
            let ticks = world.fault.between(0, world.faults.zombie_ticks_max);
            self.coordinator.falls_silent(replica.id, world.tick + ticks);
            world.report.count("producer crash");
            world.report.add("producer crash in a hand-over", u64::from(replica.is_handing_over()));
            world.trace.note(format!("{}: producer {} crashes", world.tick, replica.id));
        }
        if world.fault.chance(producer_rebalance) {
            self.rebalance(world);
        }
        if world.fault.chance(producer_freeze) {
            self.freeze(world);
        }
        if world.fault.chance(clock_jump)
            && let Some(replica) = pick(&mut self.replicas, world)
        {
            let (ahead, back) =
                (world.fault.between(0, JUMP_MS_MAX), world.fault.between(0, JUMP_MS_MAX));
            replica.set_clock(ahead.cast_signed() - back.cast_signed());
            world.report.count("clock jumped");
        }
        if world.fault.chance(leader_away) {
            let partitions = self.scenario.partitions();
            let (topic, count) = if world.fault.chance(700) {
                (topics::EVENTS, partitions.events)
            } else {
                (topics::LANES, partitions.lanes)
            };
            let place = (topic, world.fault.below(u64::from(count)) as u16);
            let back = world.tick + world.fault.between(1, AWAY_TICKS_MAX);
            self.away.insert(place, back);
            world.report.count("leader away");
            world.trace.note(format!("{}: {place:?} has no leader until {back}", world.tick));
        }
        if world.fault.chance(send_refused)
            && let Some(replica) = pick(&mut self.replicas, world)
        {
            self.network.refuse(replica.account());
        }
        let partition = world.fault.below(u64::from(self.lanes.partitions())) as u16;
        if world.fault.chance(progress_lost) {
            self.lanes.lose(partition);
            world.report.count("progress lost");
            world.trace.note(format!("{}: progress of {partition} is lost", world.tick));
        } else if world.fault.chance(50) {
            self.lanes.compact(partition);
            world.report.count("progress compacted");
        }
    }

    fn heal(&mut self, world: &mut World<'_>) {
        self.away.clear();
        self.coordinator.time_out(u64::MAX);
        for replica in &mut self.replicas {
            replica.heal(world.tick);
        }
    }

    fn are_idle(&self, world: &World<'_>) -> bool {
        let quiet = (world.tick - self.stirred) * world.options.tick.as_millis() as u64;
        quiet > QUIET_MS
            && self.told == Some(world.until)
            && self.network.is_idle()
            && self.coordinator.is_settled(self.lanes.partitions())
            && self
                .replicas
                .iter()
                .all(|replica| replica.is_idle(world, &self.control, &self.lanes))
    }

    fn check_end(&self, world: &mut World<'_>) -> Outcome {
        for view in world.scenario.runs() {
            for lane in LaneId::all(view.lanes) {
                if !self.lanes.has_ended(view.run, lane) {
                    let what = format!("never recorded the end of lane {lane} of run {}", view.run);
                    return Err(Finding::Producer { what });
                }
                // It may be lost, and earlier progress that was on its way for long may stand there now.
                let progress = self.lanes.progress(view.run, lane);
                if !progress.is_some_and(|progress| progress.ended) {
                    world.report.count("recorded end not there any more");
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, world: &mut World<'_>) -> Outcome {
        if world.is_healthy() && self.told != Some(world.until) {
            self.control.go_up_to(world, world.until);
            self.told = Some(world.until);
            self.stirred = world.tick;
        }
        self.coordinator.time_out(world.tick);
        self.scale(world);
        if world.schedule.chance(300) {
            for (id, change) in self.coordinator.assign(self.lanes.partitions()) {
                // One whose process is gone hears nothing.
                if let Some(replica) = self.replicas.iter_mut().find(|replica| replica.id == id) {
                    replica.tell(change);
                    self.stirred = world.tick;
                }
            }
        }
        self.away.retain(|_, until| *until > world.tick);
        let Self { network, lanes, away, stream, .. } = self;
        network.carry(world, lanes, away, stream)?;
        let mut index = 0;
        while index < self.replicas.len() {
            if self.drive(world, index)? {
                index += 1;
            } else {
                self.replicas.swap_remove(index);
            }
        }
        Ok(())
    }
}
