//! Identifiers of subscribers and devices, validated where they enter and masked where they are shown.
//!
//! `Display` and `Debug` mask: neither a log line nor an error message may carry personal data. The
//! digits leave through `digits()` and through serialisation alone.

use std::fmt;
use std::str::FromStr;

use crate::plmn::is_mcc;

/// Why a text is no identifier. The text itself is not repeated: it may be personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifierError {
    /// Too short or too long.
    #[error("{what} must have {allowed}")]
    Length {
        /// The identifier.
        what: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Something other than the characters allowed.
    #[error("{what} must consist of {allowed}")]
    Character {
        /// The identifier.
        what: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// An unknown mobile country code or country code.
    #[error("{what} does not begin with a known country code")]
    CountryCode {
        /// The identifier.
        what: &'static str,
    },
    /// The last digit is not the Luhn digit of those before it.
    #[error("{what} ends with check digit {found}, expected {expected}")]
    CheckDigit {
        /// The identifier.
        what: &'static str,
        /// The digit that stands there.
        found: u8,
        /// The digit that belongs there.
        expected: u8,
    },
}

/// Reads a number of decimal digits.
pub(crate) fn decimal(what: &'static str, text: &str) -> Result<u64, IdentifierError> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(IdentifierError::Character { what, allowed: "decimal digits" });
    }
    text.parse().map_err(|_| IdentifierError::Length { what, allowed: "at most 19 digits" })
}

/// Returns the Luhn check digit (ISO/IEC 7812-1 annex B) of the decimal digits of `body`.
pub fn luhn(mut body: u128) -> u8 {
    /// An even number of digits that fits 64 bits: dividing 128 bits takes ten times as long, and an
    /// IMEI is computed for each event.
    const CHUNK: u128 = 1_000_000_000_000_000_000;
    let mut sum = 0;
    while body >= CHUNK {
        sum += luhn_sum((body % CHUNK) as u64);
        body /= CHUNK;
    }
    sum += luhn_sum(body as u64);
    ((10 - sum % 10) % 10) as u8
}

/// Sums digits as [`luhn`] does, by pairs: the right one of each pair counts twice.
fn luhn_sum(mut digits: u64) -> u32 {
    const PAIRS: [u8; 100] = {
        let mut pairs = [0; 100];
        let mut pair = 0;
        while pair < 100 {
            let (left, right) = (pair as u8 / 10, pair as u8 % 10);
            pairs[pair] = left + right * 2 / 10 + right * 2 % 10;
            pair += 1;
        }
        pairs
    };
    let mut sum = 0;
    while digits > 0 {
        sum += u32::from(PAIRS[(digits % 100) as usize]);
        digits /= 100;
    }
    sum
}

fn check_luhn(what: &'static str, digits: u128) -> Result<(), IdentifierError> {
    let (found, expected) = ((digits % 10) as u8, luhn(digits / 10));
    if found == expected {
        Ok(())
    } else {
        Err(IdentifierError::CheckDigit { what, found, expected })
    }
}

/// Writes the first `lead` and the last two characters, and an asterisk for each between them.
fn mask(f: &mut fmt::Formatter<'_>, digits: &str, lead: usize) -> fmt::Result {
    let tail = digits.len().saturating_sub(2).max(lead);
    f.write_str(&digits[..lead.min(digits.len())])?;
    for _ in lead..tail {
        f.write_str("*")?;
    }
    f.write_str(digits.get(tail..).unwrap_or_default())
}

/// Reads a value from its text; a borrowed text is not copied.
pub(crate) fn deserialize_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    struct Visitor<T>(std::marker::PhantomData<T>);
    impl<T> serde::de::Visitor<'_> for Visitor<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text in quotation marks")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Visitor(std::marker::PhantomData))
}

/// Gives a type with `FromStr` and a textual wire form its serde and JSON Schema.
macro_rules! text_serde {
    ($type:ident, $description:literal, $pattern:literal) => {
        text_serde!($type, $description, $pattern, ToString::to_string);
    };
    ($type:ident, $description:literal, $pattern:literal, $text:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&$text(self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::identifiers::deserialize_text(deserializer)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    "pattern": $pattern,
                })
            }
        }
    };
}
pub(crate) use text_serde;

/// International mobile subscriber identity (TS 23.003 §2.2): MCC, MNC and MSIN, 6 to 15 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Imsi {
    value: u64,
    len: u8,
}

impl Imsi {
    /// Makes an IMSI from its digits as a number of `len` digits.
    ///
    /// # Errors
    /// Fails where `len` is not 6 to 15, the number is longer, or the MCC is unknown.
    pub fn try_new(value: u64, len: u8) -> Result<Self, IdentifierError> {
        if !(6..=15).contains(&len) || value >= 10_u64.pow(u32::from(len)) {
            return Err(IdentifierError::Length { what: "IMSI", allowed: "6 to 15 digits" });
        }
        if !is_mcc((value / 10_u64.pow(u32::from(len) - 3)) as u16) {
            return Err(IdentifierError::CountryCode { what: "IMSI" });
        }
        Ok(Self { value, len })
    }

    /// Returns the digits as a number, and how many they are.
    pub fn value(self) -> (u64, u8) {
        (self.value, self.len)
    }

    /// Returns the digits in clear.
    pub fn digits(&self) -> String {
        format!("{:0width$}", self.value, width = usize::from(self.len))
    }
}

impl FromStr for Imsi {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_new(decimal("IMSI", text)?, text.len().min(255) as u8)
    }
}

impl fmt::Display for Imsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        mask(f, &self.digits(), 5)
    }
}

text_serde!(
    Imsi,
    "International mobile subscriber identity (TS 23.003 §2.2)",
    r"^[0-9]{6,15}$",
    Imsi::digits
);

/// A subscriber's number in international form (ITU-T E.164): country code first, no `+`, at most 15
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Msisdn(u64);

impl Msisdn {
    /// Makes an MSISDN from its digits as a number.
    ///
    /// # Errors
    /// Fails where there are not 7 to 15 digits or the country code is unknown. The code 999, which is
    /// assigned to no country, is accepted: synthetic subscribers live there.
    pub fn try_new(value: u64) -> Result<Self, IdentifierError> {
        if !(1_000_000..1_000_000_000_000_000).contains(&value) {
            return Err(IdentifierError::Length {
                what: "MSISDN",
                allowed: "7 to 15 digits, the country code first",
            });
        }
        if !is_country_code(value / 10_u64.pow(value.ilog10() - 2)) {
            return Err(IdentifierError::CountryCode { what: "MSISDN" });
        }
        Ok(Self(value))
    }

    /// Returns the digits as a number.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Returns the digits in clear.
    pub fn digits(&self) -> String {
        self.0.to_string()
    }
}

/// Whether the first three digits of a number hold an assigned country code (list of ITU-T E.164
/// assigned country codes), or the reserved 999.
fn is_country_code(first_three: u64) -> bool {
    matches!(
        first_three,
        100..=199 | 700..=799
            | 200..=209 | 270..=279
            | 300..=349 | 360..=369 | 390..=419 | 430..=499
            | 510..=589 | 600..=669 | 810..=829 | 840..=849 | 860..=869 | 900..=959 | 980..=989
            | 211..=213 | 216 | 218 | 220..=258 | 260..=269 | 290 | 291 | 297..=299
            | 350..=359 | 370..=378 | 380..=383 | 385..=387 | 389 | 420 | 421 | 423
            | 500..=509 | 590..=599 | 670 | 672..=683 | 685..=692
            | 800 | 808 | 850 | 852 | 853 | 855 | 856 | 870 | 878 | 880..=883 | 886 | 888
            | 960..=968 | 970..=977 | 979 | 992..=996 | 998 | 999
    )
}

impl FromStr for Msisdn {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('0') {
            return Err(IdentifierError::CountryCode { what: "MSISDN" });
        }
        Self::try_new(decimal("MSISDN", text)?)
    }
}

impl fmt::Display for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        mask(f, &self.digits(), 5)
    }
}

text_serde!(
    Msisdn,
    "International number, country code first (ITU-T E.164)",
    r"^[1-9][0-9]{6,14}$",
    Msisdn::digits
);

/// International mobile equipment identity (TS 23.003 §6.2.1): type allocation code of 8 digits, serial
/// number of 6, Luhn check digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Imei(u64);

impl Imei {
    /// Makes an IMEI from TAC (8 digits) and serial number (6 digits); larger values are reduced to
    /// their last digits. The check digit is computed.
    pub fn from_parts(tac: u32, serial: u32) -> Self {
        let body = u64::from(tac % 100_000_000) * 1_000_000 + u64::from(serial % 1_000_000);
        Self(body * 10 + u64::from(luhn(u128::from(body))))
    }

    /// Returns the digits as a number of 15 digits, leading zeros counted.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Returns the digits in clear.
    pub fn digits(&self) -> String {
        format!("{:015}", self.0)
    }
}

impl FromStr for Imei {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 15 {
            return Err(IdentifierError::Length { what: "IMEI", allowed: "15 digits" });
        }
        let value = decimal("IMEI", text)?;
        check_luhn("IMEI", u128::from(value))?;
        Ok(Self(value))
    }
}

impl fmt::Display for Imei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        mask(f, &self.digits(), 8)
    }
}

text_serde!(
    Imei,
    "International mobile equipment identity (TS 23.003 §6.2.1)",
    r"^[0-9]{15}$",
    Imei::digits
);

/// Integrated circuit card identifier, the number of a SIM card (ITU-T E.118): 89, country code, issuer,
/// account and Luhn check digit, 19 or 20 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iccid {
    value: u128,
    len: u8,
}

impl Iccid {
    /// Returns the digits in clear.
    pub fn digits(&self) -> String {
        format!("{:0width$}", self.value, width = usize::from(self.len))
    }
}

impl FromStr for Iccid {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !matches!(text.len(), 19 | 20) {
            return Err(IdentifierError::Length { what: "ICCID", allowed: "19 or 20 digits" });
        }
        let not_digits = IdentifierError::Character { what: "ICCID", allowed: "decimal digits" };
        if !text.bytes().all(|c| c.is_ascii_digit()) {
            return Err(not_digits);
        }
        if !text.starts_with("89") {
            return Err(IdentifierError::CountryCode { what: "ICCID" });
        }
        let value = text.parse().map_err(|_| not_digits)?;
        check_luhn("ICCID", value)?;
        Ok(Self { value, len: text.len() as u8 })
    }
}

impl fmt::Display for Iccid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        mask(f, &self.digits(), 6)
    }
}

text_serde!(Iccid, "Number of a SIM card (ITU-T E.118)", r"^89[0-9]{17,18}$", Iccid::digits);

/// `Debug` as masked as `Display`.
macro_rules! masked_debug {
    ($($type:ident),*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
masked_debug!(Imsi, Msisdn, Imei, Iccid);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn refuses<T: FromStr<Err = IdentifierError> + Debug>(text: &str, message: &str) {
        assert_eq!(text.parse::<T>().unwrap_err().to_string(), message, "{text}");
    }

    #[test]
    fn malformed_identifiers_are_refused_with_what_is_allowed() {
        refuses::<Imsi>("99901", "IMSI must have 6 to 15 digits");
        refuses::<Imsi>("9990100000000001", "IMSI must have 6 to 15 digits");
        refuses::<Imsi>("12301000000001", "IMSI does not begin with a known country code");
        refuses::<Imsi>("99901 00000001", "IMSI must consist of decimal digits");
        refuses::<Msisdn>("0999010000001", "MSISDN does not begin with a known country code");
        refuses::<Msisdn>("2100000000", "MSISDN does not begin with a known country code");
        refuses::<Msisdn>("+999010000001", "MSISDN must consist of decimal digits");
        refuses::<Msisdn>("999010", "MSISDN must have 7 to 15 digits, the country code first");
        refuses::<Imei>("490154203237517", "IMEI ends with check digit 7, expected 8");
        refuses::<Imei>("49015420323751", "IMEI must have 15 digits");
        refuses::<Iccid>("8999901000000000001", "ICCID ends with check digit 1, expected 5");
        refuses::<Iccid>("899990100000000", "ICCID must have 19 or 20 digits");
        refuses::<Iccid>("8899901000000000001", "ICCID does not begin with a known country code");
    }

    #[test]
    fn well_formed_identifiers_are_read() {
        assert_eq!("999010000000001".parse::<Imsi>().unwrap().digits(), "999010000000001");
        assert_eq!("001010123456789".parse::<Imsi>().unwrap().digits(), "001010123456789");
        assert_eq!("447700900123".parse::<Msisdn>().unwrap().digits(), "447700900123");
        assert_eq!("490154203237518".parse::<Imei>().unwrap().digits(), "490154203237518");
        assert_eq!(Imei::from_parts(49_015_420, 323_751).digits(), "490154203237518");
        assert_eq!("8999901000000000005".parse::<Iccid>().unwrap().digits(), "8999901000000000005");
    }

    #[test]
    fn nothing_personal_is_printed() {
        let imsi: Imsi = "999010000000042".parse().unwrap();
        assert_eq!(format!("{imsi} {imsi:?}"), "99901********42 99901********42");
        let msisdn: Msisdn = "999010000042".parse().unwrap();
        assert_eq!(format!("{msisdn:?}"), "99901*****42");
        let device: Imei = "490154203237518".parse().unwrap();
        assert_eq!(format!("{device:?}"), "49015420*****18");
        let iccid: Iccid = "8999901000000000005".parse().unwrap();
        assert_eq!(format!("{iccid:?}"), "899990***********05");
    }

    proptest! {
        #[test]
        fn one_wrong_digit_breaks_the_check(tac in 0u32..100_000_000, serial in 0u32..1_000_000, at in 0usize..15, by in 1u8..10) {
            let mut digits = Imei::from_parts(tac, serial).digits().into_bytes();
            digits[at] = b'0' + (digits[at] - b'0' + by) % 10;
            prop_assert!(std::str::from_utf8(&digits).unwrap().parse::<Imei>().is_err());
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
            let _ = text.parse::<Imsi>().is_ok();
            let _ = text.parse::<Msisdn>().is_ok();
            let _ = text.parse::<Imei>().is_ok();
            let _ = text.parse::<Iccid>().is_ok();
        }
    }
}
