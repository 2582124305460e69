//! The missing intervals of a lane: half-open, ascending, apart from each other.

use roaming_events::Sequence;

/// A missing interval: the first missing sequence, and the first one after it that is not missing.
pub(crate) type Gap = (Sequence, Sequence);

/// Returns the index of the interval that holds `sequence`.
pub(crate) fn find(gaps: &[Gap], sequence: Sequence) -> Option<usize> {
    let index = gaps.partition_point(|(_, to)| *to <= sequence);
    gaps.get(index).is_some_and(|(from, _)| *from <= sequence).then_some(index)
}

/// Returns how many intervals are left of the one at `index` once `sequence`, which is in it, is taken
/// out: 0, 1 or 2.
pub(crate) fn pieces((from, to): Gap, sequence: Sequence) -> usize {
    usize::from(from < sequence) + usize::from(sequence.next() < to)
}

/// Takes `sequence` out of the interval at `index`, which holds it.
pub(crate) fn fill(gaps: &mut Vec<Gap>, index: usize, sequence: Sequence) {
    let (from, to) = gaps[index];
    let left = (from < sequence).then_some((from, sequence));
    let right = (sequence.next() < to).then_some((sequence.next(), to));
    gaps.splice(index..=index, left.into_iter().chain(right));
}

/// Whether `gaps` are what this module keeps them to be, below `next`.
pub(crate) fn are_well_formed(gaps: &[Gap], next: Sequence) -> bool {
    gaps.iter().all(|(from, to)| from < to)
        && gaps.windows(2).all(|pair| pair[0].1 < pair[1].0)
        && gaps.last().is_none_or(|(_, to)| *to <= next)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn sequence(number: u64) -> Sequence {
        Sequence::try_new(number).unwrap()
    }

    #[track_caller]
    fn check(gaps: &[(u64, u64)], filled: u64, expected: &[(u64, u64)]) {
        let convert = |gaps: &[(u64, u64)]| -> Vec<Gap> {
            gaps.iter().map(|(from, to)| (sequence(*from), sequence(*to))).collect()
        };
        let mut found = convert(gaps);
        let index = find(&found, sequence(filled)).expect("the sequence is missing");
        let len = found.len() - 1 + pieces(found[index], sequence(filled));
        fill(&mut found, index, sequence(filled));
        assert_eq!(found, convert(expected));
        assert_eq!(found.len(), len);
    }

    #[test]
    fn an_interval_vanishes_shrinks_or_splits() {
        check(&[(3, 4)], 3, &[]);
        check(&[(3, 6)], 3, &[(4, 6)]);
        check(&[(3, 6)], 5, &[(3, 5)]);
        check(&[(3, 6)], 4, &[(3, 4), (5, 6)]);
        check(&[(0, 1), (3, 6), (8, 9)], 4, &[(0, 1), (3, 4), (5, 6), (8, 9)]);
        check(&[(0, 1), (3, 6)], 0, &[(3, 6)]);
    }

    #[test]
    fn what_is_not_missing_is_not_found() {
        let gaps = [(sequence(3), sequence(5)), (sequence(7), sequence(8))];
        for number in [0, 2, 5, 6, 8, 9] {
            assert_eq!(find(&gaps, sequence(number)), None, "{number}");
        }
        assert_eq!(find(&gaps, sequence(4)), Some(0));
        assert_eq!(find(&gaps, sequence(7)), Some(1));
    }

    proptest! {
        #[test]
        fn filling_in_any_order_agrees_with_a_set(order in Just((10..40).collect::<Vec<u64>>()).prop_shuffle(), count in 0usize..30) {
            let mut gaps = vec![(sequence(10), sequence(40))];
            let mut missing: BTreeSet<u64> = (10..40).collect();
            for number in order.into_iter().take(count) {
                let index = find(&gaps, sequence(number)).expect("not filled before");
                fill(&mut gaps, index, sequence(number));
                missing.remove(&number);
                prop_assert!(are_well_formed(&gaps, sequence(40)));
                prop_assert_eq!(find(&gaps, sequence(number)), None);
            }
            let found: BTreeSet<u64> = gaps.iter().flat_map(|(from, to)| from.get()..to.get()).collect();
            prop_assert_eq!(found, missing);
        }
    }
}
