//! The workspace as the checks see it: plain values, read once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Everything that a check may look at.
pub(crate) struct Workspace {
    /// Root folder.
    pub(crate) root: PathBuf,
    /// The workspace's own packages, by name.
    pub(crate) packages: BTreeMap<String, Package>,
    /// Files that git tracks or would track, by path from the root.
    pub(crate) files: Vec<File>,
}

/// A package of the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    /// Folder, from the root.
    pub(crate) folder: String,
    /// Names of direct dependencies that end up in the product: normal and build ones.
    pub(crate) dependencies: Vec<String>,
}

/// A file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Path from the root, with forward slashes.
    pub(crate) path: String,
    /// Size in octets.
    pub(crate) octets: u64,
    /// Its text; `None` where it is not UTF-8.
    pub(crate) text: Option<String>,
}

impl Workspace {
    /// Reads metadata from cargo and the list of files from git.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let packages = metadata
            .packages
            .iter()
            .map(|package| {
                let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
                let folder = folder.strip_prefix(&metadata.workspace_root).unwrap_or(folder);
                let mut dependencies: Vec<String> = package
                    .dependencies
                    .iter()
                    .filter(|dependency| dependency.kind != DependencyKind::Development)
                    .map(|dependency| dependency.name.clone())
                    .collect();
                dependencies.sort();
                dependencies.dedup();
                let facts = Package { folder: folder.to_string(), dependencies };
                (package.name.to_string(), facts)
            })
            .collect();
        let files = files(&root)?;
        Ok(Self { root, packages, files })
    }

    /// Whether a path from the root is a file of the repository, or a folder with one in it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let within = |file: &File| {
            file.path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path.is_empty() || self.files.iter().any(within)
    }

    /// Returns the text of a file of the repository.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        let file = self.files.iter().find(|file| file.path == path)?;
        file.text.as_deref()
    }
}

/// Lists the files that git tracks, and the new ones that it would, so that a finding shows before the
/// commit and not after it.
fn files(root: &Path) -> anyhow::Result<Vec<File>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git is needed to list the repository's files")?;
    ensure!(
        output.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let listing = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for path in listing.split_terminator('\0') {
        // A file that is deleted but not committed yet is still listed.
        let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
        let octets = bytes.len() as u64;
        files.push(File { path: path.to_owned(), octets, text: String::from_utf8(bytes).ok() });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}
