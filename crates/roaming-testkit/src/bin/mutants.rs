//! Breaks the platform on purpose, one way at a time, and shows which simulation notices it.
//!
//! A mutant is a replacement in the source of a pure crate. The crates are copied to `target/mutants`, the
//! replacement is made there, and the simulation runs on the copy: it must fail on a mutant, and pass
//! without one. A replacement whose text does not occur exactly once is an error, so that the table
//! below follows the source.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// What the simulation needs of the workspace.
const FOLDERS: [&str; 9] = [
    "profiles",
    "crates/roaming-events/src",
    "crates/roaming-sim/src",
    "crates/roaming-analytics/src",
    "crates/roaming-store/src",
    "crates/roaming-store/migrations",
    "crates/roaming-service/src",
    "crates/roaming-consumer/src",
    "crates/roaming-testkit/src",
];

/// Number of seeds that each mutant gets to survive.
const SEEDS: &str = "2000";

/// The simulation's program on the copies.
const PROGRAM: &str = "simulate_mutant";

struct Mutant {
    name: &'static str,
    file: &'static str,
    /// A text that occurs once in the file.
    text: &'static str,
    replacement: &'static str,
}

const MUTANTS: [Mutant; 36] = [
    Mutant {
        name: "offset stored before rows",
        file: "roaming-analytics/src/partition.rs",
        text: "let (new_rows, changed_rows) = self.rows.checkpoint();",
        replacement: "let (new_rows, changed_rows) = match self.position_stored.next_offset {
            None => (Vec::new(), Vec::new()),
            Some(_) => self.rows.checkpoint(),
        };",
    },
    Mutant {
        name: "stored row taken for a new one",
        file: "roaming-analytics/src/window.rs",
        text: "let is_new = row.stored_events == 0;",
        replacement: "let is_new = row.stored_events < 2;",
    },
    Mutant {
        name: "no epoch check",
        file: "roaming-testkit/src/store.rs",
        text: "if stored.epoch != epoch {",
        replacement: "if stored.epoch < epoch {",
    },
    Mutant {
        name: "high-water mark off by one",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.next = sequence.next();\n                self.reach(time);",
        replacement: "self.row.next = sequence;\n                self.reach(time);",
    },
    Mutant {
        name: "deduplication lost on rebalance",
        file: "roaming-analytics/src/partition.rs",
        text: "unclaimed.remove(&view.run).unwrap_or_default()",
        replacement: "Vec::new()",
    },
    Mutant {
        name: "marker ignored",
        file: "roaming-analytics/src/lane.rs",
        text: "if marker.next == self.row.next {",
        replacement: "if marker.next < Sequence::ZERO {",
    },
    Mutant {
        name: "reorder dropped as duplicate",
        file: "roaming-analytics/src/lane.rs",
        text: "match gaps::find(&row.gaps, sequence) {",
        replacement: "match gaps::find(&[], sequence) {",
    },
    Mutant {
        name: "marker believed anywhere",
        file: "roaming-analytics/src/lane.rs",
        text: "if marker.next == self.row.next {",
        replacement: "if marker.next >= Sequence::ZERO {",
    },
    Mutant {
        name: "time passes a gap",
        file: "roaming-analytics/src/lane.rs",
        text: "if self.row.gaps.is_empty() {",
        replacement: "if self.row.gaps.len() < usize::MAX {",
    },
    Mutant {
        name: "gap filled whole by one event",
        file: "roaming-analytics/src/gaps.rs",
        text: "gaps.splice(index..=index, left.into_iter().chain(right));",
        replacement: "gaps.splice(index..=index, left.into_iter().chain(right).take(0));",
    },
    Mutant {
        name: "late row not reloaded",
        file: "roaming-analytics/src/window.rs",
        text: "key.window_start <= *newest",
        replacement: "key.window_start < *newest",
    },
    Mutant {
        name: "rows observed during a commit taken for stored",
        file: "roaming-analytics/src/window.rs",
        text: "row.stored_events = events;",
        replacement: "row.stored_events = row.totals.events.max(events);",
    },
    Mutant {
        name: "broken record takes any number",
        file: "roaming-analytics/src/lane.rs",
        text: "let takes = self.place(sequence, gaps_max) == Place::Next;",
        replacement: "let takes = self.place(sequence, gaps_max) != Place::Duplicate;",
    },
    Mutant {
        name: "offset read twice is counted twice",
        file: "roaming-analytics/src/partition.rs",
        text: "self.position.next_offset.is_some_and(|next| offset < next)",
        replacement: "self.position.next_offset.is_some_and(|next| offset > next + 1_000_000)",
    },
    Mutant {
        name: "end forgotten",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.end = Some(count);",
        replacement: "self.row.end = Some(count).filter(|count| *count < Sequence::ZERO);",
    },
    Mutant {
        name: "gaps out of order",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.gaps.push((self.row.next, sequence));",
        replacement: "self.row.gaps.insert(0, (self.row.next, sequence));",
    },
    Mutant {
        name: "end one too far",
        file: "roaming-analytics/src/lane.rs",
        text: "self.row.end = Some(count);",
        replacement: "self.row.end = Some(count.next());",
    },
    Mutant {
        name: "reloaded row merged in part",
        file: "roaming-analytics/src/window.rs",
        text: "row.totals.merge(base);",
        replacement: "row.totals.events += base.events;",
    },
    Mutant {
        name: "offset goes back",
        file: "roaming-analytics/src/partition.rs",
        text: "let next_offset = self.position.next_offset?;",
        replacement: "let next_offset = self.position.next_offset? % 50;",
    },
    Mutant {
        name: "watermark lost on restart",
        file: "roaming-analytics/src/run.rs",
        text: "        run.advance();\n        run.watermark_stored",
        replacement: "        run.watermark_stored",
    },
    Mutant {
        name: "watermark follows the fastest lane",
        file: "roaming-analytics/src/run.rs",
        text: "filter(|lane| lane.holds_back()).map(time).min();",
        replacement: "filter(|lane| lane.holds_back()).map(time).max();",
    },
    Mutant {
        name: "finished lane holds the watermark back",
        file: "roaming-analytics/src/lane.rs",
        text: "!self.row.failed && !self.row.is_finished()",
        replacement: "!self.row.failed",
    },
    Mutant {
        name: "rejected record not offered as dead letter",
        file: "roaming-analytics/src/partition.rs",
        text: "            Observation::Rejected(RejectReason::UnreadablePayload)",
        replacement: "            Observation::Counted",
    },
    Mutant {
        name: "progress ahead of acknowledgement",
        file: "roaming-testkit/src/sample.rs",
        text: "let progress = self.acknowledged;",
        replacement: "let progress = self.next;",
    },
    Mutant {
        name: "stored offset told once only",
        file: "roaming-consumer/src/intake.rs",
        text: "if is_due(self.state.all_offsets_told, OFFSETS_REPEAT) {",
        replacement: "if self.state.all_offsets_told.is_none() {",
    },
    Mutant {
        name: "offset told before it is stored",
        file: "roaming-consumer/src/intake.rs",
        text: "task.stored_offset.filter(|_| is_counted).map(|offset| (task.number, offset))",
        replacement: "task.stored_offset.filter(|_| is_counted).map(|offset| (task.number, offset + 1))",
    },
    Mutant {
        name: "fenced owner goes on",
        file: "roaming-consumer/src/intake.rs",
        text: "if error.disposition() == Disposition::Fence {",
        replacement: "if error.disposition() == Disposition::Fatal {",
    },
    Mutant {
        name: "dead letters of a failed checkpoint forgotten",
        file: "roaming-consumer/src/intake.rs",
        text: "counting.letters = letters_left;",
        replacement: "counting.letters.clear();",
    },
    Mutant {
        name: "partition resumed one record too late",
        file: "roaming-consumer/src/intake.rs",
        text: "self.group.resume(task.number, counting.next_offset())?",
        replacement: "self.group.resume(task.number, counting.next_offset() + 1)?",
    },
    Mutant {
        name: "refused offset not minded",
        file: "roaming-consumer/src/intake.rs",
        text: "self.is_refused = true;",
        replacement: "self.is_refused = false;",
    },
    Mutant {
        name: "one lost record not told",
        file: "roaming-consumer/src/intake.rs",
        text: "Some(next_offset) if next_offset < low => {",
        replacement: "Some(next_offset) if next_offset + 1 < low => {",
    },
    Mutant {
        name: "topic made anew not told",
        file: "roaming-consumer/src/intake.rs",
        text: "Some(next_offset) if next_offset > high => {",
        replacement: "Some(next_offset) if next_offset > high + 1_000_000 => {",
    },
    Mutant {
        name: "partitions not given up",
        file: "roaming-consumer/src/intake.rs",
        text: "if is_revoked {",
        replacement: "if !is_revoked {",
    },
    Mutant {
        name: "run unknown for good at first sight",
        file: "roaming-consumer/src/partition_task.rs",
        text: "} else if arrival.offset < self.runs_known_before {",
        replacement: "} else if arrival.offset < u64::MAX {",
    },
    Mutant {
        name: "records counted behind one that waits",
        file: "roaming-consumer/src/partition_task.rs",
        text: "if self.hold.is_some() {",
        replacement: "if self.hold == Some(Hold::Starting) {",
    },
    Mutant {
        name: "checkpoint without its dead letters",
        file: "roaming-consumer/src/partition_task.rs",
        text: "letters: mem::take(&mut self.letters),",
        replacement: "letters: mem::take(&mut self.letters).into_iter().skip(1).collect(),",
    },
];

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
    let healthy = copy.simulate()?;
    if !healthy.status.success() {
        return Err(format!("the simulation fails without a mutant:\n{}", text(&healthy)).into());
    }
    println!("{:<47} {:<12} {:>5}  message", "mutant", "caught by", "seed");
    let mut survivors = 0;
    for mutant in &MUTANTS {
        let original = copy.mutate(mutant)?;
        let output = copy.simulate()?;
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
        fs::remove_file(programs.join("mutants.rs"))?;
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

    /// Builds the copy and runs the simulation on it.
    fn simulate(&self) -> Result<Output, Box<dyn Error>> {
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
        Ok(cargo("run", &["--", "0", SEEDS])?)
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
        return Err(format!("all {SEEDS} seeds pass"));
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
