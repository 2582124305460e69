//! Who a subscriber is: derived from its number in the run, never stored.
//!
//! All of it is synthetic: the mobile country code is 999, numbers begin with 999, which is no
//! country's code, and type allocation codes come from the test range 00.

use roaming_events::{Imei, Imsi, Msisdn, Subscriber};

use crate::profile::{DeviceClass, HomeNetwork, Profile};

/// First of the numbers that stand for parties outside of the simulation.
const OTHER_PARTIES: u64 = 999_900_000_000_000;
/// First of the numbers of costly services.
const COSTLY_PARTIES: u64 = 999_979_000_000_000;
/// Digits of an IMSI of ours.
const IMSI_DIGITS: u8 = 15;
/// Why synthetic identifiers are valid.
const SYNTHETIC: &str = "MCC 999 and country code 999 are known to the identifiers";

/// Derives the identities of the subscribers of one run.
#[derive(Clone, Debug)]
pub(crate) struct Identities {
    /// By home network: the first IMSI and the first MSISDN.
    homes: Vec<(u64, u64)>,
    /// By device class.
    tacs: Vec<u32>,
    /// Of the first subscribers.
    pinned: Vec<Subscriber>,
}

impl Identities {
    pub(crate) fn new(profile: &Profile) -> Self {
        Self {
            homes: profile.home_networks.iter().map(first_of).collect(),
            tacs: profile.devices.iter().map(|DeviceClass { tac, .. }| *tac).collect(),
            pinned: profile
                .test_sims
                .iter()
                .map(|sim| Subscriber { imsi: sim.imsi, msisdn: sim.msisdn, imei: sim.imei })
                .collect(),
        }
    }

    /// Returns the identity of subscriber `index` with its home network and device class.
    pub(crate) fn subscriber(&self, index: u32, home: u8, device: u8) -> Subscriber {
        if let Some(pinned) = self.pinned.get(index as usize) {
            return *pinned;
        }
        let (imsi, msisdn) = self.homes[usize::from(home)];
        // A TAC has a million serial numbers; a class of more devices goes on in the next TACs.
        let (more_tacs, serial) = (index / 1_000_000, index % 1_000_000);
        Subscriber {
            imsi: Imsi::try_new(imsi + u64::from(index), IMSI_DIGITS).expect(SYNTHETIC),
            msisdn: Msisdn::try_new(msisdn + u64::from(index)).expect(SYNTHETIC),
            imei: Imei::from_parts(self.tacs[usize::from(device)] + more_tacs, serial),
        }
    }
}

/// Returns the IMSI and MSISDN that subscriber 0 of a network has.
fn first_of(home: &HomeNetwork) -> (u64, u64) {
    let (prefix, digits) = home.plmn.prefix();
    // MSINs begin with 5, so that pinned SIMs have the others to themselves.
    let imsi = (prefix * 10 + 5) * 10_u64.pow(u32::from(IMSI_DIGITS - digits - 1));
    let msisdn = (999_000 + u64::from(home.plmn.mnc() % 900)) * 1_000_000_000 + 500_000_000;
    (imsi, msisdn)
}

/// Returns the number of a party outside of the simulation.
pub(crate) fn other_party(number: u32) -> Msisdn {
    Msisdn::try_new(OTHER_PARTIES + u64::from(number)).expect(SYNTHETIC)
}

/// Returns the number of a costly service.
pub(crate) fn costly_party(number: u32) -> Msisdn {
    Msisdn::try_new(COSTLY_PARTIES + u64::from(number)).expect(SYNTHETIC)
}
