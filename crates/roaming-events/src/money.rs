//! Amounts of money, in integers.

use std::fmt;

/// An amount of money: `units` × 10^-`decimals`, in special drawing rights (ISO 4217 `XDR`), the usual
/// TAP currency (GSMA TD.57, `tapDecimalPlaces`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    units: i64,
    decimals: u8,
}

impl Money {
    /// The currency code that travels with every amount.
    pub const CURRENCY: &'static str = "XDR";
    /// The most decimal places that TAP allows.
    pub const DECIMALS_MAX: u8 = 6;

    /// Makes an amount.
    ///
    /// # Errors
    /// Fails where there are more than [`Money::DECIMALS_MAX`] decimal places, or where the amount in
    /// millionths does not fit 64 bits.
    pub fn try_new(units: i64, decimals: u8) -> Result<Self, MoneyError> {
        if decimals > Self::DECIMALS_MAX
            || units.checked_mul(10_i64.pow(u32::from(Self::DECIMALS_MAX - decimals))).is_none()
        {
            return Err(MoneyError { units, decimals });
        }
        Ok(Self { units, decimals })
    }

    /// Returns the integer that stands in a TAP record.
    pub fn units(self) -> i64 {
        self.units
    }

    /// Returns the number of decimal places, 0 to 6.
    pub fn decimals(self) -> u8 {
        self.decimals
    }

    /// Returns the amount in millionths, exactly: the scale in which amounts of different decimal
    /// places add up.
    pub fn millionths(self) -> i64 {
        self.units * 10_i64.pow(u32::from(Self::DECIMALS_MAX - self.decimals))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10_u64.pow(u32::from(self.decimals));
        let sign = if self.units < 0 { "-" } else { "" };
        let (whole, fraction) =
            (self.units.unsigned_abs() / scale, self.units.unsigned_abs() % scale);
        if self.decimals == 0 {
            write!(f, "{sign}{whole} {}", Self::CURRENCY)
        } else {
            let width = usize::from(self.decimals);
            write!(f, "{sign}{whole}.{fraction:0width$} {}", Self::CURRENCY)
        }
    }
}

/// An amount that cannot be held exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "amount {units} with {decimals} decimal places is out of range (0 to 6 places, 64 bits of millionths)"
)]
pub struct MoneyError {
    units: i64,
    decimals: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_and_scale_exactly() {
        let money = Money::try_new(-1_205, 3).unwrap();
        assert_eq!(money.to_string(), "-1.205 XDR");
        assert_eq!(money.millionths(), -1_205_000);
        assert_eq!(Money::try_new(7, 0).unwrap().to_string(), "7 XDR");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Money::try_new(1, 7).is_err());
        assert!(Money::try_new(i64::MAX, 5).is_err());
        assert!(Money::try_new(i64::MAX, 6).is_ok());
    }
}
