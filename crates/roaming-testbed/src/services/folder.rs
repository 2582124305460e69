//! The folder of a service.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;

use super::process::script;

/// A folder that is removed when this is dropped, or the process ends in whatever way.
///
/// Its keeper holds the other end of a pipe, as the servers' do, and removes the folder where that ends:
/// what is kept in a static is never dropped, and who is killed drops nothing.
pub(super) struct Folder {
    path: PathBuf,
    keeper: Child,
}

impl Folder {
    /// Makes a folder whose name begins with `prefix`.
    #[track_caller]
    pub(super) fn create(prefix: &str) -> Self {
        let path = TempDir::with_prefix(prefix).expect("a folder").keep();
        let keeper = script("folder")
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("scripts/services can be run");
        Self { path, keeper }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
