//! One process of the producer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use prometheus::Registry;
use roaming_consumer::group::Change;
use roaming_events::{EventId, LaneId, RunId, SimDuration, SimTime};
use roaming_producer::Observer;
use roaming_producer::clock::Moment;
use roaming_producer::fleet::TopicPartitions;
use roaming_producer::metrics::ProducerMetrics;
use roaming_producer::sender::{Command, Sender, SenderParts};
use roaming_producer::watch::Committed;
use roaming_service::health::Health;
use roaming_sim::control::ControlRecord;

use super::super::World;
use super::super::consumers::GROUP;
use super::super::coordinator::MemberId;
use super::super::report::{Finding, Outcome};
use super::account::{Account, Failure};
use super::control::ControlTopic;
use super::lanes_topic::LanesTopic;
use super::membership::Membership;
use super::network::Network;

/// In how many steps in a row a process may send nothing although it may and has something.
const IDLE_STEPS_MAX: u32 = 30;
/// For how long it need not, after a client was given up: its longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A process: the sender, what its other threads do, and what it may do.
pub(super) struct Replica {
    pub(super) id: MemberId,
    sender: Sender<Network>,
    account: Account,
    membership: Membership,
    commands: VecDeque<Command>,
    /// Where it reads on in the topic of control records.
    place: usize,
    committed: Committed,
    /// What it knows of the consumers' offsets, and whether that is new to its sender.
    known_offsets: BTreeMap<u16, Option<u64>>,
    has_news: bool,
    /// By how much its wall clock is ahead.
    skew_ms: i64,
    frozen_until: u64,
    /// Until when the thread of its sender does nothing.
    sender_frozen_until: u64,
    /// The tick at which it learns that it is no member any more, where it is not.
    zombie_until: Option<u64>,
    is_stopping: bool,
    duty: Duty,
    /// When its client was opened, and which.
    opened: (u64, Instant),
    idle_steps: u32,
}

/// What the sender was told to do.
struct Duty {
    partitions: TopicPartitions,
    /// The partitions of `roaming.lanes` that it owns.
    owned: BTreeSet<u16>,
    records: BTreeMap<RunId, ControlRecord>,
    /// The partitions that it is giving up.
    leaving: Option<BTreeSet<u16>>,
}

impl Replica {
    pub(super) fn start(
        world: &World<'_>,
        id: MemberId,
        network: Network,
        account: Account,
        partitions: TopicPartitions,
        control: &ControlTopic,
    ) -> Self {
        let metrics = ProducerMetrics::register(&Registry::new())
            .expect("the names of the metrics are distinct and the registry is new");
        let committed = Committed::default();
        let parts = SenderParts {
            kafka: network,
            unread_bytes_max: world.options.unread_bytes_max,
            committed: committed.clone(),
            observer: Observer::new(&metrics),
            metrics,
            partitions,
            health: Health::default(),
            snapshot_way_max: world.options.snapshot_way_max,
            gate: None,
        };
        let now = Moment { instant: world.now(), unix_ms: world.wall_unix_ms() };
        let sender = Sender::try_new(parts, now).expect("a simulated client always opens");
        let mut commands = VecDeque::new();
        let place = control.open(&mut commands);
        Self {
            id,
            sender,
            account,
            membership: Membership::default(),
            commands,
            place,
            committed,
            known_offsets: BTreeMap::new(),
            has_news: false,
            skew_ms: 0,
            frozen_until: 0,
            sender_frozen_until: 0,
            zombie_until: None,
            is_stopping: false,
            duty: Duty {
                partitions,
                owned: BTreeSet::new(),
                records: BTreeMap::new(),
                leaving: None,
            },
            opened: (1, world.now()),
            idle_steps: 0,
        }
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn tell(&mut self, change: Change) {
        // Who leaves gives everything up, and takes nothing.
        if !self.is_stopping {
            self.membership.tell(change);
        }
    }

    pub(super) fn freeze(&mut self, until: u64) {
        self.frozen_until = until;
    }

    pub(super) fn freeze_sender(&mut self, until: u64) {
        self.sender_frozen_until = until;
    }

    pub(super) fn is_frozen(&self, tick: u64) -> bool {
        self.frozen_until > tick
    }

    pub(super) fn set_clock(&mut self, skew_ms: i64) {
        self.skew_ms = skew_ms;
    }

    pub(super) fn is_handing_over(&self) -> bool {
        self.sender.is_handing_over()
    }

    /// Lets it be no member any more, which it learns at a tick; returns whether it was one.
    pub(super) fn lose_membership(&mut self, learns: u64) -> bool {
        let is_member = self.zombie_until.is_none() && !self.is_stopping;
        if is_member {
            self.zombie_until = Some(learns);
        }
        is_member
    }

    /// Whether it is no member any more and has learned of it.
    pub(super) fn is_to_learn(&self, tick: u64) -> bool {
        self.zombie_until.is_some_and(|until| until <= tick)
    }

    /// Lets it give up what it holds; returns whether it has, and so is a member again.
    pub(super) fn joins_again(&mut self) -> bool {
        let has_nothing = self.membership.has_nothing();
        if has_nothing {
            self.zombie_until = None;
        } else {
            self.membership.give_all_up();
        }
        has_nothing
    }

    /// Asks it to stop: it leaves the group, which takes the same way as losing partitions.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
        self.membership.give_all_up();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether it has left the group.
    pub(super) fn has_left(&self) -> bool {
        self.is_stopping && self.membership.has_nothing()
    }

    /// Whether its sender has ended too: nobody can tell it anything more.
    pub(super) fn has_stopped(&self) -> bool {
        self.has_left() && self.commands.is_empty() && !self.sender.is_handing_over()
    }

    /// Ends what was done to it.
    pub(super) fn heal(&mut self, tick: u64) {
        self.frozen_until = 0;
        self.sender_frozen_until = 0;
        self.skew_ms = 0;
        self.zombie_until = self.zombie_until.map(|_| tick);
    }

    /// Whether it has nothing to do, and knows all there is to know.
    pub(super) fn is_idle(
        &self,
        world: &World<'_>,
        control: &ControlTopic,
        lanes: &LanesTopic,
    ) -> bool {
        let knows = |(&partition, &offset): (&u16, &Option<u64>)| {
            world.log.committed(GROUP, partition) == offset
        };
        !self.is_stopping
            && !self.has_news
            && self.known_offsets.iter().all(knows)
            && self.zombie_until.is_none()
            && self.commands.is_empty()
            && !self.sender.is_handing_over()
            && control.is_read(self.place)
            && self.membership.is_settled(lanes)
    }

    /// Lets its other threads do a little; returns the partitions that it has given up.
    pub(super) fn follow(
        &mut self,
        world: &mut World<'_>,
        control: &ControlTopic,
        lanes: &LanesTopic,
    ) -> Vec<u16> {
        if world.schedule.chance(300)
            && let Some(command) = control.next(self.place)
        {
            self.place += 1;
            self.commands.push_back(command);
        }
        if world.schedule.chance(300) {
            for partition in 0..self.duty.partitions.events {
                let offset = world.log.committed(GROUP, partition);
                self.committed.tell(partition, offset);
                self.has_news |= self.known_offsets.insert(partition, offset) != Some(offset);
            }
        }
        if world.schedule.chance(500) {
            return self.membership.step(world, lanes, &mut self.commands);
        }
        Vec::new()
    }

    /// Lets the sender take some steps; returns whether anything came of it.
    pub(super) fn step(&mut self, world: &mut World<'_>) -> Result<bool, Finding> {
        if self.sender_frozen_until > world.tick {
            return Ok(false);
        }
        for (&partition, &offset) in &self.known_offsets {
            self.account.is_told(partition, offset.unwrap_or(0));
        }
        let unix_ms = world.wall_unix_ms().saturating_add_signed(self.skew_ms);
        let now = Moment { instant: world.now(), unix_ms };
        let before = self.account.records();
        let mut has_stirred = std::mem::take(&mut self.has_news);
        for _ in 0..world.schedule.below(4) {
            while !self.sender.is_handing_over()
                && let Some(command) = self.commands.pop_front()
            {
                has_stirred = true;
                self.obey(world, command, now);
                self.check_hand_over()?;
            }
            let sent = self.account.records();
            let was_handing_over = self.sender.is_handing_over();
            self.sender
                .step(now)
                .map_err(|error| Finding::Producer { what: format!("ended: {error}") })?;
            if self.account.clients() != self.opened.0 {
                self.opened = (self.account.clients(), now.instant);
                self.note_new_client(world, was_handing_over)?;
            }
            self.check_hand_over()?;
            self.check_sent(world)?;
            world.report.add("held by flow control", u64::from(self.account.is_held()));
            if self.account.records() == sent && self.could_send(world, now) {
                self.idle_steps += 1;
            } else {
                self.idle_steps = 0;
            }
            if self.idle_steps > IDLE_STEPS_MAX {
                let what = format!("sends nothing in {IDLE_STEPS_MAX} steps although it may");
                return Err(Finding::Producer { what });
            }
        }
        Ok(has_stirred || self.account.records() != before || self.sender.is_handing_over())
    }

    /// Takes note that a client was given up for another, and checks that there was a reason.
    fn note_new_client(&mut self, world: &mut World<'_>, was_handing_over: bool) -> Outcome {
        world.report.count("client given up");
        if was_handing_over {
            world.report.count("client given up in a hand-over");
            // Lanes were let go as they were: who takes them up next repeats.
            self.account.let_go(|_| true);
        }
        match self.account.take_failure() {
            Some(Failure::Refused) => world.report.count("send refused"),
            Some(Failure::Undelivered) => {}
            None if was_handing_over && self.account.was_restless() => {
                world.report.count("hand-over too slow");
            }
            None => {
                let what = "gave up a client that had lost nothing".to_owned();
                return Err(Finding::Producer { what });
            }
        }
        Ok(())
    }

    /// Passes a command on, and takes note of what it asks for.
    fn obey(&mut self, world: &mut World<'_>, command: Command, now: Moment) {
        let hand_over = match &command {
            Command::Control { name, record } => {
                self.duty.records.retain(|_, of| of.specification.name != *name);
                self.duty
                    .records
                    .extend(record.as_deref().map(|record| (record.run, record.clone())));
                Some("hand-over by control record")
            }
            Command::Owned { partition, .. } => {
                self.duty.owned.insert(*partition);
                None
            }
            Command::Revoked { partitions, .. } => {
                self.duty.owned.retain(|partition| !partitions.contains(partition));
                self.duty.leaving = Some(partitions.clone());
                Some("hand-over of partitions")
            }
            Command::Unreadable { .. } | Command::Partitions(_) => None,
        };
        self.sender.obey(command, now);
        if let Some(hand_over) = hand_over.filter(|_| self.sender.is_handing_over()) {
            world.report.count(hand_over);
        }
    }

    /// Checks, where partitions were given up, that nothing of their lanes is on its way and all that was
    /// acknowledged is recorded: their next owner repeats nothing.
    fn check_hand_over(&mut self) -> Outcome {
        if self.sender.is_handing_over() {
            return Ok(());
        }
        let Some(partitions) = self.duty.leaving.take() else { return Ok(()) };
        let lanes_partitions = self.duty.partitions.lanes;
        let restless =
            self.account.let_go(|lane| partitions.contains(&lane.partition(lanes_partitions)));
        match restless {
            None => Ok(()),
            Some((run, lane)) => {
                let what = format!("gave lane {lane} of run {run} away before it was at rest");
                Err(Finding::Producer { what })
            }
        }
    }

    /// Checks what was sent against what it was told.
    fn check_sent(&self, world: &mut World<'_>) -> Outcome {
        if let Some(what) = self.account.broken() {
            return Err(Finding::Producer { what });
        }
        let sent = self.account.take_sent();
        if self.zombie_until.is_some() && !sent.is_empty() {
            world.report.count("zombie sent");
        }
        for (id, unix_ms) in sent {
            let EventId { run, lane, sequence } = id;
            let home = lane.partition(self.duty.partitions.lanes);
            let what = match self.duty.records.get(&run) {
                _ if !self.duty.owned.contains(&home) => "without owning it".to_owned(),
                None => "of a run that was taken away".to_owned(),
                Some(record) => {
                    let (time, allowed) =
                        (emission_time(world, record, id), record.allowed_until(unix_ms));
                    if time < allowed {
                        continue;
                    }
                    format!("of {time}, when {allowed} was reached")
                }
            };
            let what = format!("sent {sequence} of lane {lane} of run {run} {what}");
            return Err(Finding::Producer { what });
        }
        Ok(())
    }

    /// Whether a lane has something to send, and nothing keeps it, or those that it goes along with, from
    /// sending it.
    fn could_send(&self, world: &World<'_>, now: Moment) -> bool {
        if now.since(self.opened.1) <= PAUSE_MAX && self.opened.0 > 1 {
            return false;
        }
        let mut is_due = false;
        for record in self.duty.records.values() {
            let allowed = record.allowed_until(now.unix_ms);
            let is_alive = record.state.is_alive() && record.anchor.wall_unix_ms <= now.unix_ms;
            let lanes = LaneId::all(record.specification.lanes);
            let owned = |lane: &LaneId| {
                self.duty.owned.contains(&lane.partition(self.duty.partitions.lanes))
            };
            for lane in lanes.filter(owned) {
                let held = world.oracle.lane(record.run, lane);
                if held.is_ended {
                    continue;
                }
                if !self.account.is_free(lane.partition(self.duty.partitions.events)) {
                    return false;
                }
                let id = EventId { run: record.run, lane, sequence: held.next };
                is_due |= is_alive && emission_time(world, record, id) < allowed;
            }
        }
        is_due
    }
}

/// Returns when an event is emitted; just before the end of its run for the end marker, which may leave then.
fn emission_time(world: &World<'_>, record: &ControlRecord, id: EventId) -> SimTime {
    let events = &world.oracle.lane(id.run, id.lane).events;
    let event = events.get(id.sequence.get() as usize);
    event.map_or(record.specification.end() - SimDuration::from_ms(1), |event| event.emission_time)
}
