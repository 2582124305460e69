//! Distributions in integers: tables made at compile time, the same bits on every machine.

use crate::rng::Draw;

/// Fractional bits of the numbers that this module returns.
pub(crate) const FRACTION_BITS: u32 = 16;

/// Natural logarithm of 2 with 32 fractional bits.
const LN_2_Q32: u64 = 2_977_044_472;

/// −ln(1 − i/256) for i from 0 to 255, with [`FRACTION_BITS`].
static EXPONENTIAL: [u32; 256] = exponential_table();

/// 2^(i/64) for i from 0 to 64, with 30 fractional bits.
static POWER_OF_TWO: [u64; 65] = power_table();

const fn exponential_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        // −ln(1 − i/256) = (8 − log2(256 − i)) ln 2
        let log2_q32 = (8 << 32) - log2_q32(256 - i as u64);
        table[i] = ((log2_q32 as u128 * LN_2_Q32 as u128) >> 48) as u32;
        i += 1;
    }
    table
}

/// Binary logarithm of an integer from 1 to 2^31 with 32 fractional bits, by repeated squaring.
const fn log2_q32(value: u64) -> u64 {
    let whole = value.ilog2();
    let mut x = (value as u128) << (62 - whole);
    let mut fraction = 0;
    let mut bit = 1 << 31;
    while bit > 0 {
        x = (x * x) >> 62;
        if x >= 2 << 62 {
            fraction |= bit;
            x >>= 1;
        }
        bit >>= 1;
    }
    ((whole as u64) << 32) | fraction
}

const fn power_table() -> [u64; 65] {
    // roots[k] = 2^(2^-(k+1)) with 60 fractional bits: the square root of the one before.
    let mut roots = [0u64; 6];
    let mut square = 2u128 << 60;
    let mut k = 0;
    while k < 6 {
        square = (square << 60).isqrt();
        roots[k] = square as u64;
        k += 1;
    }
    let mut table = [0; 65];
    let mut i = 0;
    while i < 64 {
        let mut product = 1u128 << 60;
        let mut k = 0;
        while k < 6 {
            if i >> (5 - k) & 1 == 1 {
                product = (product * roots[k] as u128) >> 60;
            }
            k += 1;
        }
        table[i] = (product >> 30) as u64;
        i += 1;
    }
    table[64] = 2 << 30;
    table
}

/// Returns an exponentially distributed number of mean 1, with [`FRACTION_BITS`].
pub(crate) fn exponential(draw: Draw) -> u64 {
    let mut bits = draw.bits();
    let mut sum = 0;
    // Beyond the last step the distribution begins anew (it has no memory) with the bits that are left.
    for _ in 0..5 {
        let step = (bits >> 56) as usize;
        if let Some(next) = EXPONENTIAL.get(step + 1) {
            let (low, high) = (u64::from(EXPONENTIAL[step]), u64::from(*next));
            return sum + low + (((high - low) * (bits >> 40 & 0xffff)) >> 16);
        }
        sum += u64::from(EXPONENTIAL[255]);
        bits <<= 8;
    }
    sum
}

/// Returns a log-normally distributed number: `median` × e^(`sigma` × z), where z is normal and cut off
/// at ±3.4. `sigma_permille` up to 4000.
pub(crate) fn log_normal(draw: Draw, median: u64, sigma_permille: u32) -> u64 {
    /// 2^16 / ln 2 / 1000, with 16 more fractional bits.
    const PER_PERMILLE_Q32: i64 = 6_196_328;
    let exponent_q16 = (normal_q16(draw) * i64::from(sigma_permille) * PER_PERMILLE_Q32) >> 32;
    let whole = exponent_q16 >> 16;
    let fraction = (exponent_q16 & 0xffff).cast_unsigned();
    let step = (fraction >> 10) as usize;
    let (low, high) = (POWER_OF_TWO[step], POWER_OF_TWO[step + 1]);
    let power_q30 = u128::from(low + (((high - low) * (fraction & 0x3ff)) >> 10));
    let scaled = u128::from(median) * power_q30;
    let shift = 30 - whole;
    let value = if shift >= 0 { scaled >> shift.min(127) } else { scaled << (-shift).min(20) };
    value.min(u128::from(u64::MAX)) as u64
}

/// An almost normal number of mean 0 and standard deviation 1, with [`FRACTION_BITS`]: the sum of four
/// uniform ones.
fn normal_q16(draw: Draw) -> i64 {
    /// √3, with [`FRACTION_BITS`]: four uniform numbers on 2^16 have a standard deviation of 2^16 / √3.
    const ROOT_3_Q16: i64 = 113_512;
    let bits = draw.bits();
    let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
    ((sum.cast_signed() - 2 * 0xffff) * ROOT_3_Q16) >> 16
}

/// A choice among a few options by their shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Upper bounds of the options, exclusive, of 2^32; the last is 2^32.
    bounds: Box<[u64]>,
}

impl Choice {
    /// Makes a choice; `None` where all weights are 0 or there are none.
    pub(crate) fn try_new(weights: impl IntoIterator<Item = u32>) -> Option<Self> {
        let weights: Vec<u64> = weights.into_iter().map(u64::from).collect();
        let total: u64 = weights.iter().sum();
        if total == 0 {
            return None;
        }
        let mut sum = 0;
        let mut bounds = Vec::with_capacity(weights.len());
        for weight in weights {
            sum += weight;
            bounds.push((sum << 32) / total);
        }
        Some(Self { bounds: bounds.into() })
    }

    /// Returns the number of the option drawn.
    pub(crate) fn pick(&self, draw: Draw) -> usize {
        let place = draw.bits() >> 32;
        // Options are few: a scan without branches beats a search.
        self.bounds.iter().map(|bound| usize::from(*bound <= place)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Keys, Purpose};

    fn draws() -> impl Iterator<Item = Draw> {
        let keys = Keys::new(42);
        (0..200_000).map(move |n| keys.draw(Purpose::ActivityGap, 1, n))
    }

    #[test]
    fn tables_hold_the_known_values() {
        // −ln(1/2) = 0.693147, −ln(1/256) = 5.545177
        assert_eq!(EXPONENTIAL[0], 0);
        assert_eq!(EXPONENTIAL[128], 45_426);
        assert_eq!(EXPONENTIAL[255], 363_408);
        assert_eq!(POWER_OF_TWO[32], 1_518_500_249);
        assert!(EXPONENTIAL.is_sorted() && POWER_OF_TWO.is_sorted());
    }

    #[test]
    fn exponential_has_its_mean_and_tail() {
        let mean = draws().map(exponential).sum::<u64>() / 200_000;
        assert!((65_000..66_100).contains(&mean), "{mean}");
        let beyond_three = draws().filter(|draw| exponential(*draw) > 3 << FRACTION_BITS).count();
        // e^-3 = 4.98 %
        assert!((9_700..10_200).contains(&beyond_three), "{beyond_three}");
    }

    #[test]
    fn log_normal_has_its_median_and_spread() {
        let mut values: Vec<u64> = draws().map(|draw| log_normal(draw, 1_000_000, 1000)).collect();
        values.sort_unstable();
        let (median, upper) = (values[100_000], values[168_269]);
        assert!((985_000..1_015_000).contains(&median), "{median}");
        // One standard deviation above: e times as much; the sum of four is a little wider there.
        assert!((2_650_000..2_850_000).contains(&upper), "{upper}");
    }

    #[test]
    fn a_choice_follows_its_weights() {
        let choice = Choice::try_new([1, 0, 3]).unwrap();
        let mut counts = [0u32; 3];
        draws().for_each(|draw| counts[choice.pick(draw)] += 1);
        assert_eq!(counts[1], 0);
        assert!((49_000..51_000).contains(&counts[0]), "{counts:?}");
        assert_eq!(Choice::try_new([0, 0]), None);
    }
}
