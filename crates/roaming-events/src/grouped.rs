//! Counts, for people.

use std::fmt;

/// A count as people read it everywhere: with commas between groups of three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad_integral(true, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_three_digits_and_fill_a_column() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_147_340, "1,147,340")] {
            assert_eq!(Grouped(count).to_string(), text);
        }
        assert_eq!(format!("{:>7}|{:<7}|", Grouped(1000), Grouped(1000)), "  1,000|1,000  |");
    }
}
