//! Networks: PLMN identities and TADIG codes.

use std::fmt;
use std::str::FromStr;

use crate::identifiers::{IdentifierError, decimal, text_serde};

/// A public land mobile network: mobile country code and mobile network code (TS 23.003 §2.2).
///
/// The text is the MCC's three digits followed by the MNC's two or three, `99901`; a hyphen between
/// them is accepted when reading. The length of the MNC is part of the identity (`01` is not `001`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlmnId {
    mcc: u16,
    mnc: u16,
    mnc_digits: u8,
}

impl PlmnId {
    /// Makes a PLMN identity.
    ///
    /// # Errors
    /// Fails where `mcc` has not the shape of a mobile country code (001, 200 to 799, 901, 999) or
    /// `mnc` does not have `mnc_digits` digits, 2 or 3.
    pub fn try_new(mcc: u16, mnc: u16, mnc_digits: u8) -> Result<Self, IdentifierError> {
        if !is_mcc(mcc) {
            return Err(IdentifierError::CountryCode { what: "PLMN" });
        }
        if !matches!((mnc_digits, mnc), (2, 0..=99) | (3, 0..=999)) {
            return Err(IdentifierError::Length { what: "PLMN", allowed: "5 or 6 digits" });
        }
        Ok(Self { mcc, mnc, mnc_digits })
    }

    /// Returns the mobile country code.
    pub fn mcc(self) -> u16 {
        self.mcc
    }

    /// Returns the mobile network code; its length is [`PlmnId::mnc_digits`].
    pub fn mnc(self) -> u16 {
        self.mnc
    }

    /// Returns the number of digits of the MNC, 2 or 3.
    pub fn mnc_digits(self) -> u8 {
        self.mnc_digits
    }

    /// Returns the digits of MCC and MNC as one number, and how many they are: the first digits of an
    /// IMSI of this network.
    pub fn prefix(self) -> (u64, u8) {
        let scale = if self.mnc_digits == 2 { 100 } else { 1000 };
        (u64::from(self.mcc) * scale + u64::from(self.mnc), 3 + self.mnc_digits)
    }
}

/// Whether a number has the shape of a mobile country code (ITU-T E.212): zones 2 to 7, the test
/// network 001, the shared codes 901 and the private networks 999.
pub(crate) fn is_mcc(mcc: u16) -> bool {
    matches!(mcc, 1 | 200..=799 | 901 | 999)
}

impl FromStr for PlmnId {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (mcc, mnc) = match text.split_once('-') {
            Some((mcc, mnc)) if mcc.len() == 3 => (mcc, mnc),
            _ if text.is_ascii() && matches!(text.len(), 5 | 6) => text.split_at(3),
            _ => {
                return Err(IdentifierError::Length { what: "PLMN", allowed: "5 or 6 digits" });
            }
        };
        // Codes of at most three digits fit 16 bits; longer ones fail the length check.
        let number =
            |text| decimal("PLMN", text).map(|value| value.min(u64::from(u16::MAX)) as u16);
        Self::try_new(number(mcc)?, number(mnc)?, mnc.len().min(255) as u8)
    }
}

impl fmt::Display for PlmnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}{:0width$}", self.mcc, self.mnc, width = usize::from(self.mnc_digits))
    }
}

impl fmt::Debug for PlmnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_serde!(PlmnId, "PLMN identity: MCC and MNC (TS 23.003 §2.2)", r"^[0-9]{5,6}$");

/// A TADIG code, which names an operator in wholesale records (GSMA TD.13): five characters, the
/// country (ISO 3166-1 alpha-3) and two for the network. Ours are synthetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tadig([u8; 5]);

impl Tadig {
    /// Returns the five characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII passes the constructor")
    }
}

impl FromStr for Tadig {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code: [u8; 5] = text.as_bytes().try_into().map_err(|_| IdentifierError::Length {
            what: "TADIG",
            allowed: "3 letters and 2 letters or digits",
        })?;
        let valid = code[..3].iter().all(u8::is_ascii_uppercase)
            && code[3..].iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        if !valid {
            return Err(IdentifierError::Character {
                what: "TADIG",
                allowed: "3 capital letters and 2 capital letters or digits",
            });
        }
        Ok(Self(code))
    }
}

impl fmt::Display for Tadig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Tadig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_serde!(Tadig, "TADIG code of an operator (GSMA TD.13)", r"^[A-Z]{3}[A-Z0-9]{2}$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnc_length_is_part_of_the_identity() {
        let two: PlmnId = "99901".parse().unwrap();
        let three: PlmnId = "999-001".parse().unwrap();
        assert_ne!(two, three);
        assert_eq!(two.to_string(), "99901");
        assert_eq!(three.to_string(), "999001");
        assert_eq!(three.prefix(), (999_001, 6));
    }

    #[test]
    fn what_is_no_plmn_is_refused() {
        for text in ["", "9990", "9990001", "12301", "00201", "999-1", "99x01", "9999-01", "99é01"]
        {
            assert!(text.parse::<PlmnId>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_tadig_is_refused() {
        assert_eq!("AAA01".parse::<Tadig>().unwrap().as_str(), "AAA01");
        for text in ["", "AAA0", "AAA001", "aaa01", "A1A01", "AAA-1"] {
            assert!(text.parse::<Tadig>().is_err(), "{text}");
        }
    }
}
