//! What a usage costs the home network: the tariff, in integers.

use roaming_events::{Money, Service};

use crate::profile::Tariff;

/// The result of rating one usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rated {
    /// Units after rounding up to the charging interval.
    pub(crate) charged_units: u64,
    /// The charge, as an integer with the tariff's decimal places.
    pub(crate) charge: u64,
}

impl Tariff {
    /// Rates `units` (seconds, messages or octets) of a service.
    ///
    /// Units are rounded up to the charging interval, the amount half up to the tariff's decimal
    /// places: both once, for the whole usage.
    pub(crate) fn rate(&self, service: Service, units: u64) -> Rated {
        let (interval, price, per) = match service {
            Service::VoiceOriginated => (self.call_interval_s, self.call_originated_millionths, 60),
            Service::VoiceTerminated => (self.call_interval_s, self.call_terminated_millionths, 60),
            Service::SmsOriginated => (1, self.sms_originated_millionths, 1),
            Service::SmsTerminated => (1, 0, 1),
            Service::Data => (self.data_interval_octets, self.data_millionths, 1_000_000),
        };
        let charged_units = units.next_multiple_of(u64::from(interval));
        let per = per * 10_u64.pow(u32::from(Money::DECIMALS_MAX - self.decimals));
        let charge = match charged_units.checked_mul(u64::from(price)) {
            Some(product) if product <= u64::MAX / 2 => (product + per / 2) / per,
            _ => {
                let product = u128::from(charged_units) * u128::from(price);
                ((product + u128::from(per / 2)) / u128::from(per)) as u64
            }
        };
        Rated { charged_units, charge }
    }

    /// Returns a charge as an amount of money.
    pub(crate) fn money(&self, charge: u64) -> Money {
        i64::try_from(charge)
            .ok()
            .and_then(|units| Money::try_new(units, self.decimals).ok())
            .expect("2^40 octets at the highest price are below 2^63 millionths")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARIFF: Tariff = Tariff {
        decimals: 5,
        call_originated_millionths: 22_000,
        call_terminated_millionths: 0,
        call_interval_s: 60,
        sms_originated_millionths: 4_000,
        data_millionths: 1_550,
        data_interval_octets: 10_000,
    };

    #[track_caller]
    fn check(service: Service, units: u64, charged_units: u64, charge: u64) {
        assert_eq!(TARIFF.rate(service, units), Rated { charged_units, charge });
    }

    #[test]
    fn units_round_up_to_the_interval() {
        check(Service::VoiceOriginated, 61, 120, 4_400);
        check(Service::VoiceOriginated, 60, 60, 2_200);
        check(Service::SmsOriginated, 1, 1, 400);
        check(Service::SmsTerminated, 1, 1, 0);
    }

    #[test]
    fn amounts_round_half_up() {
        // 10,000 octets cost 1.55 hundred-thousandths, 20,000 cost 3.1, 100,000 cost 15.5.
        check(Service::Data, 1, 10_000, 2);
        check(Service::Data, 20_000, 20_000, 3);
        check(Service::Data, 100_000, 100_000, 16);
    }

    #[test]
    fn the_largest_usage_does_not_overflow() {
        let dear = Tariff { decimals: 6, data_millionths: 1_000_000_000, ..TARIFF };
        let rated = dear.rate(Service::Data, (1 << 40) - 1);
        assert_eq!(dear.money(rated.charge).units(), 1_099_511_630_000_000);
    }
}
