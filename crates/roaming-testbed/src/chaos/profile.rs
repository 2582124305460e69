//! Profiles for tests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Writes the profile `demo` with another number of subscribers into `folder`, and returns its path.
///
/// # Errors
/// Fails where it cannot be written, or `demo` does not say how many it has.
pub(super) fn demo_with(subscribers: u32, folder: &Path) -> Result<String> {
    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/demo.yaml");
    let demo = fs::read_to_string(DEMO).context("no profile demo")?;
    let key = "\nsubscribers: ";
    let (before, rest) = demo.split_once(key).context("the profile has no subscribers")?;
    let (_, after) = rest.split_once('\n').context("the profile ends with its subscribers")?;
    ensure!(!after.contains(key), "the profile has subscribers twice");
    let path = folder.join("small.yaml");
    fs::write(&path, format!("{before}{key}{subscribers}\n{after}"))?;
    Ok(path.to_string_lossy().into_owned())
}
