//! Digests for the signatures of S3 requests, from the hashes that are in the build anyway: those that
//! `object_store` brings would add a library in C.

use hmac::{Hmac, KeyInit, Mac};
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use object_store::{Error, Result};
use sha2::{Digest, Sha256};

/// SHA-256, and the signatures made of it.
#[derive(Debug)]
pub(crate) struct Sha2;

impl CryptoProvider for Sha2 {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        check(&algorithm)?;
        Ok(Box::new(Running { state: Sha256::new(), output: Vec::new() }))
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        check(&algorithm)?;
        let state = Hmac::<Sha256>::new_from_slice(secret).expect("any length is a key");
        Ok(Box::new(Running { state, output: Vec::new() }))
    }

    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        Err(unsupported("a signature by a private key"))
    }
}

fn check(algorithm: &DigestAlgorithm) -> Result<()> {
    match algorithm {
        DigestAlgorithm::Sha256 => Ok(()),
        _ => Err(unsupported("another digest than SHA-256")),
    }
}

fn unsupported(what: &str) -> Error {
    Error::NotSupported { source: format!("{what} was asked for").into() }
}

/// A digest, and its value once it is known.
struct Running<S> {
    state: S,
    output: Vec<u8>,
}

impl DigestContext for Running<Sha256> {
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.state, data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.output = self.state.finalize_reset().to_vec();
        Ok(&self.output)
    }
}

impl HmacContext for Running<Hmac<Sha256>> {
    fn update(&mut self, data: &[u8]) {
        Mac::update(&mut self.state, data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.output = self.state.clone().finalize().into_bytes().to_vec();
        Ok(&self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        crate::file::hex(bytes)
    }

    /// RFC 4231, test case 2.
    #[test]
    fn digests_are_those_of_the_standards() {
        let mut hmac = Sha2.hmac(DigestAlgorithm::Sha256, b"Jefe").unwrap();
        hmac.update(b"what do ya want ");
        hmac.update(b"for nothing?");
        assert_eq!(
            hex(hmac.finish().unwrap()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let mut digest = Sha2.digest(DigestAlgorithm::Sha256).unwrap();
        digest.update(b"abc");
        assert_eq!(
            hex(digest.finish().unwrap()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
