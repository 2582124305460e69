//! What the engine relies on in a resolved profile.
//!
//! A profile that was parsed holds all of it; this guards against one that was damaged on its way, for
//! example written by hand onto the control topic.

use roaming_events::Money;

use super::Profile;

/// The longest time from the start of a run to its last event, in milliseconds: 32 bits count them.
const SPAN_MAX_MS: u64 = u32::MAX as u64;
const NETWORKS_MAX: usize = 200;

impl Profile {
    /// Returns what the engine would stumble over.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let requirements = [
            (self.duration.ms() > 0, "the duration is 0"),
            (
                (self.duration + self.tail()).ms() < SPAN_MAX_MS,
                "duration and delays are longer than 49 days",
            ),
            (self.subscribers > 0, "there are no subscribers"),
            (self.home_networks.len() <= NETWORKS_MAX, "there are more than 200 home networks"),
            (
                self.visited_networks.len() <= NETWORKS_MAX,
                "there are more than 200 visited networks",
            ),
            (
                self.home_networks.iter().any(|home| home.share_ppm > 0),
                "no home network has a share",
            ),
            (
                self.visited_networks.iter().any(|network| network.share_ppm > 0),
                "no visited network has a share",
            ),
            (self.devices.iter().any(|device| device.share_ppm > 0), "no device has a share"),
            (
                self.visited_networks.iter().all(|net| net.rats.iter().any(|r| r.share_ppm > 0)),
                "a visited network has no technology",
            ),
            (
                self.visited_networks.iter().all(|network| {
                    let link = &network.link;
                    link.latency_min_us.checked_add(link.jitter_us).is_some_and(|least| {
                        least <= link.latency_max_us && link.latency_max_us <= 10_000_000
                    }) && link.loss_min_ppm <= link.loss_max_ppm
                }),
                "the latency or loss of a network is out of order",
            ),
            (self.traffic.diurnal_permille.len() == 24, "the curve of the day has not 24 hours"),
            (
                self.traffic.diurnal_permille.iter().all(|hour| *hour > 0),
                "an hour of the day has no activity",
            ),
            (self.tariff.decimals <= Money::DECIMALS_MAX, "charges have more than 6 decimals"),
            (
                self.tariff.call_interval_s > 0 && self.tariff.data_interval_octets > 0,
                "a charging interval is 0",
            ),
            (
                self.home_networks
                    .iter()
                    .flat_map(|home| &home.preferred)
                    .chain(self.conditions.iter().map(|condition| &condition.network))
                    .all(|index| usize::from(*index) < self.visited_networks.len()),
                "a reference to a visited network leads nowhere",
            ),
            (self.fraud.len() < 200, "there are more than 200 patterns of fraud"),
        ];
        requirements.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
    }
}
