//! Where the binaries under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

/// Packages whose binaries are tested.
const PACKAGES: [&str; 3] = ["roaming-producer", "roaming-consumer", "roaming-jobs"];

/// Returns the path of a binary, built from the sources as they are.
///
/// # Errors
/// Fails where the build fails.
pub fn path(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    match folder {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) => bail!("the binaries under test are not there: {error}"),
    }
}

/// Builds in the profile of this very program, beside it: cargo does nothing where all is fresh.
fn build() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no path")?;
    // Tests are in the folder `deps` of it, programs in the folder itself.
    let beside = |path: &Path| path.parent().map(Path::to_path_buf);
    let folder = beside(&program).context("this program has no folder")?;
    let folder = if folder.ends_with("deps") { beside(&folder) } else { Some(folder) };
    let folder = folder.context("this program has no folder of its profile")?;
    let target = beside(&folder).context("the profile has no target folder")?;
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.args(["build", "--locked", "--quiet", "--bins", "--target-dir"]).arg(target);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status = cargo.current_dir(root).status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo build ended with {status}");
    Ok(folder)
}
