//! The shape of a profile as a person writes it: units in the keys, names for references.

#![expect(clippy::struct_field_names, reason = "keys end with their unit")]

use roaming_events::{Apn, Iccid, Imei, Imsi, Msisdn, PlmnId, Rat, SimTime, Tadig};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::FraudPattern;
use super::bounded::{Decimal, Name, Percent, Whole};

/// A month and more. Simulated time within a run is counted in 32 bits of milliseconds, 49 days, and
/// the last wholesale records need some of them.
pub(super) type Hours = Decimal<2, 1, 96_000>;
/// As [`Hours`], from zero.
pub(super) type HoursFromZero = Decimal<2, 0, 96_000>;
pub(super) type Minutes = Whole<0, 2_880>;
pub(super) type PerDay = Decimal<3, 0, 500_000>;
/// A factor from 0 to 100.
pub(super) type Factor = Decimal<3, 0, 100_000>;
/// Special drawing rights, in millionths.
pub(super) type Price = Decimal<6, 0, 1_000_000_000>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    pub(super) start: SimTime,
    pub(super) duration_h: Hours,
    pub(super) subscribers: Whole<1, 50_000_000>,
    pub(super) home_networks: Spanned<Vec<RawHomeNetwork>>,
    pub(super) visited_networks: Spanned<Vec<RawVisitedNetwork>>,
    pub(super) link: Spanned<RawLink>,
    pub(super) devices: Spanned<Vec<RawDevice>>,
    pub(super) trips: RawTrips,
    pub(super) registration: RawRegistration,
    pub(super) traffic: RawTraffic,
    pub(super) policy: RawPolicy,
    pub(super) tariff: RawTariff,
    pub(super) records: Spanned<RawRecords>,
    #[serde(default)]
    pub(super) conditions: Vec<RawCondition>,
    #[serde(default)]
    pub(super) fraud: Vec<RawFraud>,
    pub(super) test_sims: Option<Spanned<Vec<RawTestSim>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHomeNetwork {
    pub(super) name: Spanned<Name>,
    pub(super) plmn: Spanned<PlmnId>,
    pub(super) tadig: Tadig,
    pub(super) share_percent: Percent,
    #[serde(default)]
    pub(super) preferred: Vec<Spanned<Name>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawVisitedNetwork {
    pub(super) name: Spanned<Name>,
    pub(super) plmn: Spanned<PlmnId>,
    pub(super) tadig: Tadig,
    pub(super) country: Name,
    pub(super) share_percent: Percent,
    pub(super) rats: Spanned<Vec<RawRat>>,
    pub(super) link: Option<Spanned<RawLink>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRat {
    pub(super) rat: Rat,
    pub(super) share_percent: Percent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLink {
    pub(super) latency_min_ms: Whole<1, 10_000>,
    pub(super) latency_max_ms: Whole<1, 10_000>,
    pub(super) jitter_ms: Whole<0, 10_000>,
    pub(super) loss_min_percent: Percent,
    pub(super) loss_max_percent: Percent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDevice {
    pub(super) name: Name,
    pub(super) tac: Tac,
    pub(super) share_percent: Percent,
    pub(super) voice_factor: Factor,
    pub(super) data_factor: Factor,
    pub(super) mobility_factor: Factor,
}

/// A type allocation code of the test range: eight digits that begin with 00.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Tac(pub(super) u32);

impl TryFrom<String> for Tac {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.parse() {
            Ok(tac) if text.len() == 8 && text.starts_with("00") => Ok(Self(tac)),
            _ => {
                Err("a TAC is a text of 8 digits; allowed is the test range, which begins with 00")
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrips {
    pub(super) arrival_h: Hours,
    pub(super) stay_min_h: HoursFromZero,
    pub(super) stay_mean_h: Hours,
    pub(super) pause_mean_h: Hours,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRegistration {
    pub(super) steering_refusals_max: Whole<0, 10>,
    pub(super) steered_percent: Percent,
    pub(super) preferred_coverage_percent: Percent,
    pub(super) unknown_subscriber_percent: Percent,
    pub(super) authentication_failure_percent: Percent,
    pub(super) system_failure_percent: Percent,
    pub(super) rat_not_allowed_percent: Percent,
    pub(super) periodic_update_min: Whole<1, 1_440>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTraffic {
    pub(super) calls_per_day: PerDay,
    pub(super) sms_per_day: PerDay,
    pub(super) sessions_per_day: PerDay,
    pub(super) moves_per_day: PerDay,
    pub(super) originated_percent: Percent,
    pub(super) call_mean_s: Whole<1, 36_000>,
    pub(super) session_mean_s: Whole<1, 86_400>,
    pub(super) volume_median_kb: Whole<1, 10_000_000>,
    pub(super) volume_sigma: Decimal<3, 0, 3_000>,
    pub(super) local_breakout_percent: Percent,
    pub(super) apn: Apn,
    pub(super) failure_percent: Percent,
    #[serde(default)]
    pub(super) late_reports: Option<RawLateReports>,
    /// Activity of each hour of the day (UTC), relative to the others.
    pub(super) diurnal: Spanned<Vec<Whole<1, 1_000>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLateReports {
    pub(super) share_percent: Percent,
    pub(super) delay_max_min: Whole<1, 720>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) fair_use_mb: Whole<1, 10_000_000>,
    pub(super) spend_cap_xdr: Whole<1, 1_000_000>,
    pub(super) data_barred_percent: Percent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTariff {
    pub(super) decimals: Whole<0, 6>,
    pub(super) call_originated_xdr_per_min: Price,
    pub(super) call_terminated_xdr_per_min: Price,
    pub(super) call_interval_s: Whole<1, 3_600>,
    pub(super) sms_originated_xdr: Price,
    pub(super) data_xdr_per_mb: Price,
    pub(super) data_interval_kb: Whole<1, 1_000_000>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRecords {
    pub(super) tap_out_min_min: Minutes,
    pub(super) tap_out_max_min: Minutes,
    pub(super) tap_in_min_min: Minutes,
    pub(super) tap_in_max_min: Minutes,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCondition {
    pub(super) network: Spanned<Name>,
    pub(super) from_h: HoursFromZero,
    pub(super) lasts_h: Hours,
    pub(super) kind: RawConditionKind,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum RawConditionKind {
    Outage { loss_percent: Percent, undeliverable_percent: Percent },
    Congestion { latency_factor: Factor, refused_percent: Percent },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFraud {
    pub(super) pattern: FraudPattern,
    pub(super) subscribers: Whole<1, 1_000>,
    pub(super) from_h: HoursFromZero,
    pub(super) lasts_h: Hours,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTestSim {
    pub(super) imsi: Spanned<Imsi>,
    pub(super) iccid: Iccid,
    pub(super) msisdn: Spanned<Msisdn>,
    pub(super) imei: Spanned<Imei>,
}
