//! Takes snapshots of lanes by turns, and writes them to `roaming.lanes`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Client, Slot};
use crate::clock::Moment;
use crate::fleet::Fleet;
use crate::lane::LaneSender;
use crate::snapshot::{PieceKey, Snapshot};
use crate::wire::{Wire, WireError};

/// How often a lane is looked for that needs one.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many events more a lane goes without a snapshot for each of its subscribers: a subscriber in a snapshot
/// costs both sides about as much as an event that the engine goes through.
const WAY_PER_SUBSCRIBER: u64 = 8;

/// What is being written, one snapshot at a time.
pub(crate) struct SnapshotWriter {
    /// A lane of few subscribers gets a snapshot when its next owner would have a longer way than this, in
    /// events.
    way_max: u64,
    looked: Instant,
    writing: Option<Writing>,
}

struct Writing {
    slot: Slot,
    key: PieceKey,
    snapshot: Arc<Snapshot>,
}

impl SnapshotWriter {
    /// Has written nothing yet.
    pub(crate) fn new(way_max: u64, now: Moment) -> Self {
        Self { way_max, looked: now.instant, writing: None }
    }

    /// Writes as much as has room now, or takes the next snapshot when it is time. Lanes in `leaving` come to
    /// rest, and get none.
    ///
    /// # Errors
    /// Fails where the client must be given up.
    pub(crate) fn go_on<C: Client>(
        &mut self,
        fleet: &mut Fleet,
        wire: &mut Wire<C>,
        leaving: Option<&BTreeSet<Slot>>,
        now: Moment,
    ) -> Result<(), WireError> {
        let stays = |slot: Slot| !leaving.is_some_and(|slots| slots.contains(&slot));
        // Its lane may have gone, and another one be in its slot.
        self.writing = self.writing.take().filter(|Writing { slot, key, .. }| {
            let lane = fleet.lane_mut(*slot);
            stays(*slot) && lane.is_some_and(|lane| lane.name() == (key.run, key.lane))
        });
        if let Some(writing) = &mut self.writing {
            if writing.go_on(fleet, wire)? {
                self.writing = None;
            }
        } else if now.since(self.looked) >= INTERVAL {
            self.looked = now.instant;
            self.writing = begin(fleet, self.way_max).filter(|writing| stays(writing.slot));
        }
        Ok(())
    }

    /// Forgets what was being written: its client was given up.
    pub(crate) fn give_up(&mut self) {
        self.writing = None;
    }
}

/// Takes the snapshot that is needed most, where one is.
fn begin(fleet: &mut Fleet, way_max: u64) -> Option<Writing> {
    let allowed = |lane: &LaneSender| way_max + WAY_PER_SUBSCRIBER * lane.subscribers();
    let slot = fleet.farthest_from_snapshot(allowed)?;
    let (run, lane) = fleet.lane_mut(slot)?.name();
    let snapshot = Arc::new(Snapshot::of(fleet.lane_mut(slot)?.sender.engine()?)?);
    let snapshots = fleet.snapshots_mut(slot)?;
    snapshots.begun(&snapshot);
    let key = PieceKey { run, lane, place: snapshots.next_place(), piece: 0 };
    Some(Writing { slot, key, snapshot })
}

impl Writing {
    /// Writes what has room; says whether that was all.
    fn go_on<C: Client>(
        &mut self,
        fleet: &mut Fleet,
        wire: &mut Wire<C>,
    ) -> Result<bool, WireError> {
        let Some(lane) = fleet.lane_mut(self.slot) else { return Ok(true) };
        // Only after progress that is as far: whoever reads it can use it.
        if lane.sender.recorded() < self.snapshot.sequence {
            return Ok(false);
        }
        while self.key.piece < self.snapshot.pieces() {
            let record = (self.key.text(), self.snapshot.piece(self.key.piece));
            if !wire.write_piece(self.slot, lane, &record)? {
                return Ok(false);
            }
            self.key.piece += 1;
        }
        if let Some(snapshots) = fleet.snapshots_mut(self.slot) {
            snapshots.written(Arc::clone(&self.snapshot));
        }
        Ok(true)
    }
}
