//! The house rules that a machine can check and a compiler does not.
//!
//! Each rule is a pure function from the workspace's values to findings, so that its test plants a
//! violation and sees it found. Sizes of functions and taste are for readers, not for tidy.

mod arrows;
mod fresh;
mod links;
mod logs;
mod manifests;
mod metrics;
mod purity;
mod text;

use std::process::ExitCode;

use crate::finding::Finding;
use crate::generate;
use crate::workspace::Workspace;

/// Runs every rule, prints what they find and fails where that is anything.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let manifest = |folder: &str| workspace.text(&format!("{folder}/Cargo.toml")).unwrap_or("");
    let mut findings = Vec::new();
    for (name, package) in &workspace.packages {
        let manifest = manifest(&package.folder);
        findings.extend(arrows::check(name, package, manifest));
        findings.extend(manifests::check(&package.folder, manifest));
        if purity::is_pure(name) {
            findings.extend(purity::check_dependencies(name, package, manifest));
            let own = workspace.text(&format!("{}/clippy.toml", package.folder));
            let root = workspace.text("clippy.toml").unwrap_or("");
            findings.extend(purity::check_clippy(&package.folder, own, root));
        }
    }
    findings.extend(arrows::check_table(workspace.packages.keys().map(String::as_str)));
    let exists = |path: &str| workspace.holds(path);
    for file in &workspace.files {
        findings.extend(text::check_size(&file.path, file.octets));
        let Some(text) = file.text.as_deref() else { continue };
        findings.extend(text::check(&file.path, text));
        findings.extend(logs::check(&file.path, text));
        findings.extend(metrics::check(&file.path, text));
        findings.extend(purity::check_source(&file.path, text));
        findings.extend(links::check(&file.path, text, exists));
    }
    for generated in generate::all(workspace)? {
        findings.extend(fresh::check(&generated, workspace.text(generated.path)));
    }
    Ok(report(findings, workspace))
}

fn report(mut findings: Vec<Finding>, workspace: &Workspace) -> ExitCode {
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    let (packages, files) = (workspace.packages.len(), workspace.files.len());
    if findings.is_empty() {
        println!("tidy: {packages} packages and {files} files looked at, nothing found");
        ExitCode::SUCCESS
    } else {
        println!(
            "tidy: {} found in {packages} packages and {files} files; each line says what to do",
            findings.len()
        );
        ExitCode::FAILURE
    }
}
