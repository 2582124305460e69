//! Compressed files of lines: written and read in pieces, so that their length costs no memory.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use futures::TryStreamExt;
use object_store::WriteMultipart;
use sha2::{Digest, Sha256};
use zstd::stream::write::{Decoder, Encoder};

use crate::place::{Place, PlaceError};

/// Zstandard's own default: about a tenth of the text of aggregate rows, at more than 100 MB/s.
const LEVEL: i32 = 3;

/// Compressed bytes that are collected before they are passed on.
const PIECE_BYTES: usize = 1 << 20;

/// Parts of a file that are on their way at the same time.
const PARTS_MAX: usize = 2;

/// A file that is being written.
pub(crate) struct FileWriter {
    place: Place,
    name: String,
    upload: WriteMultipart,
    encoder: Encoder<'static, Vec<u8>>,
    digest: Sha256,
    bytes: u64,
    lines: u64,
}

/// What a file is, compressed as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl FileWriter {
    /// Begins a file.
    pub(crate) async fn create(place: &Place, name: &str) -> Result<Self, PlaceError> {
        let upload = place.create(name).await?;
        Ok(Self {
            place: place.clone(),
            name: name.to_owned(),
            upload,
            encoder: Encoder::new(Vec::new(), LEVEL).expect("a level that there is"),
            digest: Sha256::new(),
            bytes: 0,
            lines: 0,
        })
    }

    /// Adds lines, in pieces of any length.
    pub(crate) async fn write(&mut self, piece: &[u8]) -> Result<(), PlaceError> {
        self.lines += piece.split(|byte| *byte == b'\n').skip(1).count() as u64;
        self.encoder.write_all(piece).expect("memory takes everything");
        if self.encoder.get_ref().len() < PIECE_BYTES {
            return Ok(());
        }
        let compressed = std::mem::take(self.encoder.get_mut());
        let capacity = self.upload.wait_for_capacity(PARTS_MAX).await;
        capacity.map_err(|source| self.place.failed("write", &self.name, source))?;
        self.pass_on(&compressed);
        Ok(())
    }

    fn pass_on(&mut self, compressed: &[u8]) {
        self.bytes += compressed.len() as u64;
        self.digest.update(compressed);
        self.upload.write(compressed);
    }

    /// Ends the file, and returns what it is and how many lines it has.
    pub(crate) async fn finish(mut self) -> Result<(FileFacts, u64), PlaceError> {
        self.encoder.do_finish().expect("memory takes everything");
        let compressed = std::mem::take(self.encoder.get_mut());
        self.pass_on(&compressed);
        let done = self.upload.finish().await;
        done.map_err(|source| self.place.failed("write", &self.name, source))?;
        let facts = FileFacts { bytes: self.bytes, sha256: hex(&self.digest.finalize()) };
        Ok((facts, self.lines))
    }
}

/// Reads a file to its end, and returns what it is.
pub(crate) async fn facts(place: &Place, name: &str) -> Result<FileFacts, PlaceError> {
    let mut pieces = place.read(name).await?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    while let Some(piece) = pieces.try_next().await? {
        digest.update(&piece);
        bytes += piece.len() as u64;
    }
    Ok(FileFacts { bytes, sha256: hex(&digest.finalize()) })
}

/// Turns compressed pieces into pieces of lines.
pub(crate) struct Unpacker(Decoder<'static, Vec<u8>>);

impl Unpacker {
    pub(crate) fn new() -> Self {
        Self(Decoder::new(Vec::new()).expect("a decoder without a dictionary"))
    }

    /// Returns what a piece holds.
    pub(crate) fn unpack(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(piece)?;
        self.0.flush()?;
        Ok(std::mem::take(self.0.get_mut()))
    }
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::S3Options;

    #[tokio::test]
    async fn what_is_written_is_read_and_is_what_it_was_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        let place = Place::open(&url, &S3Options::default()).unwrap().folder("in");
        let line =
            |number: u64| format!("{number}\t{}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut writer = FileWriter::create(&place, "rows.zst").await.unwrap();
        for number in 0..400_000 {
            writer.write(line(number).as_bytes()).await.unwrap();
        }
        assert!(place.get("rows.zst").await.unwrap().is_none(), "a part of it is there");
        let (written, lines) = writer.finish().await.unwrap();
        assert_eq!(lines, 400_000);
        assert_eq!(facts(&place, "rows.zst").await.unwrap(), written);
        assert!(written.bytes > PIECE_BYTES as u64, "{}", written.bytes);

        let (mut pieces, mut unpacker) = (place.read("rows.zst").await.unwrap(), Unpacker::new());
        let mut text = Vec::new();
        while let Some(piece) = pieces.try_next().await.unwrap() {
            text.extend(unpacker.unpack(&piece).unwrap());
        }
        assert!(text == (0..400_000).map(line).collect::<String>().into_bytes());
        assert_eq!(
            Place::open(&url, &S3Options::default()).unwrap().folders().await.unwrap(),
            ["in"]
        );
    }
}
