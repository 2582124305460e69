//! How a client and the broker make sure of each other.

use std::path::{Path, PathBuf};

use rdkafka::config::ClientConfig;

use crate::Secret;
use crate::config::Settings;
use crate::config::table::{
    KAFKA_CA, KAFKA_CERTIFICATE, KAFKA_KEY, KAFKA_PASSWORD, KAFKA_SASL_MECHANISM, KAFKA_SECURITY,
    KAFKA_USERNAME,
};

/// What protects the connections to the broker; the default is nothing, for a broker on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Encryption, and the proof that the broker is the right one.
    pub tls: Option<Tls>,
    /// The proof that this client is the right one, where it is no certificate.
    pub scram: Option<Scram>,
}

/// Whom to believe, and what to show, on an encrypted connection.
///
/// The broker's name is always checked against its certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that may have signed the broker's certificate; the system's otherwise.
    pub ca: Option<PathBuf>,
    /// The certificate that this client shows.
    pub identity: Option<Identity>,
}

/// A client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PEM file of the certificate, and of those between it and the authority.
    pub certificate: PathBuf,
    /// PEM file of its key, without a password.
    pub key: PathBuf,
}

/// A user's name and password, which SCRAM proves without sending it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scram {
    /// The hash function that the broker stores the password with.
    pub mechanism: ScramMechanism,
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

/// The hash function of a SCRAM exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramMechanism {
    /// For brokers that have the users' passwords in this form only.
    Sha256,
    /// The stronger one, and the usual choice.
    Sha512,
}

impl Security {
    /// Makes the protection that the settings ask for; they have been checked to fit together.
    pub fn of(settings: &Settings) -> Self {
        let protocol = settings.text(&KAFKA_SECURITY);
        Self {
            tls: protocol.ends_with("ssl").then(|| Tls::of(settings)),
            scram: protocol.starts_with("sasl_").then(|| Scram::of(settings)),
        }
    }

    /// Adds what the client library needs.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.scram) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            tls.apply(config);
        }
        if let Some(scram) = &self.scram {
            scram.apply(config);
        }
    }
}

impl Tls {
    fn of(settings: &Settings) -> Self {
        let pair = settings.path(&KAFKA_CERTIFICATE).zip(settings.path(&KAFKA_KEY));
        Self {
            ca: settings.path(&KAFKA_CA),
            identity: pair.map(|(certificate, key)| Identity { certificate, key }),
        }
    }

    fn apply(&self, config: &mut ClientConfig) {
        // The library's default, said here because everything else rests on it.
        config.set("ssl.endpoint.identification.algorithm", "https");
        if let Some(ca) = &self.ca {
            config.set("ssl.ca.location", text(ca));
        }
        if let Some(identity) = &self.identity {
            config.set("ssl.certificate.location", text(&identity.certificate));
            config.set("ssl.key.location", text(&identity.key));
        }
    }
}

impl Scram {
    fn of(settings: &Settings) -> Self {
        Self {
            mechanism: match settings.text(&KAFKA_SASL_MECHANISM) {
                "scram-sha-256" => ScramMechanism::Sha256,
                _ => ScramMechanism::Sha512,
            },
            username: settings.text(&KAFKA_USERNAME).to_owned(),
            password: Secret::new(settings.text(&KAFKA_PASSWORD)),
        }
    }

    fn apply(&self, config: &mut ClientConfig) {
        let mechanism = match self.mechanism {
            ScramMechanism::Sha256 => "SCRAM-SHA-256",
            ScramMechanism::Sha512 => "SCRAM-SHA-512",
        };
        config
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", &self.username)
            .set("sasl.password", self.password.reveal());
    }
}

/// The library takes paths as text only.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(security: &Security, expected: &[(&str, &str)]) {
        let mut config = ClientConfig::new();
        security.apply(&mut config);
        for (key, value) in expected {
            assert_eq!(config.get(key), Some(*value), "{key}");
        }
        assert_eq!(config.config_map().len(), expected.len(), "{:?}", config.config_map());
    }

    fn tls() -> Tls {
        let identity = Identity { certificate: "client.pem".into(), key: "client.key".into() };
        Tls { ca: Some("ca.pem".into()), identity: Some(identity) }
    }

    fn scram(mechanism: ScramMechanism) -> Scram {
        Scram { mechanism, username: "producer".to_owned(), password: Secret::new("hunter2") }
    }

    const TLS: [(&str, &str); 4] = [
        ("ssl.endpoint.identification.algorithm", "https"),
        ("ssl.ca.location", "ca.pem"),
        ("ssl.certificate.location", "client.pem"),
        ("ssl.key.location", "client.key"),
    ];

    #[test]
    fn each_protection_is_told_to_the_library() {
        check(&Security::default(), &[("security.protocol", "plaintext")]);
        check(
            &Security { tls: Some(tls()), scram: None },
            &[&[("security.protocol", "ssl")], &TLS[..]].concat(),
        );
        let user = [("sasl.username", "producer"), ("sasl.password", "hunter2")];
        check(
            &Security { tls: None, scram: Some(scram(ScramMechanism::Sha256)) },
            &[
                &[("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "SCRAM-SHA-256")],
                &user[..],
            ]
            .concat(),
        );
        check(
            &Security { tls: Some(tls()), scram: Some(scram(ScramMechanism::Sha512)) },
            &[
                &[("security.protocol", "sasl_ssl"), ("sasl.mechanism", "SCRAM-SHA-512")],
                &TLS[..],
                &user[..],
            ]
            .concat(),
        );
    }

    #[test]
    fn no_debug_output_shows_the_password() {
        let security = Security { tls: None, scram: Some(scram(ScramMechanism::Sha512)) };
        assert!(!format!("{security:?}").contains("hunter2"));
    }
}
