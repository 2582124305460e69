//! From the written shape to the resolved one: units, references, and what no single value shows.

use std::collections::BTreeSet;

use roaming_events::SimDuration;
use serde_saphyr::{Location, Spanned};

use super::bounded::Name;
use super::error::ProfileError;
use super::raw::{
    RawCondition, RawConditionKind, RawDevice, RawFraud, RawHomeNetwork, RawLink, RawPolicy,
    RawProfile, RawRecords, RawRegistration, RawTariff, RawTestSim, RawTraffic, RawTrips,
    RawVisitedNetwork,
};
use super::{
    ConditionKind, DeviceClass, Fraud, HomeNetwork, Link, Policy, Profile, RatShare, RecordDelays,
    Registration, ScheduledCondition, Tariff, TestSim, Traffic, Trips, VisitedNetwork,
};

/// Bound of the networks of each kind: their number is in eight bits of a subscriber.
const NETWORKS_MAX: usize = 200;
const DEVICES_MAX: usize = 50;
const TEST_SIMS_MAX: usize = 10_000;
/// First digit of the MSINs of subscribers that are not pinned.
const GENERATED_DIGIT: char = '5';
/// TACs that belong to a device class, its own the first: as many as there are millions of subscribers.
const TACS_PER_CLASS: u32 = 50;
/// All shares of a list together, in parts per million.
const WHOLE_PPM: u64 = 1_000_000;
/// Synthetic networks have this mobile country code, synthetic numbers this country code.
const SYNTHETIC: u16 = 999;

pub(super) fn parse(source_name: &str, yaml: &str) -> Result<Profile, ProfileError> {
    let raw: RawProfile = serde_saphyr::from_str(yaml)
        .map_err(|error| ProfileError::from_yaml(source_name, &error))?;
    Resolver { source_name }.profile(&raw)
}

struct Resolver<'a> {
    source_name: &'a str,
}

impl Resolver<'_> {
    fn profile(&self, raw: &RawProfile) -> Result<Profile, ProfileError> {
        self.count("home_networks", &raw.home_networks, NETWORKS_MAX)?;
        self.count("visited_networks", &raw.visited_networks, NETWORKS_MAX)?;
        self.count("devices", &raw.devices, DEVICES_MAX)?;
        let link = self.link(&raw.link)?;
        let visited_networks = self.visited_networks(&raw.visited_networks, link)?;
        let home_networks = self.home_networks(&raw.home_networks, &visited_networks)?;
        let subscribers = raw.subscribers.get_u32();
        let devices = self.devices(&raw.devices)?;
        let test_sims = match &raw.test_sims {
            Some(sims) => self.test_sims(sims, &home_networks, &devices, subscribers)?,
            None => Vec::new(),
        };
        let conditions = raw
            .conditions
            .iter()
            .map(|condition| self.condition(condition, &visited_networks))
            .collect::<Result<_, _>>()?;
        Ok(Profile {
            start: raw.start,
            duration: hours(raw.duration_h.get_u32()),
            subscribers,
            devices,
            trips: trips(&raw.trips),
            registration: registration(&raw.registration),
            traffic: self.traffic(&raw.traffic)?,
            policy: policy(&raw.policy),
            tariff: tariff(&raw.tariff),
            records: self.records(&raw.records)?,
            conditions,
            fraud: raw.fraud.iter().map(fraud).collect(),
            test_sims,
            home_networks,
            visited_networks,
        })
    }

    fn fail(&self, location: Location, what: String) -> ProfileError {
        ProfileError::at(self.source_name, location, what)
    }

    fn count<T>(&self, key: &str, list: &Spanned<Vec<T>>, max: usize) -> Result<(), ProfileError> {
        if (1..=max).contains(&list.value.len()) {
            return Ok(());
        }
        let what = format!("{key} has {} entries; allowed is 1 to {max}", list.value.len());
        Err(self.fail(list.referenced, what))
    }

    /// Checks that shares, in parts per million, are those of a whole: the engine would take others for
    /// weights, and each would mean something else than is written.
    fn shares(
        &self,
        key: &str,
        location: Location,
        shares: impl Iterator<Item = u32>,
    ) -> Result<(), ProfileError> {
        let sum: u64 = shares.map(u64::from).sum();
        if sum == WHOLE_PPM {
            return Ok(());
        }
        let (whole, rest) = (sum / 10_000, sum % 10_000);
        let sum = format!("{whole}.{rest:04}");
        let sum = sum.trim_end_matches('0').trim_end_matches('.');
        let what = format!("the share_percent of {key} add up to {sum}; allowed is 100");
        Err(self.fail(location, what))
    }

    /// Checks that no value stands twice in a list.
    fn distinct<T: Ord + std::fmt::Display>(
        &self,
        key: &str,
        values: impl Iterator<Item = (T, Location)>,
    ) -> Result<(), ProfileError> {
        let mut seen = BTreeSet::new();
        for (value, location) in values {
            if seen.contains(&value) {
                return Err(self.fail(location, format!("{key} `{value}` is used twice")));
            }
            seen.insert(value);
        }
        Ok(())
    }

    fn synthetic(&self, plmn: &Spanned<roaming_events::PlmnId>) -> Result<(), ProfileError> {
        if plmn.value.mcc() == SYNTHETIC {
            return Ok(());
        }
        let what = format!(
            "PLMN {} could be a live network; allowed is MCC 999, which no live network has",
            plmn.value
        );
        Err(self.fail(plmn.referenced, what))
    }

    fn link(&self, raw: &Spanned<RawLink>) -> Result<Link, ProfileError> {
        let (link, location) = (&raw.value, raw.referenced);
        let (min, max) = (link.latency_min_ms.get_u32(), link.latency_max_ms.get_u32());
        if min > max {
            let what = format!("latency_min_ms {min} is above latency_max_ms {max}");
            return Err(self.fail(location, what));
        }
        let jitter = link.jitter_ms.get_u32();
        if jitter > max - min {
            let what = format!(
                "jitter_ms {jitter} is out of range; allowed is 0 to {}, the range of the latency",
                max - min
            );
            return Err(self.fail(location, what));
        }
        let (loss_min, loss_max) =
            (link.loss_min_percent.get_u32(), link.loss_max_percent.get_u32());
        if loss_min > loss_max {
            return Err(self.fail(location, "loss_min_percent is above loss_max_percent".into()));
        }
        Ok(Link {
            latency_min_us: min * 1000,
            latency_max_us: max * 1000,
            jitter_us: jitter * 1000,
            loss_min_ppm: loss_min,
            loss_max_ppm: loss_max,
        })
    }

    fn visited_networks(
        &self,
        raw: &Spanned<Vec<RawVisitedNetwork>>,
        default: Link,
    ) -> Result<Vec<VisitedNetwork>, ProfileError> {
        let networks = &raw.value;
        self.distinct(
            "name",
            networks.iter().map(|n| (n.name.value.0.as_str(), n.name.referenced)),
        )?;
        self.distinct("PLMN", networks.iter().map(|n| (n.plmn.value, n.plmn.referenced)))?;
        let shares = networks.iter().map(|network| network.share_percent.get_u32());
        self.shares("visited_networks", raw.referenced, shares)?;
        networks.iter().map(|network| self.visited_network(network, default)).collect()
    }

    fn visited_network(
        &self,
        raw: &RawVisitedNetwork,
        default: Link,
    ) -> Result<VisitedNetwork, ProfileError> {
        self.synthetic(&raw.plmn)?;
        let rats: Vec<_> = raw
            .rats
            .value
            .iter()
            .map(|rat| RatShare { rat: rat.rat, share_ppm: rat.share_percent.get_u32() })
            .collect();
        self.shares("rats", raw.rats.referenced, rats.iter().map(|rat| rat.share_ppm))?;
        Ok(VisitedNetwork {
            name: raw.name.value.0.clone(),
            plmn: raw.plmn.value,
            tadig: raw.tadig,
            country: raw.country.0.clone(),
            share_ppm: raw.share_percent.get_u32(),
            rats,
            link: raw.link.as_ref().map_or(Ok(default), |link| self.link(link))?,
        })
    }

    fn home_networks(
        &self,
        raw: &Spanned<Vec<RawHomeNetwork>>,
        visited: &[VisitedNetwork],
    ) -> Result<Vec<HomeNetwork>, ProfileError> {
        let networks = &raw.value;
        self.distinct(
            "name",
            networks.iter().map(|n| (n.name.value.0.as_str(), n.name.referenced)),
        )?;
        self.distinct("PLMN", networks.iter().map(|n| (n.plmn.value, n.plmn.referenced)))?;
        let shares = networks.iter().map(|network| network.share_percent.get_u32());
        self.shares("home_networks", raw.referenced, shares)?;
        networks.iter().map(|network| self.home_network(network, visited)).collect()
    }

    fn home_network(
        &self,
        raw: &RawHomeNetwork,
        visited: &[VisitedNetwork],
    ) -> Result<HomeNetwork, ProfileError> {
        self.synthetic(&raw.plmn)?;
        let mut preferred: Vec<u16> = Vec::new();
        for name in &raw.preferred {
            let index = self.network("preferred", name, visited)?;
            let country = &visited[usize::from(index)].country;
            if preferred.iter().any(|other| visited[usize::from(*other)].country == *country) {
                let what = format!(
                    "`{}` is the second preferred network in `{country}`; allowed is one",
                    name.value.0
                );
                return Err(self.fail(name.referenced, what));
            }
            preferred.push(index);
        }
        Ok(HomeNetwork {
            name: raw.name.value.0.clone(),
            plmn: raw.plmn.value,
            tadig: raw.tadig,
            share_ppm: raw.share_percent.get_u32(),
            preferred,
        })
    }

    /// Returns the index of the visited network that `key` names.
    fn network(
        &self,
        key: &str,
        name: &Spanned<Name>,
        visited: &[VisitedNetwork],
    ) -> Result<u16, ProfileError> {
        let written = &name.value.0;
        let names = || visited.iter().map(|network| network.name.as_str());
        names().position(|known| known == written).map(|index| index as u16).ok_or_else(|| {
            let known = names().collect::<Vec<_>>().join(", ");
            let what = format!("{key}: unknown visited network `{written}`; known: {known}");
            self.fail(name.referenced, what).suggesting(written, names())
        })
    }

    fn devices(&self, raw: &Spanned<Vec<RawDevice>>) -> Result<Vec<DeviceClass>, ProfileError> {
        let shares = raw.value.iter().map(|device| device.share_percent.get_u32());
        self.shares("devices", raw.referenced, shares)?;
        let mut tacs: Vec<u32> = raw.value.iter().map(|device| device.tac.0).collect();
        tacs.sort_unstable();
        if tacs.windows(2).any(|pair| pair[1] - pair[0] < TACS_PER_CLASS) {
            let what = format!(
                "two devices have a TAC less than {TACS_PER_CLASS} apart; each million of subscribers \
                 takes one"
            );
            return Err(self.fail(raw.referenced, what));
        }
        let device = |device: &RawDevice| DeviceClass {
            name: device.name.0.clone(),
            tac: device.tac.0,
            share_ppm: device.share_percent.get_u32(),
            voice_permille: device.voice_factor.get_u32(),
            data_permille: device.data_factor.get_u32(),
            mobility_permille: device.mobility_factor.get_u32(),
        };
        Ok(raw.value.iter().map(device).collect())
    }

    fn traffic(&self, raw: &RawTraffic) -> Result<Traffic, ProfileError> {
        let hours = &raw.diurnal.value;
        if hours.len() != 24 {
            let what = format!("diurnal has {} entries; allowed is 24, one an hour", hours.len());
            return Err(self.fail(raw.diurnal.referenced, what));
        }
        let sum: u64 = hours.iter().map(|hour| hour.get()).sum();
        let late = raw.late_reports.as_ref();
        Ok(Traffic {
            calls_per_day_milli: raw.calls_per_day.get_u32(),
            sms_per_day_milli: raw.sms_per_day.get_u32(),
            sessions_per_day_milli: raw.sessions_per_day.get_u32(),
            moves_per_day_milli: raw.moves_per_day.get_u32(),
            originated_ppm: raw.originated_percent.get_u32(),
            call_mean: SimDuration::from_secs(raw.call_mean_s.get()),
            session_mean: SimDuration::from_secs(raw.session_mean_s.get()),
            volume_median: raw.volume_median_kb.get() * 1000,
            volume_sigma_permille: raw.volume_sigma.get_u32(),
            local_breakout_ppm: raw.local_breakout_percent.get_u32(),
            apn: raw.apn,
            failure_ppm: raw.failure_percent.get_u32(),
            late_report_ppm: late.map_or(0, |late| late.share_percent.get_u32()),
            late_report_max: late
                .map_or(SimDuration::ZERO, |late| minutes(late.delay_max_min.get())),
            diurnal_permille: hours
                .iter()
                .map(|hour| (hour.get() * 24_000).div_ceil(sum) as u32)
                .collect(),
        })
    }

    fn records(&self, raw: &Spanned<RawRecords>) -> Result<RecordDelays, ProfileError> {
        let records = &raw.value;
        let ordered = records.tap_out_min_min.get() <= records.tap_out_max_min.get()
            && records.tap_in_min_min.get() <= records.tap_in_max_min.get();
        if !ordered {
            let what = "a least delay is above the most of its kind".into();
            return Err(self.fail(raw.referenced, what));
        }
        Ok(RecordDelays {
            tap_out_min: minutes(records.tap_out_min_min.get()),
            tap_out_max: minutes(records.tap_out_max_min.get()),
            tap_in_min: minutes(records.tap_in_min_min.get()),
            tap_in_max: minutes(records.tap_in_max_min.get()),
        })
    }

    fn condition(
        &self,
        raw: &RawCondition,
        visited: &[VisitedNetwork],
    ) -> Result<ScheduledCondition, ProfileError> {
        Ok(ScheduledCondition {
            network: self.network("network", &raw.network, visited)?,
            from: hours(raw.from_h.get_u32()),
            lasts: hours(raw.lasts_h.get_u32()),
            kind: match &raw.kind {
                RawConditionKind::Outage { loss_percent, undeliverable_percent } => {
                    ConditionKind::Outage {
                        loss_ppm: loss_percent.get_u32(),
                        undeliverable_ppm: undeliverable_percent.get_u32(),
                    }
                }
                RawConditionKind::Congestion { latency_factor, refused_percent } => {
                    ConditionKind::Congestion {
                        latency_permille: latency_factor.get_u32(),
                        refused_ppm: refused_percent.get_u32(),
                    }
                }
            },
        })
    }

    fn test_sims(
        &self,
        raw: &Spanned<Vec<RawTestSim>>,
        homes: &[HomeNetwork],
        devices: &[DeviceClass],
        subscribers: u32,
    ) -> Result<Vec<TestSim>, ProfileError> {
        let max = TEST_SIMS_MAX.min(subscribers as usize);
        if raw.value.len() > max {
            let what = format!(
                "test_sims has {} entries; allowed is up to {max}: one a subscriber",
                raw.value.len()
            );
            return Err(self.fail(raw.referenced, what));
        }
        let sims = || raw.value.iter();
        self.distinct("IMSI", sims().map(|sim| (sim.imsi.value, sim.imsi.referenced)))?;
        self.distinct("MSISDN", sims().map(|sim| (sim.msisdn.value, sim.msisdn.referenced)))?;
        self.distinct("IMEI", sims().map(|sim| (sim.imei.value, sim.imei.referenced)))?;
        sims().map(|sim| self.test_sim(sim, homes, devices)).collect()
    }

    /// Checks that a pinned identity is synthetic, and that no other subscriber can have it.
    fn test_sim(
        &self,
        raw: &RawTestSim,
        homes: &[HomeNetwork],
        devices: &[DeviceClass],
    ) -> Result<TestSim, ProfileError> {
        let Some(home) = homes.iter().find(|home| is_of(raw.imsi.value, home)) else {
            let plmns: Vec<_> = homes.iter().map(|home| home.plmn.to_string()).collect();
            let what = format!(
                "IMSI belongs to no home network; allowed beginnings: {}",
                plmns.join(", ")
            );
            return Err(self.fail(raw.imsi.referenced, what));
        };
        let prefix_len = home.plmn.to_string().len();
        if raw.imsi.value.digits()[prefix_len..].starts_with(GENERATED_DIGIT) {
            let what = "IMSI may belong to another subscriber; allowed is an MSIN that does not \
                        begin with 5";
            return Err(self.fail(raw.imsi.referenced, what.into()));
        }
        let msisdn = raw.msisdn.value.digits();
        if !msisdn.starts_with("999") {
            let what = "MSISDN could be a live number; allowed is country code 999".into();
            return Err(self.fail(raw.msisdn.referenced, what));
        }
        if msisdn.len() == 15 {
            let what = "MSISDN may belong to another subscriber; allowed is 7 to 14 digits".into();
            return Err(self.fail(raw.msisdn.referenced, what));
        }
        let tac = (raw.imei.value.value() / 10_000_000) as u32;
        if !raw.imei.value.digits().starts_with("00") {
            let what = "IMEI could be a live device; allowed is the test range, TAC 00".into();
            return Err(self.fail(raw.imei.referenced, what));
        }
        if devices.iter().any(|device| (device.tac..device.tac + TACS_PER_CLASS).contains(&tac)) {
            let what = "IMEI may belong to another subscriber; allowed is a TAC that is 50 or more \
                        above those of the devices, or below them";
            return Err(self.fail(raw.imei.referenced, what.into()));
        }
        Ok(TestSim {
            imsi: raw.imsi.value,
            iccid: raw.iccid,
            msisdn: raw.msisdn.value,
            imei: raw.imei.value,
        })
    }
}

/// Whether an IMSI begins with the network's MCC and MNC.
pub(crate) fn is_of(imsi: roaming_events::Imsi, home: &HomeNetwork) -> bool {
    let (value, len) = imsi.value();
    let (prefix, prefix_len) = home.plmn.prefix();
    len > prefix_len && value / 10_u64.pow(u32::from(len - prefix_len)) == prefix
}

fn hours(hundredths: u32) -> SimDuration {
    SimDuration::from_secs(u64::from(hundredths) * 36)
}

fn minutes(minutes: u64) -> SimDuration {
    SimDuration::from_secs(minutes * 60)
}

fn trips(raw: &RawTrips) -> Trips {
    Trips {
        arrival: hours(raw.arrival_h.get_u32()),
        stay_min: hours(raw.stay_min_h.get_u32()),
        stay_mean: hours(raw.stay_mean_h.get_u32()),
        pause_mean: hours(raw.pause_mean_h.get_u32()),
    }
}

fn registration(raw: &RawRegistration) -> Registration {
    Registration {
        refusals_max: raw.steering_refusals_max.get() as u8,
        steered_ppm: raw.steered_percent.get_u32(),
        coverage_ppm: raw.preferred_coverage_percent.get_u32(),
        unknown_subscriber_ppm: raw.unknown_subscriber_percent.get_u32(),
        authentication_failure_ppm: raw.authentication_failure_percent.get_u32(),
        system_failure_ppm: raw.system_failure_percent.get_u32(),
        rat_not_allowed_ppm: raw.rat_not_allowed_percent.get_u32(),
        periodic_update: minutes(raw.periodic_update_min.get()),
    }
}

fn policy(raw: &RawPolicy) -> Policy {
    Policy {
        fair_use: raw.fair_use_mb.get() * 1_000_000,
        spend_cap_millionths: raw.spend_cap_xdr.get() * 1_000_000,
        barred_ppm: raw.data_barred_percent.get_u32(),
    }
}

fn tariff(raw: &RawTariff) -> Tariff {
    Tariff {
        decimals: raw.decimals.get() as u8,
        call_originated_millionths: raw.call_originated_xdr_per_min.get_u32(),
        call_terminated_millionths: raw.call_terminated_xdr_per_min.get_u32(),
        call_interval_s: raw.call_interval_s.get_u32(),
        sms_originated_millionths: raw.sms_originated_xdr.get_u32(),
        data_millionths: raw.data_xdr_per_mb.get_u32(),
        data_interval_octets: raw.data_interval_kb.get_u32() * 1000,
    }
}

fn fraud(raw: &RawFraud) -> Fraud {
    Fraud {
        pattern: raw.pattern,
        subscribers: raw.subscribers.get_u32(),
        from: hours(raw.from_h.get_u32()),
        lasts: hours(raw.lasts_h.get_u32()),
    }
}
