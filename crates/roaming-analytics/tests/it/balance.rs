//! The balance sheet.

use std::collections::BTreeMap;

use roaming_analytics::{Balance, Extent, FoundRun, LISTED_MAX, LaneFinding, LaneRow};
use roaming_events::{Event, LaneId, LaneTally, RowKey, Tally, Totals};
use roaming_testkit::sample;

use crate::bench::{CONFIG, event, lane, run, sequence, time};

/// A run of two lanes that was found to be what the ledger says.
struct Case {
    expected: Tally,
    lanes: Vec<LaneRow>,
    rows: BTreeMap<RowKey, Totals>,
    extent: Extent,
}

impl Case {
    fn new() -> Self {
        let events = |number: u16, count: u64| -> Vec<Event> {
            (0..count).map(|place| event(number, place, 600 * place)).collect()
        };
        let lanes: [(LaneId, Vec<Event>); 2] = [(lane(0), events(0, 12)), (lane(1), events(1, 5))];
        let expected =
            sample::tally(lanes.iter().map(|(lane, e)| (*lane, e.as_slice())), CONFIG.window);
        let row = |(lane, tally): (&LaneId, &LaneTally)| LaneRow {
            next: sequence(tally.events),
            tally: *tally,
            end: Some(sequence(tally.events)),
            ..LaneRow::unseen(run(), *lane, time(9000))
        };
        Self {
            lanes: expected.lanes.iter().map(row).collect(),
            rows: expected.rows.clone(),
            expected,
            extent: Extent::Whole,
        }
    }

    fn compare(&self) -> Balance {
        let found = FoundRun { lanes: &self.lanes, rows: &self.rows, unattributed_rejects: 3 };
        Balance::compare(&self.expected, &found, self.extent)
    }

    #[track_caller]
    fn fails(&self, texts: &[&str]) -> Balance {
        let balance = self.compare();
        assert!(!balance.holds());
        let sheet = balance.to_string();
        for text in texts.iter().chain(&["the balance does not hold"]) {
            assert!(sheet.contains(text), "`{text}` is not in\n{sheet}");
        }
        balance
    }
}

fn findings(balance: &Balance, number: usize) -> &[LaneFinding] {
    &balance.lanes()[number].findings
}

#[test]
fn a_run_that_was_found_whole_balances() {
    let balance = Case::new().compare();
    assert!(balance.holds());
    let sums = balance.sums();
    assert_eq!((sums.lanes, sums.lanes_finished, sums.found.events), (2, 2, 17));
    assert_eq!(sums.expected, sums.found);
    let sheet = balance.to_string();
    assert!(sheet.contains("the balance holds: 17 events, digest "), "{sheet}");
    assert!(sheet.contains("2 of 2 lanes finished, 0 gaps"), "{sheet}");
    assert!(sheet.contains("(see roaming.events.dlq): 3"), "{sheet}");
}

#[test]
fn one_unit_in_one_row_is_named() {
    for (column, change) in [
        ("duration_s", (|totals: &mut Totals| totals.duration_s += 1) as fn(&mut Totals)),
        ("octets_uplink", |totals| totals.octets_uplink += 1),
        ("octets_downlink", |totals| totals.octets_downlink += 1),
        ("charge_millionths", |totals| totals.charge_millionths -= 1),
        ("latency_us", |totals| totals.latency_us += 1),
        ("latency_buckets[0]", |totals| totals.latency_buckets[0] += 1),
        ("events", |totals| totals.events += 1),
    ] {
        let mut case = Case::new();
        let (key, totals) = case.rows.iter_mut().nth(1).unwrap();
        change(totals);
        let window = format!("window {}", key.window_start);
        let balance = case.fails(&[column, &window]);
        assert_eq!(balance.rows_differing(), 1);
        assert!(balance.lanes().iter().all(|line| line.findings.is_empty()));
    }
}

#[test]
fn two_edits_that_compensate_each_other_are_both_named() {
    let mut case = Case::new();
    let keys: Vec<RowKey> = case.rows.keys().copied().collect();
    case.rows.get_mut(&keys[0]).unwrap().charge_millionths += 7;
    case.rows.get_mut(&keys[2]).unwrap().charge_millionths -= 7;
    let balance = case.fails(&["2 rows differ"]);
    let named: Vec<RowKey> = balance.rows().iter().map(|line| line.key).collect();
    assert_eq!(named, [keys[0], keys[2]]);
}

#[test]
fn rows_that_are_lost_or_added_are_named() {
    let mut case = Case::new();
    let (key, _) = case.rows.pop_first().unwrap();
    case.fails(&["found no row", "INV-5"]);
    let mut case = Case::new();
    let added = RowKey { window_start: time(900_000), ..key };
    case.rows.insert(added, case.rows[&key]);
    let balance = case.fails(&["expected no row", "INV-5"]);
    assert_eq!(balance.rows_compared(), case.expected.rows.len() + 1);
}

#[test]
fn a_deleted_store_is_noticed() {
    let mut case = Case::new();
    case.lanes.clear();
    case.rows.clear();
    let balance = case.fails(&["not found", "unseen"]);
    assert_eq!(findings(&balance, 0), [LaneFinding::NotFound]);
    assert_eq!(balance.rows_differing(), case.expected.rows.len());
}

#[test]
fn each_way_in_which_a_lane_can_differ_is_named() {
    let check = |change: fn(&mut LaneRow), expected: &[LaneFinding]| {
        let mut case = Case::new();
        change(&mut case.lanes[1]);
        let balance = case.fails(&[expected[0].as_str()]);
        assert_eq!(findings(&balance, 1), expected);
        assert_eq!(findings(&balance, 0), []);
    };
    check(|row| row.tally.events -= 1, &[LaneFinding::Events]);
    check(|row| row.tally.digest.add(b"", b""), &[LaneFinding::Digest]);
    check(
        |row| row.gaps = vec![(sequence(0), sequence(1))],
        &[LaneFinding::Missing, LaneFinding::Unfinished],
    );
    check(|row| row.rejected = 1, &[LaneFinding::Rejected]);
    check(|row| row.end = None, &[LaneFinding::Unfinished]);
    check(|row| row.failed = true, &[LaneFinding::Failed]);
}

#[test]
fn a_lane_that_was_found_twice_is_named() {
    let mut case = Case::new();
    case.lanes[1].lane = lane(0);
    let balance = case.fails(&["not expected", "not found"]);
    assert_eq!(findings(&balance, 0), []);
    assert_eq!(findings(&balance, 1), [LaneFinding::NotExpected]);
    assert_eq!(findings(&balance, 2), [LaneFinding::NotFound]);
}

#[test]
fn a_lane_that_nobody_expects_is_named() {
    let mut case = Case::new();
    case.lanes.push(LaneRow { lane: lane(9), ..case.lanes[0].clone() });
    let balance = case.fails(&["not expected"]);
    assert_eq!(balance.lanes()[2].lane, lane(9));
}

#[test]
fn duplicates_and_foreign_records_do_not_disturb_the_balance() {
    let mut case = Case::new();
    case.lanes[0].duplicates = 1234;
    let balance = case.compare();
    assert!(balance.holds());
    assert_eq!(balance.sums().duplicates, 1234);
    assert!(balance.to_string().contains("1,234"));
}

#[test]
fn a_stopped_run_balances_up_to_where_it_stopped() {
    let mut case = Case::new();
    for row in &mut case.lanes {
        row.end = None;
    }
    case.fails(&["not finished", "open at 12"]);
    case.extent = Extent::Stopped;
    let balance = case.compare();
    assert!(balance.holds(), "{balance}");
    let sheet = balance.to_string();
    assert!(sheet.contains("stopped at 12 (2026-06-01T02:30:00.000Z)"), "{sheet}");
    assert!(sheet.contains("holds up to where the run stopped"), "{sheet}");
    case.lanes[1].tally.events -= 1;
    case.fails(&["events differ"]);
}

#[test]
fn of_a_run_that_goes_on_the_sheet_does_not_say_that_it_stopped() {
    let mut case = Case::new();
    case.extent = Extent::SoFar;
    for row in &mut case.lanes {
        row.end = None;
    }
    let balance = case.compare();
    assert!(balance.holds(), "{balance}");
    let sheet = balance.to_string();
    assert!(sheet.contains("so far at 12 (2026-06-01T02:30:00.000Z)"), "{sheet}");
    assert!(sheet.contains("the balance holds so far: "), "{sheet}");
    assert!(!sheet.contains("stopped"), "{sheet}");
}

#[test]
fn a_lane_that_was_stopped_before_its_first_event_leaves_no_trace() {
    let mut case = Case::new();
    case.expected.lanes.insert(lane(2), LaneTally::default());
    case.fails(&["not found"]);
    case.extent = Extent::Stopped;
    assert!(case.compare().holds());
}

#[test]
fn the_list_of_rows_is_bounded_and_the_count_is_not() {
    let mut case = Case::new();
    let (key, totals) = case.rows.first_key_value().map(|(k, t)| (*k, *t)).unwrap();
    for number in 0..250 {
        case.rows.insert(RowKey { window_start: time(1_000_000 + number), ..key }, totals);
    }
    let balance = case.fails(&["250 differ", "and 150 more rows"]);
    assert_eq!((balance.rows().len(), balance.rows_differing()), (LISTED_MAX, 250));
}
