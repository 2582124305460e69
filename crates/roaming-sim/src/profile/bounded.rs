//! Values that check themselves while they are read, so that the reader can say where they stand.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    pub(super) fn get(self) -> u64 {
        self.0
    }

    /// Returns the number; `MAX` is below 2^32 wherever this is called.
    pub(super) fn get_u32(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64) };
        self.0 as u32
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor::<MIN, MAX>)
    }
}

struct WholeVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for WholeVisitor<MIN, MAX> {
    type Value = Whole<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        if (MIN..=MAX).contains(&value) {
            Ok(Whole(value))
        } else {
            Err(out_of_range(value, &self))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Err(E::custom(format_args!(
            "`{text}` is no number; allowed is {}",
            &self as &dyn de::Expected
        )))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(out_of_range(value, &self)),
        }
    }
}

/// A decimal number with up to `PLACES` places, from `MIN` to `MAX`, kept as a whole multiple of the
/// last place. `MIN` and `MAX` count last places too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal<const PLACES: u32, const MIN: u64, const MAX: u64>(u64);

impl<const PLACES: u32, const MIN: u64, const MAX: u64> Decimal<PLACES, MIN, MAX> {
    pub(super) fn get_u32(self) -> u32 {
        const { assert!(MAX <= u32::MAX as u64) };
        self.0 as u32
    }
}

impl<'de, const PLACES: u32, const MIN: u64, const MAX: u64> Deserialize<'de>
    for Decimal<PLACES, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DecimalVisitor::<PLACES, MIN, MAX>)
    }
}

struct DecimalVisitor<const PLACES: u32, const MIN: u64, const MAX: u64>;

impl<const PLACES: u32, const MIN: u64, const MAX: u64> Visitor<'_>
    for DecimalVisitor<PLACES, MIN, MAX>
{
    type Value = Decimal<PLACES, MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |value| Places { value, places: PLACES };
        write!(f, "a number from {} to {} with at most {PLACES} decimals", place(MIN), place(MAX))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        match value.checked_mul(10_u64.pow(PLACES)) {
            Some(scaled) if (MIN..=MAX).contains(&scaled) => Ok(Decimal(scaled)),
            _ => Err(out_of_range(value, &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Err(E::custom(format_args!(
            "`{text}` is no number; allowed is {}",
            &self as &dyn de::Expected
        )))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(out_of_range(value, &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        // IEEE 754 fixes product and rounding: the whole number is the same on every machine.
        let exact = value * 10_u64.pow(PLACES) as f64;
        let scaled = exact.round();
        if !(MIN as f64..=MAX as f64).contains(&scaled) || (exact - scaled).abs() > 1e-3 {
            return Err(out_of_range(value, &self));
        }
        #[expect(clippy::cast_sign_loss, reason = "the range was checked")]
        Ok(Decimal(scaled as u64))
    }
}

fn out_of_range<'de, E: de::Error>(value: impl fmt::Display, allowed: &impl Visitor<'de>) -> E {
    E::custom(format_args!("{value} is out of range; allowed is {}", allowed as &dyn de::Expected))
}

/// Prints a multiple of the last decimal place as a decimal number.
struct Places {
    value: u64,
    places: u32,
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10_u64.pow(self.places);
        let (whole, rest) = (self.value / scale, self.value % scale);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:0width$}", width = self.places as usize);
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// A share in percent, kept in parts per million.
pub(super) type Percent = Decimal<4, 0, 1_000_000>;

/// A name: letters, digits, hyphens and underscores, 1 to 40 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let valid = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if (1..=40).contains(&text.len()) && text.chars().all(valid) {
            return Ok(Self(text));
        }
        Err(de::Error::custom(
            "a name has 1 to 40 letters, digits, hyphens and underscores and nothing else",
        ))
    }
}
