//! What one process has sent and heard of: what it is judged by.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::rc::Rc;

use roaming_events::{EventId, LaneId, RunId, Sequence};
use roaming_producer::client::{Delivery, Outgoing, Slot, Tag};
use roaming_producer::progress::Progress;
use roaming_producer::snapshot::PieceKey;
use roaming_service::topics;

/// The account of a process; clones share it.
#[derive(Clone, Default)]
pub(super) struct Account {
    kept: Rc<RefCell<Kept>>,
}

#[derive(Default)]
struct Kept {
    unread_bytes_max: u64,
    /// How many clients were opened.
    clients: u64,
    /// How much was sent and heard of.
    records: u64,
    unread: BTreeMap<u16, Unread>,
    /// Events and end markers sent since they were asked for, with what the wall clock showed.
    sent: Vec<(EventId, u64)>,
    /// The lane that sent in each slot last.
    slots: BTreeMap<Slot, (RunId, LaneId)>,
    /// What was heard of each lane.
    heard: BTreeMap<(RunId, LaneId), Heard>,
    /// What was sent of lanes' progress and snapshots and not heard of, by partition of `roaming.lanes`.
    told: BTreeMap<u16, VecDeque<Told>>,
    /// Whether some lane was not at rest when the last client was opened.
    was_restless: bool,
    /// Why a client of it delivers nothing more, where the process was told.
    failure: Option<Failure>,
    broken: Option<String>,
}

/// What a record of `roaming.lanes` says.
#[derive(Clone, Copy)]
enum Told {
    Progress(Progress),
    Piece((RunId, LaneId)),
    Nothing,
}

impl Told {
    fn of(key: &[u8], value: Option<&[u8]>) -> Self {
        let progress = value.and_then(|value| Progress::decode(key, value).ok());
        let piece = || value.and_then(|_| PieceKey::read(key));
        match progress {
            Some(progress) => Self::Progress(progress),
            None => piece().map_or(Self::Nothing, |piece| Self::Piece((piece.run, piece.lane))),
        }
    }

    /// The lane that is not at rest while this is on its way.
    fn lane(self) -> Option<(RunId, LaneId)> {
        match self {
            Self::Progress(progress) => Some((progress.run, progress.lane)),
            Self::Piece(lane) => Some(lane),
            Self::Nothing => None,
        }
    }
}

/// Why a client is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A record was not delivered.
    Undelivered,
    /// A record was refused.
    Refused,
}

/// Bytes of a partition that are unread, as far as the process can know.
#[derive(Default)]
struct Unread {
    in_flight: u64,
    /// Offsets with the bytes there, in order.
    held: VecDeque<(u64, u64)>,
    /// What is known to be read by the consumers lies before this offset.
    next_offset: u64,
}

/// What a process heard of a lane.
#[derive(Clone, Copy, Default)]
struct Heard {
    /// The last event or end marker that was acknowledged.
    acknowledged: Option<Sequence>,
    recorded: Option<Progress>,
    /// Records of the lane, its progress and its snapshots that were not heard of.
    on_their_way: u64,
}

impl Heard {
    /// Whether nothing is on its way, and recorded progress stands for all that was acknowledged.
    fn is_at_rest(self) -> bool {
        let is_recorded = |sequence| {
            self.recorded.is_some_and(|progress| progress.ended || progress.acknowledged > sequence)
        };
        self.on_their_way == 0 && self.acknowledged.is_none_or(is_recorded)
    }
}

impl Account {
    pub(super) fn new(unread_bytes_max: u64) -> Self {
        let account = Self::default();
        account.kept.borrow_mut().unread_bytes_max = unread_bytes_max;
        account
    }

    /// Whether it is the same account.
    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.kept, &other.kept)
    }

    pub(super) fn opens_client(&self) {
        let mut kept = self.kept.borrow_mut();
        kept.clients += 1;
        kept.was_restless = kept.heard.values().any(|heard| !heard.is_at_rest());
        kept.told.clear();
        kept.heard.values_mut().for_each(|heard| heard.on_their_way = 0);
        kept.unread.values_mut().for_each(|unread| unread.in_flight = 0);
    }

    pub(super) fn fails(&self, failure: Failure) {
        self.kept.borrow_mut().failure = Some(failure);
    }

    /// Whether the client before had something on its way, or to be recorded.
    pub(super) fn was_restless(&self) -> bool {
        self.kept.borrow().was_restless
    }

    /// Returns why the client before is lost, where the process was told.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.kept.borrow_mut().failure.take()
    }

    /// Returns how many clients were opened.
    pub(super) fn clients(&self) -> u64 {
        self.kept.borrow().clients
    }

    /// Returns how many records were sent and heard of.
    pub(super) fn records(&self) -> u64 {
        self.kept.borrow().records
    }

    pub(super) fn sends(&self, record: &Outgoing<'_>) {
        let kept = &mut *self.kept.borrow_mut();
        kept.records += 1;
        if record.topic == topics::EVENTS {
            let unread = kept.unread.entry(record.partition).or_default();
            let bytes = unread.bytes();
            if bytes >= kept.unread_bytes_max {
                let partition = record.partition;
                kept.broken = Some(format!(
                    "sent to partition {partition}, of which {bytes} bytes stand unread"
                ));
            }
            unread.in_flight += record.bytes();
        }
        match (record.tag, record.payload) {
            (Tag::Numbered(slot, _), _) => {
                if let Ok(id) = EventId::from_key(record.key) {
                    kept.sent.push((id, record.created_unix_ms.unwrap_or_default()));
                    kept.slots.insert(slot, (id.run, id.lane));
                    kept.heard.entry((id.run, id.lane)).or_default().on_their_way += 1;
                }
            }
            (Tag::Marker, _) => {}
            (Tag::Progress(_) | Tag::Tombstone, value) => {
                let said = Told::of(record.key, value);
                if let Some(lane) = said.lane() {
                    kept.heard.entry(lane).or_default().on_their_way += 1;
                }
                kept.told.entry(record.partition).or_default().push_back(said);
            }
        }
    }

    pub(super) fn hears_of(&self, delivery: &Delivery) {
        let kept = &mut *self.kept.borrow_mut();
        kept.records += 1;
        let &Delivery { tag, partition, offset, bytes } = delivery;
        if let Tag::Numbered(..) | Tag::Marker = tag {
            let unread = kept.unread.entry(partition).or_default();
            unread.in_flight = unread.in_flight.saturating_sub(bytes);
            // The consumers may have read it before its sender heard of it.
            if offset >= unread.next_offset {
                unread.held.push_back((offset, bytes));
            }
        }
        match tag {
            Tag::Numbered(slot, sequence) => {
                if let Some(&lane) = kept.slots.get(&slot) {
                    let heard = kept.heard.entry(lane).or_default();
                    heard.acknowledged = Some(sequence);
                    heard.on_their_way = heard.on_their_way.saturating_sub(1);
                }
            }
            Tag::Progress(_) | Tag::Tombstone => {
                let said = kept.told.get_mut(&partition).and_then(VecDeque::pop_front);
                if let Some(said) = said
                    && let Some(lane) = said.lane()
                {
                    let heard = kept.heard.entry(lane).or_default();
                    heard.on_their_way = heard.on_their_way.saturating_sub(1);
                    if let Told::Progress(progress) = said {
                        heard.recorded = Some(progress);
                    }
                }
            }
            Tag::Marker => {}
        }
    }

    /// Forgets lanes that were given away; returns one that was not at rest, so that its next owner
    /// repeats something.
    pub(super) fn let_go(&self, is_theirs: impl Fn(LaneId) -> bool) -> Option<(RunId, LaneId)> {
        let mut kept = self.kept.borrow_mut();
        let gone = kept.heard.extract_if(.., |(_, lane), _| is_theirs(*lane));
        let mut restless = gone.filter(|(_, heard)| !heard.is_at_rest());
        let first = restless.next().map(|(lane, _)| lane);
        restless.for_each(drop);
        first
    }

    /// Takes note that the process knows an offset that the consumers committed.
    pub(super) fn is_told(&self, partition: u16, next_offset: u64) {
        let mut kept = self.kept.borrow_mut();
        let unread = kept.unread.entry(partition).or_default();
        unread.next_offset = unread.next_offset.max(next_offset);
        while unread.held.front().is_some_and(|&(offset, _)| offset < next_offset) {
            unread.held.pop_front();
        }
    }

    /// Whether nothing is on its way to a partition, and flow control lets more be sent.
    pub(super) fn is_free(&self, partition: u16) -> bool {
        let kept = self.kept.borrow();
        // What flow control takes for unread is more than what is, by what it remembers as one.
        kept.unread.get(&partition).is_none_or(|unread| {
            unread.in_flight == 0 && unread.bytes() < kept.unread_bytes_max / 2
        })
    }

    /// Whether flow control holds any partition.
    pub(super) fn is_held(&self) -> bool {
        let kept = self.kept.borrow();
        kept.unread.values().any(|unread| unread.bytes() >= kept.unread_bytes_max)
    }

    /// Returns the events and end markers that were sent since the last call.
    pub(super) fn take_sent(&self) -> Vec<(EventId, u64)> {
        mem::take(&mut self.kept.borrow_mut().sent)
    }

    /// Returns what was done that must not be.
    pub(super) fn broken(&self) -> Option<String> {
        self.kept.borrow().broken.clone()
    }
}

impl Unread {
    fn bytes(&self) -> u64 {
        self.in_flight + self.held.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}
