//! The proof of a lane.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

/// Digest of a set of records of one lane: the wrapping sum of XXH3-64 (seed 0) over *key ‖ payload* of
/// each, so that it merges in any order, and the sequence, which is in the key, is hashed with the bytes.
///
/// It guards against loss, double counting and damage, not against an adversary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneDigest(u64);

impl LaneDigest {
    /// Makes a digest from its number, as stored.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the number, to store.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Adds one record.
    pub fn add(&mut self, key: &[u8], payload: &[u8]) {
        let mut hash = Xxh3Default::new();
        hash.update(key);
        hash.update(payload);
        self.0 = self.0.wrapping_add(hash.digest());
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

impl fmt::Display for LaneDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for LaneDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_but_every_octet_does() {
        let mut forward = LaneDigest::default();
        forward.add(b"a", b"one");
        forward.add(b"b", b"two");
        let mut backward = LaneDigest::default();
        backward.add(b"b", b"two");
        backward.add(b"a", b"one");
        assert_eq!(forward, backward);
        let mut changed = LaneDigest::default();
        changed.add(b"a", b"onf");
        changed.add(b"b", b"two");
        assert_ne!(forward, changed);
    }

    #[test]
    fn the_hash_is_plain_xxh3_of_key_and_payload() {
        let mut digest = LaneDigest::default();
        digest.add(b"key", b"payload");
        assert_eq!(digest.bits(), xxhash_rust::xxh3::xxh3_64(b"keypayload"));
    }
}
