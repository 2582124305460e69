//! Snapshots of lanes on `roaming.lanes`: their owner writes them in pieces, the next one puts them together.
//!
//! A snapshot saves a new owner the way from the lane's beginning to where its progress stands. Nothing rests
//! on it: one that is torn, of another engine or ahead of the progress is passed over, and the lane takes the
//! long way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roaming_events::{LaneId, RunId, Sequence};
use roaming_service::telemetry::chain;
use roaming_sim::{Lane, Simulation};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::progress;

/// The most octets of a piece: far below what any broker takes.
const PIECE_LEN: usize = 256 << 10;
/// The most octets of a lane's state, about six million subscribers: of a larger one there is no snapshot.
const STATE_LEN_MAX: usize = 256 << 20;
/// Quick: it takes two thirds away.
const ZSTD_LEVEL: i32 = 1;
/// A lane's snapshots stand in two places by turns, so that one is whole while the other is written.
pub(crate) const PLACES: usize = 2;

/// A lane's state, compressed.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the event that comes next.
    pub sequence: Sequence,
    /// Octets of the state.
    state_len: u32,
    compressed: Vec<u8>,
}

/// One record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    sequence: Sequence,
    state_len: u32,
    /// How many pieces the snapshot has.
    pieces: u16,
    octets: Vec<u8>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot at {:?} in {} octets", self.sequence, self.compressed.len())
    }
}

/// Where a piece stands; its text, `<run>/<lane>/<place>/<piece>`, is the message key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceKey {
    /// The run.
    pub run: RunId,
    /// The lane.
    pub lane: LaneId,
    /// Which of the two places.
    pub place: u8,
    /// Number of the piece, from 0.
    pub piece: u16,
}

impl Snapshot {
    /// Returns the state of a lane; `None` where it is too large.
    pub fn of(lane: &Lane) -> Option<Self> {
        let state = lane.snapshot();
        let state_len = u32::try_from(state.len()).ok()?;
        let compressed = zstd::bulk::compress(&state, ZSTD_LEVEL).ok()?;
        let is_small = state.len() <= STATE_LEN_MAX;
        is_small.then_some(Self { sequence: lane.sequence(), state_len, compressed })
    }

    /// Returns the lane at this snapshot; says in the log why, and `None`, where it is of no use.
    pub fn restore(&self, simulation: &Arc<Simulation>, lane: LaneId) -> Option<Lane> {
        let passed_over = |reason: String| {
            let run = simulation.run();
            warn!(%run, %lane, reason, "snapshot passed over, the lane starts at its beginning");
        };
        let len = (self.state_len as usize).min(STATE_LEN_MAX);
        let state = zstd::bulk::decompress(&self.compressed, len)
            .map_err(|error| passed_over(error.to_string()))
            .ok()?;
        simulation.restore(lane, &state).map_err(|error| passed_over(chain(&error))).ok()
    }

    /// Returns how many records it takes.
    pub fn pieces(&self) -> u16 {
        u16::try_from(self.compressed.len().div_ceil(PIECE_LEN))
            .expect("a state's octets are bounded")
    }

    /// Returns the value of one record.
    ///
    /// # Panics
    /// Panics where it has no such piece.
    pub fn piece(&self, piece: u16) -> Vec<u8> {
        let chunk = self.compressed.chunks(PIECE_LEN).nth(usize::from(piece));
        let piece = Piece {
            sequence: self.sequence,
            state_len: self.state_len,
            pieces: self.pieces(),
            octets: chunk.expect("a piece below its number of pieces").to_vec(),
        };
        postcard::to_allocvec(&piece).expect("octets of a known length are written to memory")
    }
}

impl PieceKey {
    /// Reads a message key; `None` where it is no piece's.
    pub fn read(key: &[u8]) -> Option<Self> {
        let (rest, piece) = std::str::from_utf8(key).ok()?.rsplit_once('/')?;
        let (lane, place) = rest.rsplit_once('/')?;
        let (run, lane) = progress::lane(lane)?;
        let place = place.parse().ok().filter(|place| usize::from(*place) < PLACES)?;
        Some(Self { run, lane, place, piece: piece.parse().ok()? })
    }

    /// Returns the message key.
    pub fn text(&self) -> String {
        format!("{}/{}/{}", progress::key(self.run, self.lane), self.place, self.piece)
    }
}

/// What stands in the two places of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneSnapshots {
    /// The last one, and its place.
    newest: Option<(Arc<Snapshot>, u8)>,
    /// How many pieces each place may hold.
    pieces: [u16; PLACES],
}

impl LaneSnapshots {
    /// Returns the last snapshot.
    pub fn newest(&self) -> Option<&Arc<Snapshot>> {
        self.newest.as_ref().map(|(snapshot, _)| snapshot)
    }

    /// Returns the place that the next snapshot goes to.
    pub fn next_place(&self) -> u8 {
        self.newest.as_ref().map_or(0, |(_, place)| 1 - place)
    }

    /// Takes note that the first piece of a snapshot is being written to the next place.
    pub fn begun(&mut self, snapshot: &Snapshot) {
        let pieces = &mut self.pieces[usize::from(self.next_place())];
        *pieces = snapshot.pieces().max(*pieces);
    }

    /// Takes note that all pieces of a snapshot are written to the next place.
    pub fn written(&mut self, snapshot: Arc<Snapshot>) {
        self.newest = Some((snapshot, self.next_place()));
    }

    /// Returns the keys that may have a record.
    pub fn keys(&self, run: RunId, lane: LaneId) -> impl Iterator<Item = String> + use<> {
        (0..).zip(self.pieces).flat_map(move |(place, pieces)| {
            (0..pieces).map(move |piece| PieceKey { run, lane, place, piece }.text())
        })
    }
}

/// Pieces of one lane as they were read.
#[derive(Debug, Default)]
pub struct Pieces([BTreeMap<u16, Piece>; PLACES]);

impl Pieces {
    /// Takes a record into account: a piece, or a tombstone for one.
    ///
    /// # Errors
    /// Fails where the value is no piece.
    pub fn read(&mut self, key: PieceKey, value: Option<&[u8]>) -> Result<(), postcard::Error> {
        let place = &mut self.0[usize::from(key.place)];
        match value {
            Some(value) => place.insert(key.piece, postcard::from_bytes(value)?),
            None => place.remove(&key.piece),
        };
        Ok(())
    }

    /// Puts together what can be.
    pub fn assemble(self) -> LaneSnapshots {
        let pieces = self
            .0
            .each_ref()
            .map(|place| place.last_key_value().map_or(0, |(last, _)| last.saturating_add(1)));
        let whole = (0..).zip(self.0).filter_map(|(place, found)| Some((whole(found)?, place)));
        let newest = whole.max_by_key(|(snapshot, _)| snapshot.sequence);
        LaneSnapshots {
            newest: newest.map(|(snapshot, place)| (Arc::new(snapshot), place)),
            pieces,
        }
    }
}

/// Returns the snapshot that stands in a place, where all its pieces do. Those of a longer one before it may
/// follow them.
fn whole(pieces: BTreeMap<u16, Piece>) -> Option<Snapshot> {
    let first = pieces.get(&0)?;
    let (sequence, state_len, count) = (first.sequence, first.state_len, first.pieces);
    let mut compressed = Vec::new();
    let mut found = 0;
    for (number, piece) in pieces.into_iter().take(usize::from(count)) {
        if (number, piece.sequence, piece.pieces) != (found, sequence, count) {
            return None;
        }
        compressed.extend(piece.octets);
        found += 1;
    }
    (found == count).then_some(Snapshot { sequence, state_len, compressed })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roaming_sim::{Profile, STREAM_VERSION, Specification};

    use super::*;

    fn snapshot(sequence: u64, octets: usize) -> Snapshot {
        let sequence = Sequence::try_new(sequence).expect("a sequence");
        let octet = sequence.get() as u8;
        Snapshot { sequence, state_len: 7, compressed: vec![octet; octets] }
    }

    fn key(place: u8, piece: u16) -> PieceKey {
        PieceKey {
            run: RunId::from_hash(0x0123_4567_89ab_cdef),
            lane: LaneId::default(),
            place,
            piece,
        }
    }

    fn read(pieces: &mut Pieces, place: u8, snapshot: &Snapshot, numbers: std::ops::Range<u16>) {
        for number in numbers {
            pieces.read(key(place, number), Some(&snapshot.piece(number))).expect("a piece");
        }
    }

    #[test]
    fn keys_read_back_and_differ_from_those_of_progress() {
        let key = key(1, 12);
        assert_eq!(key.text(), "0048d159e26af37b/0/1/12");
        assert_eq!(PieceKey::read(key.text().as_bytes()), Some(key));
        for other in [
            "0048d159e26af37b/0",
            "0048d159e26af37b/0/2/0",
            "x/0/1/12",
            "a/0/1",
            "0048d159e26af37b/0/1/",
        ] {
            assert_eq!(PieceKey::read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_newest_whole_snapshot_counts() {
        let (old, new) = (snapshot(5, 2 * PIECE_LEN + 1), snapshot(9, 3 * PIECE_LEN));
        assert_eq!((old.pieces(), new.pieces()), (3, 3));
        let mut pieces = Pieces::default();
        read(&mut pieces, 1, &old, 0..3);
        read(&mut pieces, 0, &new, 0..2);
        let torn = pieces.assemble();
        assert_eq!(
            torn.newest().map(Arc::as_ref),
            Some(&old),
            "the new one has two of three pieces"
        );
        assert_eq!(
            (torn.next_place(), torn.keys(key(0, 0).run, LaneId::default()).count()),
            (0, 5)
        );
        let mut pieces = Pieces::default();
        read(&mut pieces, 1, &old, 0..3);
        read(&mut pieces, 0, &new, 0..3);
        assert_eq!(pieces.assemble().newest().map(Arc::as_ref), Some(&new));
    }

    #[test]
    fn a_place_written_over_holds_the_new_one_or_none() {
        let (long, short) = (snapshot(5, 3 * PIECE_LEN), snapshot(9, PIECE_LEN + 1));
        let mut pieces = Pieces::default();
        read(&mut pieces, 0, &long, 0..3);
        read(&mut pieces, 0, &short, 0..1);
        assert_eq!(pieces.assemble().newest(), None, "one piece of each");
        let mut pieces = Pieces::default();
        read(&mut pieces, 0, &long, 0..3);
        read(&mut pieces, 0, &short, 0..2);
        let whole = pieces.assemble();
        assert_eq!(whole.newest().map(Arc::as_ref), Some(&short));
        assert_eq!(
            whole.keys(key(0, 0).run, LaneId::default()).count(),
            3,
            "the old piece is known"
        );
        let mut pieces = Pieces::default();
        read(&mut pieces, 0, &short, 0..2);
        pieces.read(key(0, 1), None).expect("a tombstone");
        assert_eq!(pieces.assemble().newest(), None);
        let refused = Pieces::default().read(key(0, 0), Some(b"\xff"));
        assert!(refused.is_err());
    }

    #[test]
    fn places_take_turns() {
        let mut snapshots = LaneSnapshots::default();
        let mut places = Vec::new();
        for sequence in 1..4 {
            let snapshot = snapshot(sequence, 10);
            snapshots.begun(&snapshot);
            places.push(snapshots.next_place());
            snapshots.written(Arc::new(snapshot));
        }
        assert_eq!(places, [0, 1, 0]);
    }

    proptest! {
        /// Whatever was written over whatever, what is put together was once one snapshot.
        #[test]
        fn what_is_whole_was_written_whole(
            writes in proptest::collection::vec((0_u8..2, 1_u64..9, 1_usize..4, 1_u16..4), 0..12),
        ) {
            let mut pieces = Pieces::default();
            for (place, sequence, len, upto) in &writes {
                let written = snapshot(*sequence, (len - 1) * PIECE_LEN + *sequence as usize);
                read(&mut pieces, *place, &written, 0..(*upto).min(written.pieces()));
            }
            if let Some(found) = pieces.assemble().newest() {
                let octet = found.sequence.get() as u8;
                prop_assert!(found.compressed.iter().all(|other| *other == octet));
                prop_assert_eq!(found.compressed.len() % PIECE_LEN, usize::from(octet));
            }
        }
    }

    #[test]
    fn a_lane_comes_back_and_damage_is_passed_over() {
        let mut profile = Profile::builtin("demo").expect("built in");
        profile.subscribers = 40;
        let specification = Specification {
            name: "snapshot".to_owned(),
            profile,
            seed: 1,
            lanes: 2,
            events_partitions: 1,
            lanes_partitions: 1,
            stream_version: STREAM_VERSION,
        };
        let simulation =
            Arc::new(Simulation::try_new(Arc::new(specification)).expect("nothing is damaged"));
        let [first, second] = [0, 1].map(|lane| LaneId::try_new(lane).expect("a lane"));
        let mut lane = simulation.lane(first);
        lane.forward_to(Sequence::try_new(500).expect("a sequence"));
        let snapshot = Snapshot::of(&lane).expect("small");
        let restored = snapshot.restore(&simulation, first).expect("whole");
        assert_eq!(restored.sequence(), lane.sequence());
        assert_eq!(restored.collect::<Vec<_>>(), lane.collect::<Vec<_>>());
        assert!(snapshot.restore(&simulation, second).is_none(), "of another lane");
        let mut damaged = snapshot.clone();
        damaged.compressed.truncate(100);
        assert!(damaged.restore(&simulation, first).is_none());
        let cut = Snapshot { state_len: 10, ..snapshot };
        assert!(cut.restore(&simulation, first).is_none());
    }
}
