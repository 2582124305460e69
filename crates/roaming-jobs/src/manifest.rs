//! What a backup says of itself: pure values, read and written as JSON.

use std::collections::BTreeMap;

use roaming_store::TableShape;
use serde::{Deserialize, Serialize};

/// Name of the manifest's file. It is written last: a folder without it holds no backup.
pub const MANIFEST: &str = "manifest.json";

/// The form of a backup that this program writes and reads.
const FORMAT: u32 = 1;

/// A backup: what it is of, and what its files must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The version of the store's schema.
    pub schema_version: u32,
    /// When the backup was begun: wall time, `2026-11-24T19:20:00Z`.
    pub created: String,
    /// What the store is tied to: the identity of the log, the window length.
    pub bindings: BTreeMap<String, String>,
    /// One for each table, by name.
    pub tables: Vec<TableFile>,
}

/// The file of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFile {
    /// The table.
    pub table: String,
    /// The file, beside the manifest.
    pub file: String,
    /// The table's columns, in the order of the file.
    pub columns: Vec<String>,
    /// How many rows it has.
    pub rows: u64,
    /// Length of the file in bytes, compressed as it is.
    pub bytes: u64,
    /// SHA-256 of the file as it is, in hexadecimal digits: what `sha256sum` prints.
    pub sha256: String,
}

/// The part that every form and version of a manifest has.
#[derive(Deserialize)]
struct Head {
    format: u32,
    schema_version: u32,
}

impl Manifest {
    /// Makes the manifest of a backup.
    pub fn new(
        schema_version: u32,
        created: String,
        bindings: BTreeMap<String, String>,
        tables: Vec<TableFile>,
    ) -> Self {
        Self { format: FORMAT, schema_version, created, bindings, tables }
    }

    /// Returns the file's text.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("texts and numbers");
        text + "\n"
    }

    /// Reads a manifest, which must be of the schema `known`.
    ///
    /// # Errors
    /// Fails on another form or version, and on what is no manifest.
    pub fn parse(text: &[u8], known: u32) -> Result<Self, ManifestError> {
        let head: Head = serde_json::from_slice(text).map_err(ManifestError::Unreadable)?;
        if head.format != FORMAT {
            return Err(ManifestError::OtherFormat { found: head.format, known: FORMAT });
        }
        if head.schema_version != known {
            return Err(ManifestError::OtherSchema { found: head.schema_version, known });
        }
        serde_json::from_slice(text).map_err(ManifestError::Unreadable)
    }

    /// Pairs each table of a database with its file.
    ///
    /// # Errors
    /// Fails where one side has a table or a column that the other does not have.
    pub fn pair<'a>(
        &'a self,
        tables: &'a [TableShape],
    ) -> Result<Vec<(&'a TableShape, &'a TableFile)>, ManifestError> {
        let pairs = tables.iter().map(|table| {
            let file = self.tables.iter().find(|file| file.table == table.name);
            let file = file.filter(|file| file.columns == table.columns);
            let table_name = || table.name.clone();
            file.map(|file| (table, file)).ok_or_else(|| ManifestError::OtherTables(table_name()))
        });
        let pairs: Vec<_> = pairs.collect::<Result<_, _>>()?;
        match self.tables.iter().find(|file| !tables.iter().any(|table| table.name == file.table)) {
            Some(file) => Err(ManifestError::OtherTables(file.table.clone())),
            None => Ok(pairs),
        }
    }

    /// Returns the rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|file| file.rows).sum()
    }

    /// Returns the bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|file| file.bytes).sum()
    }
}

impl TableFile {
    /// Returns the name of a table's file.
    pub fn name_of(table: &str) -> String {
        format!("{table}.copy.zst")
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is no manifest.
    #[error("{MANIFEST} cannot be read; restore from another backup")]
    Unreadable(#[source] serde_json::Error),
    /// Another release wrote it.
    #[error(
        "the backup has form {found}, and this program reads form {known}; restore it with the release that made it"
    )]
    OtherFormat {
        /// The form of the backup.
        found: u32,
        /// The form that this program reads.
        known: u32,
    },
    /// It is of another schema.
    #[error(
        "the backup is of schema version {found}, and this program restores version {known}; restore it with the release that made it, and let the consumer of this one migrate the store"
    )]
    OtherSchema {
        /// The version of the backup.
        found: u32,
        /// The version that this program restores.
        known: u32,
    },
    /// It has not the tables of its schema version.
    #[error(
        "backup and database do not have the same table `{0}`, although their schema versions are equal; restore from another backup"
    )]
    OtherTables(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let file = |table: &str, rows| TableFile {
            table: table.to_owned(),
            file: TableFile::name_of(table),
            columns: vec!["run".to_owned(), "lane".to_owned()],
            rows,
            bytes: rows * 10,
            sha256: "00".to_owned(),
        };
        let bindings = BTreeMap::from([("window_ms".to_owned(), "900000".to_owned())]);
        let created = "2026-11-24T19:20:00Z".to_owned();
        Manifest::new(3, created, bindings, vec![file("lanes", 5), file("runs", 7)])
    }

    fn shape(name: &str, columns: &[&str]) -> TableShape {
        let columns = columns.iter().map(ToString::to_string).collect();
        TableShape { name: name.to_owned(), columns }
    }

    #[track_caller]
    fn check_refused(text: &str, says: &str) {
        let error = Manifest::parse(text.as_bytes(), 3).expect_err(text).to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn what_is_written_is_read() {
        let text = manifest().to_json();
        assert_eq!(Manifest::parse(text.as_bytes(), 3).unwrap(), manifest());
        assert_eq!((manifest().rows(), manifest().bytes()), (12, 120));
    }

    #[test]
    fn another_form_or_version_is_refused_before_the_rest_is_read() {
        check_refused(
            r#"{"format": 1, "schema_version": 4, "new": 1}"#,
            "of schema version 4, and this program restores version 3",
        );
        check_refused(r#"{"format": 1, "schema_version": 2}"#, "of schema version 2");
        check_refused(r#"{"format": 2, "schema_version": 3}"#, "form 2");
        check_refused(r#"{"format": 1, "schema_version": 3}"#, "cannot be read");
        check_refused("no manifest", "cannot be read");
    }

    #[test]
    fn tables_and_columns_must_be_those_of_the_database() {
        let manifest = manifest();
        let (lanes, runs) = (shape("lanes", &["run", "lane"]), shape("runs", &["run", "lane"]));
        let pairs = [lanes.clone(), runs.clone()];
        let paired = manifest.pair(&pairs).unwrap();
        let rows: Vec<_> = paired.iter().map(|(table, file)| (&*table.name, file.rows)).collect();
        assert_eq!(rows, [("lanes", 5), ("runs", 7)]);
        for wrong in [
            vec![lanes.clone()],
            vec![lanes.clone(), runs.clone(), shape("more", &[])],
            vec![lanes, shape("runs", &["run"])],
        ] {
            assert!(matches!(manifest.pair(&wrong), Err(ManifestError::OtherTables(_))));
        }
    }
}
