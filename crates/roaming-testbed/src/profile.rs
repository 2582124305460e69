//! The profile `demo` in other sizes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

const DEMO: &str = include_str!("../../../profiles/demo.yaml");

/// Writes the profile `demo` with other values of some of its keys into `folder`, and returns its path.
///
/// # Errors
/// Fails where it cannot be written, and where `demo` has no line for a key, or several.
pub fn demo_with(values: &[(&str, u32)], folder: &Path, name: &str) -> Result<String> {
    let mut profile = DEMO.to_owned();
    for (key, value) in values {
        let start = format!("\n{key}: ");
        let (before, rest) =
            profile.split_once(&start).with_context(|| format!("the profile has no {key}"))?;
        let (_, after) =
            rest.split_once('\n').with_context(|| format!("the profile ends with {key}"))?;
        ensure!(!after.contains(&start), "the profile has {key} twice");
        profile = format!("{before}{start}{value}\n{after}");
    }
    let path = folder.join(name).with_extension("yaml");
    fs::write(&path, profile)?;
    Ok(path.to_string_lossy().into_owned())
}
