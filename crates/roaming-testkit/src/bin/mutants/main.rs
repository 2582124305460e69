//! Breaks the platform on purpose, one way at a time, and shows which simulation notices it.
//!
//! A mutant is a replacement in a source. The crates are copied to `target/mutants`, the replacement is made
//! there, and the simulation runs on the copy: it must fail on a mutant, and pass without one. A
//! replacement whose text does not occur exactly once is an error, so that the table follows the source.
//! An argument picks the mutants whose names contain it.

mod table;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use table::{ENGINE, MUTANTS, Mutant, SAMPLE, Seeds};

/// What the simulation needs of the workspace.
const FOLDERS: [&str; 10] = [
    "profiles",
    "crates/roaming-events/src",
    "crates/roaming-sim/src",
    "crates/roaming-analytics/src",
    "crates/roaming-store/src",
    "crates/roaming-store/migrations",
    "crates/roaming-service/src",
    "crates/roaming-consumer/src",
    "crates/roaming-producer/src",
    "crates/roaming-testkit/src",
];

/// The simulation's program on the copies.
const PROGRAM: &str = "simulate_mutant";

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            eprintln!("{survivors} mutants survive");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tries every mutant and returns how many survive.
fn run() -> Result<usize, Box<dyn Error>> {
    let copy = Copy::make()?;
    for seeds in [SAMPLE, ENGINE] {
        let healthy = copy.simulate(seeds)?;
        if !healthy.status.success() {
            let text = text(&healthy);
            return Err(format!("the simulation fails without a mutant:\n{text}").into());
        }
    }
    println!("{:<47} {:<12} {:>5}  message", "mutant", "caught by", "seed");
    let mut survivors = 0;
    let only = std::env::args().nth(1).unwrap_or_default();
    for mutant in MUTANTS.iter().filter(|mutant| mutant.name.contains(&only)) {
        let original = copy.mutate(mutant)?;
        let output = copy.simulate(mutant.seeds())?;
        fs::write(copy.file(mutant), original)?;
        match verdict(&output) {
            Ok(Catch { by, seed, message }) => {
                println!("{:<47} {by:<12} {seed:>5}  {message}", mutant.name);
            }
            Err(why) => {
                survivors += 1;
                println!("{:<47} NOT CAUGHT: {why}", mutant.name);
            }
        }
    }
    Ok(survivors)
}

/// A workspace of copies.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make() -> Result<Self, Box<dyn Error>> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        // The same target folder as the caller's, so that what comes from the registry is built once.
        let executable = std::env::current_exe()?;
        let target = executable
            .ancestors()
            .find(|folder| folder.join("CACHEDIR.TAG").exists())
            .ok_or("the program does not run from a target folder of cargo")?
            .to_path_buf();
        let root = target.join("mutants");
        fs::remove_dir_all(&root).or_else(|error| {
            if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
        })?;
        for folder in FOLDERS {
            copy_folder(&workspace.join(folder), &root.join(folder))?;
            let Some(package) = folder.strip_suffix("/src") else { continue };
            let manifest = fs::read_to_string(workspace.join(package).join("Cargo.toml"))?;
            // Tests of the crates themselves are not run, and some need crates that are not copied.
            let runtime = manifest.split("[dev-dependencies]").next().unwrap_or_default();
            fs::write(root.join(package).join("Cargo.toml"), runtime)?;
        }
        // The program has a name of its own, so that it does not stand where the real one is looked for.
        let programs = root.join("crates/roaming-testkit/src/bin");
        fs::rename(programs.join("simulate.rs"), programs.join(format!("{PROGRAM}.rs")))?;
        fs::remove_dir_all(programs.join("mutants"))?;
        let manifest = fs::read_to_string(workspace.join("Cargo.toml"))?;
        let manifest = replace_once(&manifest, ", \"xtask\"]", "]")?;
        // Cargo tells the copies from the real crates in the shared target folder by their version.
        let manifest = replace_once(&manifest, "\nversion = \"", "\nversion = \"0.0.0-mutant.")?;
        fs::write(root.join("Cargo.toml"), manifest)?;
        for name in ["Cargo.lock", "rust-toolchain.toml"] {
            fs::copy(workspace.join(name), root.join(name))?;
        }
        Ok(Self { root, target })
    }

    fn file(&self, mutant: &Mutant) -> PathBuf {
        self.root.join("crates").join(mutant.file)
    }

    /// Makes the replacement and returns the file as it was.
    fn mutate(&self, mutant: &Mutant) -> Result<String, Box<dyn Error>> {
        let original = fs::read_to_string(self.file(mutant))?;
        let mutated = replace_once(&original, mutant.text, mutant.replacement)
            .map_err(|error| format!("{} in {}: {error}", mutant.name, mutant.file))?;
        fs::write(self.file(mutant), mutated)?;
        Ok(original)
    }

    /// Builds the copy and runs a simulation on it.
    fn simulate(&self, seeds: Seeds) -> Result<Output, Box<dyn Error>> {
        let cargo = |command: &str, arguments: &[&str]| {
            Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .args([command, "--offline", "--quiet", "-p", "roaming-testkit", "--bin", PROGRAM])
                .args(arguments)
                .env("CARGO_TARGET_DIR", &self.target)
                // The copies are built once for each mutant, and run for some seconds at most.
                .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
                .env("CARGO_PROFILE_DEV_DEBUG", "none")
                .current_dir(&self.root)
                .output()
        };
        let build = cargo("build", &[])?;
        if !build.status.success() {
            return Err(format!("the copy does not compile:\n{}", text(&build)).into());
        }
        Ok(cargo("run", &[&["--", "0"], &seeds[..]].concat())?)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn replace_once(text: &str, old: &str, new: &str) -> Result<String, Box<dyn Error>> {
    match text.matches(old).count() {
        1 => Ok(text.replacen(old, new, 1)),
        count => Err(format!("`{old}` occurs {count} times, expected once").into()),
    }
}

/// What caught a mutant.
struct Catch {
    by: String,
    seed: String,
    message: String,
}

fn verdict(output: &Output) -> Result<Catch, String> {
    if output.status.success() {
        return Err("all seeds pass".to_owned());
    }
    let text = text(output);
    let seed = text
        .lines()
        .filter_map(|line| line.strip_prefix("seed "))
        .filter_map(|rest| rest.split([' ', ':']).next())
        .next_back()
        .ok_or_else(|| format!("no seed in:\n{text}"))?;
    let finding = text
        .lines()
        .find(|line| line.contains("INV-") || line.starts_with("seed "))
        .unwrap_or_default();
    let by = match finding.find("INV-") {
        Some(at) => finding[at..].split(' ').next().unwrap_or_default(),
        None if finding.contains("balance") => "balance",
        None if finding.contains("dead letters") => "dead letters",
        None if finding.contains("nothing more gets done") => "liveness",
        None if finding.contains("the group was told") => "offsets",
        None if finding.contains("a consumer ended") => "end",
        None if finding.contains("a producer ") => "producer",
        None if finding.contains("panicked") => "panic",
        None => "other",
    };
    let message = finding.split_once("at tick ").and_then(|(_, rest)| rest.split_once(": "));
    // Of an invariant, its name; its statement and what breaks it are in the simulation's own output.
    let message = message.map_or(finding, |(_, message)| message);
    let message = message.split(" (").next().unwrap_or_default().to_owned();
    Ok(Catch { by: by.to_owned(), seed: seed.to_owned(), message })
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
