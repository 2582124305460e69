//! The profiles that come with the platform.

use super::{Profile, ProfileError};

/// Name and YAML of each profile that comes with the platform.
pub const BUILTIN: &[(&str, &str)] = &[
    ("demo", include_str!("../../../../profiles/demo.yaml")),
    ("urban", include_str!("../../../../profiles/urban.yaml")),
    ("rural", include_str!("../../../../profiles/rural.yaml")),
    ("cross_border", include_str!("../../../../profiles/cross_border.yaml")),
];

pub(super) fn find(name: &str) -> Result<Profile, ProfileError> {
    let names = || BUILTIN.iter().map(|(name, _)| *name);
    match BUILTIN.iter().find(|(known, _)| *known == name) {
        Some((name, yaml)) => Profile::parse(&format!("{name}.yaml"), yaml),
        None => Err(ProfileError::Unknown {
            name: name.to_owned(),
            known: names().collect::<Vec<_>>().join(", "),
            suggestion: None,
        }
        .suggesting(name, names())),
    }
}
