//! Where files of jobs go: a folder, or a bucket of an object storage that speaks S3.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, fs, io};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use roaming_service::Secret;
use url::Url;

use crate::signing::Sha2;

/// Bytes of a part of a large object: S3 takes 10,000 parts, so that an object may have 160 GB.
const PART_BYTES: usize = 16 << 20;

/// How to reach an object storage.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// Its address; Amazon's where there is none.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// Who asks.
    pub access_key: Option<Secret>,
    /// The key's secret.
    pub secret_key: Option<Secret>,
}

/// A folder, of a file system or of a bucket.
#[derive(Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    /// As an operator writes it, without a slash at its end.
    url: String,
}

impl Place {
    /// Opens the folder that `url` names. One of a file system is made where the folder around it exists: a
    /// disk that is not mounted should not be written to in silence.
    ///
    /// # Errors
    /// Fails where the address cannot be one, or the folder is not there.
    pub fn open(url: &str, s3: &S3Options) -> Result<Self, PlaceError> {
        let wrong = |reason: &str| PlaceError::WrongUrl { reason: reason.to_owned() };
        let parsed: Url = url
            .trim()
            .parse()
            .map_err(|error: url::ParseError| PlaceError::WrongUrl { reason: error.to_string() })?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong("it may hold no user and no password"));
        }
        let url = url.trim().trim_end_matches('/').to_owned();
        match parsed.scheme() {
            "file" => {
                let folder =
                    parsed.to_file_path().map_err(|()| wrong("it needs an absolute path"))?;
                match fs::create_dir(&folder) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        return Err(PlaceError::FolderMissing { folder });
                    }
                    Err(error) if !folder.is_dir() => {
                        return Err(PlaceError::NoFolder { folder, source: error });
                    }
                    _ => {}
                }
                let files = LocalFileSystem::new_with_prefix(&folder)
                    .map_err(|source| PlaceError::Open { place: url.clone(), source })?;
                // Without it a file may be empty after a power cut, and its manifest be there.
                let store = Arc::new(files.with_fsync(true));
                Ok(Self { store, folder: Path::default(), url })
            }
            "s3" => {
                let bucket = parsed.host_str().ok_or_else(|| wrong("it names no bucket"))?;
                let store = bucket_of(bucket, s3)
                    .build()
                    .map_err(|source| PlaceError::Open { place: url.clone(), source })?;
                let folder = Path::from_url_path(parsed.path())
                    .map_err(|error| PlaceError::WrongUrl { reason: error.to_string() })?;
                Ok(Self { store: Arc::new(store), folder, url })
            }
            _ => Err(wrong("it must begin with file:/// or s3://")),
        }
    }

    /// Returns a folder in this one.
    #[must_use]
    pub fn folder(&self, name: &str) -> Self {
        let url = format!("{}/{name}", self.url);
        Self { store: Arc::clone(&self.store), folder: self.path(name), url }
    }

    fn path(&self, name: &str) -> Path {
        self.folder.parts().chain([name.into()]).collect()
    }

    /// Begins a file of any length. It is there once all of it is.
    pub(crate) async fn create(&self, name: &str) -> Result<WriteMultipart, PlaceError> {
        let upload = self.store.put_multipart(&self.path(name)).await;
        let upload = upload.map_err(|source| self.failed("write", name, source))?;
        Ok(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))
    }

    /// Writes a short file.
    pub(crate) async fn put(&self, name: &str, text: String) -> Result<(), PlaceError> {
        let put = self.store.put(&self.path(name), PutPayload::from(text.into_bytes())).await;
        put.map_err(|source| self.failed("write", name, source))?;
        Ok(())
    }

    /// Reads a short file; `None` where there is none.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<bytes::Bytes>, PlaceError> {
        let failed = |source| self.failed("read", name, source);
        match self.store.get(&self.path(name)).await {
            Ok(found) => found.bytes().await.map(Some).map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Reads a file in pieces.
    pub(crate) async fn read(
        &self,
        name: &str,
    ) -> Result<BoxStream<'static, Result<bytes::Bytes, PlaceError>>, PlaceError> {
        let found = self.store.get(&self.path(name)).await;
        let found = found.map_err(|source| self.failed("read", name, source))?;
        let (place, name) = (self.clone(), name.to_owned());
        let pieces = found.into_stream();
        Ok(pieces
            .map(move |piece| piece.map_err(|source| place.failed("read", &name, source)))
            .boxed())
    }

    /// Returns the names of the folders in this one, sorted.
    pub(crate) async fn folders(&self) -> Result<Vec<String>, PlaceError> {
        let found = self.store.list_with_delimiter(Some(&self.folder)).await;
        let found = found.map_err(|source| self.failed("list", "", source))?;
        let mut names: Vec<String> = found
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename().map(str::to_owned))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) fn failed(
        &self,
        operation: &'static str,
        name: &str,
        source: object_store::Error,
    ) -> PlaceError {
        let file = if name.is_empty() { self.url.clone() } else { format!("{self}/{name}") };
        match source {
            object_store::Error::NotFound { .. } => PlaceError::Missing { file },
            source => PlaceError::Failed { operation, file, source },
        }
    }
}

fn bucket_of(bucket: &str, s3: &S3Options) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new()
        .with_crypto_provider(Arc::new(Sha2))
        .with_bucket_name(bucket)
        .with_region(&s3.region);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some(key) = &s3.access_key {
        builder = builder.with_access_key_id(key.reveal());
    }
    if let Some(key) = &s3.secret_key {
        builder = builder.with_secret_access_key(key.reveal());
    }
    builder
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The address is none. It is not repeated: it may hold a password.
    #[error(
        "the address of the place cannot be used: {reason}; write it as file:///folder or s3://bucket/folder"
    )]
    WrongUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The folder does not exist.
    #[error("the folder around {} does not exist; create it or mount its disk, or name another place", folder.display())]
    FolderMissing {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be made.
    #[error("folder {} cannot be made; give this user the right to, or name another place", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The settings do not fit together.
    #[error("{place} cannot be opened; check the address and the settings of S3")]
    Open {
        /// The place.
        place: String,
        /// What the library says.
        source: object_store::Error,
    },
    /// A file is not there.
    #[error("{file} is missing; look whether the address is right, or choose another backup")]
    Missing {
        /// The file.
        file: String,
    },
    /// A file cannot be read or written.
    #[error("could not {operation} {file}; check its disk or object storage and the rights to it")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// The file.
        file: String,
        /// What the library says.
        source: object_store::Error,
    },
}

impl PlaceError {
    /// Whether it takes another setting, and not another attempt.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::WrongUrl { .. }
                | Self::FolderMissing { .. }
                | Self::NoFolder { .. }
                | Self::Open { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(url: &str, says: &str) {
        let error = Place::open(url, &S3Options::default()).expect_err(url);
        assert!(error.is_misuse());
        let error = error.to_string();
        assert!(error.contains(says) && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_wrong_address_says_what_a_right_one_is() {
        check_refused("backups", "write it as file:///folder or s3://bucket/folder");
        check_refused("ftp://host/backups", "must begin with file:/// or s3://");
        check_refused("s3://me:secret@bucket/backups", "no password");
        check_refused("s3:///backups", "no bucket");
        check_refused("file:///no/such/folder", "create it or mount its disk");
    }

    #[test]
    fn folders_are_named_after_where_they_are() {
        let s3 = S3Options { region: "eu-1".to_owned(), ..S3Options::default() };
        let place = Place::open("s3://bucket/a/b/", &s3).unwrap().folder("c");
        assert_eq!(place.to_string(), "s3://bucket/a/b/c");
        assert_eq!(place.path("d").to_string(), "a/b/c/d");
    }
}
