//! What must fit together, beyond each value for itself.

use super::table::{
    KAFKA_CA, KAFKA_CERTIFICATE, KAFKA_KEY, KAFKA_PASSWORD, KAFKA_SECURITY, KAFKA_USERNAME,
};
use super::{ConfigError, Setting, Settings};

/// Returns what does not fit. It looks only at which settings are given: their values may be wrong too, which
/// is told beside.
pub(super) fn check(settings: &Settings) -> Vec<ConfigError> {
    if KAFKA_SECURITY.programs.contains(&settings.program()) {
        kafka_security(settings)
    } else {
        Vec::new()
    }
}

/// Each part of the protection is there where it is asked for, and only there: who gives a password and
/// forgets to ask for its use must not end up without protection.
fn kafka_security(settings: &Settings) -> Vec<ConfigError> {
    let protocol = settings.text(&KAFKA_SECURITY);
    let (tls, sasl) = match protocol {
        "plaintext" => (false, false),
        "ssl" => (true, false),
        "sasl_plaintext" => (false, true),
        "sasl_ssl" => (true, true),
        // It is told already, and nothing can be said of the rest.
        _ => return Vec::new(),
    };
    let given = |setting: &Setting| settings.find(setting).is_some();
    let missing = |setting, because| ConfigError::Missing { setting, because };
    let mut errors = Vec::new();

    let user = [&KAFKA_USERNAME, &KAFKA_PASSWORD];
    let because = format!("{KAFKA_SECURITY} is {protocol}");
    if sasl {
        let absent = user.into_iter().filter(|setting| !given(setting));
        errors.extend(absent.map(|setting| missing(setting, because.clone())));
    } else {
        errors.extend(unused(settings, &user, "sasl_ssl or sasl_plaintext"));
    }

    if !tls {
        let parts = [&KAFKA_CA, &KAFKA_CERTIFICATE, &KAFKA_KEY];
        errors.extend(unused(settings, &parts, "ssl or sasl_ssl"));
    } else if given(&KAFKA_CERTIFICATE) && !given(&KAFKA_KEY) {
        errors.push(missing(&KAFKA_KEY, format!("{KAFKA_CERTIFICATE} is given")));
    } else if given(&KAFKA_KEY) && !given(&KAFKA_CERTIFICATE) {
        errors.push(missing(&KAFKA_CERTIFICATE, format!("{KAFKA_KEY} is given")));
    }
    errors
}

/// Returns an error for each of the settings that is given all the same.
fn unused(settings: &Settings, parts: &[&'static Setting], wanted: &str) -> Vec<ConfigError> {
    let protocol = settings.text(&KAFKA_SECURITY);
    let error = |setting: &&'static Setting| {
        let (_, origin) = settings.find(setting)?;
        let because =
            format!("{KAFKA_SECURITY} is {protocol}; choose {wanted} there, or remove this");
        Some(ConfigError::Unused { setting, origin: origin.clone(), because })
    };
    parts.iter().filter_map(error).collect()
}
