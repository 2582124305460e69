//! How a client and the broker make sure of each other.

use std::path::{Path, PathBuf};

use rdkafka::config::ClientConfig;

use crate::secret::Secret;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ScramMechanism {
    /// For brokers that have the users' passwords in this form only.
    #[value(name = "scram-sha-256")]
    Sha256,
    /// The stronger one, and the usual choice.
    #[default]
    #[value(name = "scram-sha-512")]
    Sha512,
}

impl Security {
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

/// The kind of protection, as it is named in a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Protocol {
    /// None: for a broker on this machine.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// A user and a password, without encryption.
    SaslPlaintext,
    /// Both.
    SaslSsl,
}

/// Command line arguments for the protection of the connections to the broker.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SecurityArgs {
    /// Protection of the connections to the broker
    #[arg(
        long = "kafka-security",
        env = "ROAMING_KAFKA_SECURITY",
        default_value = "plaintext",
        global = true
    )]
    protocol: Protocol,
    /// PEM file of the authorities that sign brokers' certificates [default: the system's]
    #[arg(long = "kafka-ca", env = "ROAMING_KAFKA_CA", global = true)]
    ca: Option<PathBuf>,
    /// PEM file of this client's certificate
    #[arg(long = "kafka-certificate", env = "ROAMING_KAFKA_CERTIFICATE", global = true)]
    certificate: Option<PathBuf>,
    /// PEM file of the certificate's key
    #[arg(long = "kafka-key", env = "ROAMING_KAFKA_KEY", global = true)]
    key: Option<PathBuf>,
    /// SASL mechanism
    #[arg(
        long = "kafka-sasl-mechanism",
        env = "ROAMING_KAFKA_SASL_MECHANISM",
        default_value = "scram-sha-512",
        global = true
    )]
    mechanism: ScramMechanism,
    /// SASL user
    #[arg(long = "kafka-username", env = "ROAMING_KAFKA_USERNAME", global = true)]
    username: Option<String>,
    /// File with the user's password
    #[arg(long = "kafka-password-file", env = "ROAMING_KAFKA_PASSWORD_FILE", global = true)]
    password_file: Option<PathBuf>,
    /// The user's password
    #[arg(
        long = "kafka-password",
        env = "ROAMING_KAFKA_PASSWORD",
        hide_env_values = true,
        global = true
    )]
    password: Option<Secret>,
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl SecurityArgs {
    /// Returns the protection asked for.
    ///
    /// # Errors
    /// Fails where parts of it are missing, or are given but would not be used.
    pub fn security(&self) -> Result<Security, SecurityError> {
        let (tls, scram) = match self.protocol {
            Protocol::Plaintext => (false, false),
            Protocol::Ssl => (true, false),
            Protocol::SaslPlaintext => (false, true),
            Protocol::SaslSsl => (true, true),
        };
        Ok(Security {
            tls: if tls { Some(self.tls()?) } else { None },
            scram: if scram { Some(self.scram()?) } else { None },
        })
    }

    fn tls(&self) -> Result<Tls, SecurityError> {
        for path in [&self.ca, &self.certificate, &self.key].into_iter().flatten() {
            std::fs::File::open(path)
                .map_err(|source| SecurityError::File { path: path.clone(), source })?;
        }
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificate: certificate.clone(), key: key.clone() })
            }
            (None, None) => None,
            (Some(_), None) => return Err(SecurityError::Missing { setting: "ROAMING_KAFKA_KEY" }),
            (None, Some(_)) => {
                return Err(SecurityError::Missing { setting: "ROAMING_KAFKA_CERTIFICATE" });
            }
        };
        Ok(Tls { ca: self.ca.clone(), identity })
    }

    fn scram(&self) -> Result<Scram, SecurityError> {
        let password = match (&self.password, &self.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| SecurityError::File { path: path.clone(), source })?;
                Secret::new(text.trim_end_matches(['\r', '\n']))
            }
            (None, None) => {
                return Err(SecurityError::Missing { setting: "ROAMING_KAFKA_PASSWORD" });
            }
        };
        let username = self.username.clone();
        Ok(Scram {
            mechanism: self.mechanism,
            username: username
                .ok_or(SecurityError::Missing { setting: "ROAMING_KAFKA_USERNAME" })?,
            password,
        })
    }
}

/// Why connections cannot be protected as asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// Something else is needed too.
    #[error("{setting} is missing; set it, or choose another ROAMING_KAFKA_SECURITY")]
    Missing {
        /// What is missing.
        setting: &'static str,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read; name a PEM file that exists and may be read")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
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
