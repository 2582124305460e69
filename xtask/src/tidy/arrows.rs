//! The arrows between crates point one way.

use crate::finding::Finding;
use crate::source::numbered;
use crate::workspace::Package;

/// Who may depend on whom in the product; an arrow that is not here is a decision, and needs an ADR. Tests may
/// use more: `roaming-testkit` is on nobody's list, because it is for tests alone.
const ARROWS: &[(&str, &[&str])] = &[
    ("roaming-events", &[]),
    ("roaming-sim", &["roaming-events"]),
    ("roaming-analytics", &["roaming-events"]),
    ("roaming-store", &["roaming-analytics", "roaming-events"]),
    ("roaming-service", &["roaming-events"]),
    ("roaming-producer", &["roaming-events", "roaming-service", "roaming-sim"]),
    (
        "roaming-consumer",
        &["roaming-analytics", "roaming-events", "roaming-service", "roaming-sim", "roaming-store"],
    ),
    ("roaming-jobs", &["roaming-events", "roaming-service", "roaming-store"]),
    (
        "roaming-lab",
        &[
            "roaming-analytics",
            "roaming-consumer",
            "roaming-events",
            "roaming-producer",
            "roaming-service",
            "roaming-sim",
            "roaming-store",
        ],
    ),
    (
        "roaming-testkit",
        &[
            "roaming-analytics",
            "roaming-consumer",
            "roaming-events",
            "roaming-producer",
            "roaming-service",
            "roaming-sim",
            "roaming-store",
        ],
    ),
    ("roaming-testbed", &["roaming-events", "roaming-testkit"]),
    ("xtask", &["roaming-events", "roaming-service"]),
];

const REMEDY: &str = "move the code to where the arrow is allowed, or add the arrow to ARROWS in \
                      xtask/src/tidy/arrows.rs together with an ADR";
const TABLE: &str = "xtask/src/tidy/arrows.rs";

/// Checks the product dependencies of one crate against the table.
pub(super) fn check(name: &str, package: &Package, manifest: &str) -> Vec<Finding> {
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        let what = format!("crate {name} has no line in the table of arrows");
        return vec![Finding::of(TABLE, what, "add it to ARROWS with the crates it may depend on")];
    };
    let path = format!("{}/Cargo.toml", package.folder);
    package
        .dependencies
        .iter()
        .filter(|to| is_own(to) && !allowed.contains(&to.as_str()))
        .map(|to| {
            let what = format!("forbidden arrow {name} -> {to}");
            match line_of(manifest, to) {
                Some(line) => Finding::at(&path, line, what, REMEDY),
                None => Finding::of(&path, what, REMEDY),
            }
        })
        .collect()
}

/// Checks that the table names no crate that is gone.
pub(super) fn check_table<'a>(names: impl Iterator<Item = &'a str>) -> Vec<Finding> {
    let names: Vec<&str> = names.collect();
    ARROWS
        .iter()
        .filter(|(from, _)| !names.contains(from))
        .map(|(from, _)| {
            let what = format!("the table of arrows names {from}, which is no crate here");
            Finding::of(TABLE, what, "remove its line from ARROWS")
        })
        .collect()
}

/// Whether a dependency is one of the workspace's own crates.
pub(super) fn is_own(name: &str) -> bool {
    name.starts_with("roaming-") || name == "xtask"
}

/// The line of a manifest that names a dependency.
pub(super) fn line_of(manifest: &str, dependency: &str) -> Option<usize> {
    numbered(manifest)
        .find(|(_, line)| {
            line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        })
        .map(|(line, _)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dependencies: &[&str]) -> Package {
        Package {
            folder: "crates/roaming-sim".to_owned(),
            dependencies: dependencies.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_forbidden_arrow_is_found_with_its_line() {
        let manifest =
            "[dependencies]\nroaming-events.workspace = true\nroaming-store.workspace = true\n";
        let findings =
            check("roaming-sim", &package(&["roaming-events", "roaming-store"]), manifest);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with(
            "crates/roaming-sim/Cargo.toml:3: forbidden arrow roaming-sim -> roaming-store; "
        ));
    }

    #[test]
    fn allowed_arrows_and_foreign_crates_pass() {
        assert_eq!(check("roaming-sim", &package(&["roaming-events", "serde"]), ""), []);
    }

    #[test]
    fn nothing_may_ship_the_testkit() {
        // The testbed is no more shipped than the testkit itself.
        for (name, _) in ARROWS.iter().filter(|(name, _)| *name != "roaming-testbed") {
            assert_eq!(check(name, &package(&["roaming-testkit"]), "").len(), 1, "{name}");
        }
    }

    #[test]
    fn table_and_workspace_name_the_same_crates() {
        assert_eq!(check("roaming-new", &package(&[]), "").len(), 1);
        assert_eq!(check_table(ARROWS.iter().map(|(name, _)| *name)), []);
        assert_eq!(check_table(ARROWS.iter().skip(1).map(|(name, _)| *name)).len(), 1);
    }

    #[test]
    fn the_table_has_no_circle() {
        for (at, (from, allowed)) in ARROWS.iter().enumerate() {
            // Each crate depends only on crates that stand before it.
            for to in *allowed {
                let position = ARROWS.iter().position(|(name, _)| name == to);
                assert!(position.is_some_and(|position| position < at), "{from} -> {to}");
            }
        }
    }
}
