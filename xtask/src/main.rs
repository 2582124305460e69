//! The project's own chores: what a compiler cannot check and what is generated from the code.
//!
//! `cargo xtask tidy` guards the arrows between crates, the purity of the pure ones and the house rules
//! on text; `cargo xtask gen` rewrites generated files; `cargo xtask test` runs every test and adds up.

mod finding;
mod generate;
mod source;
mod suite;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Chores of the Roaming Simulation Platform.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the house rules; prints each finding as `file:line: what; what to do`.
    Tidy,
    /// Rewrite the files that are generated from the code.
    Gen,
    /// Run all tests and close with one line `N passed, N failed`.
    Test,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let workspace = Workspace::load()?;
    match arguments.chore {
        Chore::Tidy => tidy::run(&workspace),
        Chore::Gen => generate::run(&workspace),
        Chore::Test => suite::run(&workspace),
    }
}
