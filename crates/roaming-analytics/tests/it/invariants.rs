//! The registry of invariants.

use roaming_analytics::LaneRow;
use roaming_analytics::invariant::{REGISTRY, Subject, check};
use roaming_events::{RowKey, Totals};

use crate::bench::{CONFIG, event, lane, run, sequence, time};

#[track_caller]
fn breaks(id: &str, subject: &Subject<'_>) {
    let violation = check(subject).expect_err("the subject breaks an invariant");
    assert_eq!(violation.invariant.id, id);
    let text = violation.to_string();
    assert!(text.contains(id) && text.contains(violation.invariant.statement), "{text}");
}

#[test]
fn numbers_ascend_and_names_differ() {
    for (number, invariant) in (1..).zip(&REGISTRY) {
        assert_eq!(invariant.id, format!("INV-{number}"));
    }
    let mut names: Vec<&str> = REGISTRY.iter().map(|invariant| invariant.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), REGISTRY.len());
}

#[test]
fn each_invariant_can_be_broken() {
    let unseen = LaneRow::unseen(run(), lane(0), time(0));
    assert!(check(&Subject::Lane(&unseen)).is_ok());
    breaks("INV-1", &Subject::Lane(&LaneRow { rejected: 1, ..unseen.clone() }));
    let gaps = vec![(sequence(1), sequence(2)), (sequence(2), sequence(3))];
    breaks("INV-2", &Subject::Lane(&LaneRow { gaps, next: sequence(2), ..unseen.clone() }));
    breaks("INV-3", &Subject::Lane(&LaneRow { end: Some(sequence(1)), ..unseen.clone() }));
    let later = LaneRow { duplicates: 1, failed: true, end: Some(sequence(0)), ..unseen.clone() };
    assert!(check(&Subject::LaneStep { before: &unseen, after: &later }).is_ok());
    breaks("INV-4", &Subject::LaneStep { before: &later, after: &unseen });
    breaks("INV-5", &Subject::Growth { lanes: 2, rows: 1 });
    let key = RowKey::of(&event(0, 0, 0), CONFIG.window);
    let mut totals = Totals::default();
    breaks("INV-6", &Subject::Row { key: &key, totals: &totals });
    totals.add(&event(0, 0, 0));
    assert!(check(&Subject::Row { key: &key, totals: &totals }).is_ok());
    breaks("INV-7", &Subject::Offset { before: Some(3), after: Some(2) });
    assert!(check(&Subject::Offset { before: None, after: Some(0) }).is_ok());
    breaks("INV-8", &Subject::Watermark { before: time(1), after: time(0) });
    breaks("INV-9", &Subject::Commit { epoch: 1, newest: 2 });
    breaks("INV-10", &Subject::Claim { claimed: time(1), missing: time(0) });
    breaks("INV-11", &Subject::Arrival { next: sequence(3), sequence: sequence(4) });
    breaks("INV-12", &Subject::Reached { watermark: time(0), sent: time(1) });
}
