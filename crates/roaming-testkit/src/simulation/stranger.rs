//! Records that nobody asked for: broken, foreign, impossible, repeated, stale.

use roaming_events::{End, Event, EventId, LaneId, Marker, Record, RunId, Sequence, json};

use super::World;
use super::oracle::Origin;
use super::report::Outcome;
use crate::sample;
use crate::seed::Stream;

/// Writes one such record to the log.
pub(super) fn write(world: &mut World<'_>, stream: &mut Stream) -> Outcome {
    let lanes = world.oracle.lanes();
    let Some((run, lane)) = lanes.get(stream.index(lanes.len())).copied() else { return Ok(()) };
    let view = world.oracle.lane(run, lane).view;
    let home = lane.partition(view.partitions);
    let Some(strange) = make(world, stream, run, lane) else { return Ok(()) };
    let partition = match strange.place {
        Place::Home => home,
        Place::Elsewhere if view.partitions > 1 => (home + 1) % view.partitions,
        Place::Elsewhere => return Ok(()),
    };
    world.report.count("stranger");
    world.append(partition, strange.key, strange.payload, strange.origin)
}

struct Strange {
    place: Place,
    key: Vec<u8>,
    payload: Vec<u8>,
    origin: Origin,
}

enum Place {
    /// The partition where the lane lives.
    Home,
    /// Another.
    Elsewhere,
}

fn make(world: &World<'_>, stream: &mut Stream, run: RunId, lane: LaneId) -> Option<Strange> {
    let seen = world.oracle.lane(run, lane);
    let id = |sequence| EventId { run, lane, sequence };
    // A number that the log has already; none, before the lane's first record.
    let earlier = Sequence::try_new(stream.below(seen.next.get().max(1)))
        .filter(|sequence| *sequence < seen.next);
    let made = |id: EventId| Record::Event(sample::event(id, world.until));
    let (place, record, origin) = match stream.below(11) {
        0 => return Some(raw(b"not a key".to_vec(), b"{}".to_vec())),
        1 => {
            let foreign = RunId::from_hash(stream.draw());
            (
                Place::Home,
                made(EventId { run: foreign, lane, sequence: earlier? }),
                Origin::Rejected,
            )
        }
        2 => {
            let unknown = LaneId::try_new(seen.view.lanes + stream.below(9) as u16)?;
            (
                Place::Home,
                made(EventId { run, lane: unknown, sequence: earlier? }),
                Origin::Rejected,
            )
        }
        3 => (Place::Elsewhere, made(id(earlier?)), Origin::Rejected),
        4 => {
            let sequence = not_next(stream, seen.next)?;
            return Some(raw(id(sequence).text().to_vec(), b"{\"type\":\"voice\"".to_vec()));
        }
        5 => {
            let sequence = not_next(stream, seen.next)?;
            let payload = payload(&made(id(Sequence::ZERO)));
            return (sequence != Sequence::ZERO)
                .then(|| raw(id(sequence).text().to_vec(), payload));
        }
        6 => {
            let last = Sequence::try_new(Sequence::NONE.get() - 1)?;
            (Place::Home, made(id(last)), Origin::Rejected)
        }
        7 => return Some(copy(world, seen.events.get(earlier?.get() as usize)?)),
        8 if seen.is_ended => {
            let beyond = Sequence::try_new(seen.next.get() + stream.below(3))?;
            (Place::Home, made(id(beyond)), Origin::Rejected)
        }
        9 => {
            let end = End { id: id(earlier?), emission_time: world.until };
            (Place::Home, Record::End(end), Origin::Rejected)
        }
        10 => {
            // True, and yet not to be believed here: what comes before `next` may not have arrived.
            let event = seen.events.get(stream.index(seen.events.len().max(1)))?;
            let (next, emission_time) = (event.id.sequence, event.emission_time);
            (Place::Home, Record::Marker(Marker { run, lane, next, emission_time }), Origin::Marker)
        }
        _ => return None,
    };
    let key = record.id().text().to_vec();
    Some(Strange { place, key, payload: payload(&record), origin })
}

fn raw(key: Vec<u8>, payload: Vec<u8>) -> Strange {
    Strange { place: Place::Home, key, payload, origin: Origin::Rejected }
}

/// A number that the lane does not expect next.
fn not_next(stream: &mut Stream, next: Sequence) -> Option<Sequence> {
    let number = stream.below(next.get() + 5);
    Sequence::try_new(if number == next.get() { number + 1 } else { number })
}

/// The same event once more.
fn copy(world: &World<'_>, event: &Event) -> Strange {
    let mut payload = payload(&Record::Event(*event));
    let origin = world.oracle.damage(event.id, &mut payload);
    let key = event.id.text().to_vec();
    Strange { place: Place::Home, key, payload, origin }
}

fn payload(record: &Record) -> Vec<u8> {
    let mut payload = Vec::new();
    match record {
        Record::Event(event) => json::encode(event, &mut payload),
        Record::Marker(marker) => marker.encode(&mut payload),
        Record::End(end) => end.encode(&mut payload),
    }
    payload
}
