//! Envelopes of DSSE, version 1 (<https://github.com/secure-systems-lab/dsse>), for payloads of any of our types.
//!
//! What is signed is the payload type and the payload, exactly as it came, in the pre-authentication encoding. Each type is ours alone,
//! so that a signature can never stand for anything else that the same key signed. Nothing of a payload is parsed before its
//! signatures were verified. Beyond what DSSE asks, an envelope has one form only: canonical JSON, standard base64 with padding,
//! signatures in the order of their key ids.

use crate::{ids::Digest, strict_json};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Signatures by the [`crate::signing::key_id`] of their keys; none has been verified.
pub(crate) type Signatures = BTreeMap<Digest, [u8; 64]>;

/// What an envelope may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// The payload type.
    pub(crate) payload_type: &'static str,
    /// Most bytes of the envelope.
    pub(crate) bytes_max: usize,
    /// Most signatures.
    pub(crate) signatures_max: usize,
}

/// Why bytes are no envelope of a form, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnvelopeFault {
    /// More bytes than the form allows.
    TooLarge(String),
    /// Not in the one form.
    Malformed(String),
    /// Of another payload type.
    WrongPayloadType(String),
}

/// `PAE` of DSSE: lengths before parts, so that no part can reach into the next.
pub(crate) fn bytes_to_sign(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes(), payload].concat()
}

/// The envelope as it travels.
pub(crate) fn write(payload_type: &str, payload: &[u8], signatures: &Signatures) -> Vec<u8> {
    strict_json::write(&Wire {
        payload: STANDARD.encode(payload),
        payload_type: payload_type.to_owned(),
        signatures: signatures.iter().map(|(keyid, sig)| WireSignature { keyid: *keyid, sig: STANDARD.encode(sig) }).collect(),
    })
}

/// Takes an envelope apart: its payload as it came, and its signatures.
pub(crate) fn read(form: &Form, bytes: &[u8]) -> Result<(Vec<u8>, Signatures), EnvelopeFault> {
    let Form { payload_type: expected, bytes_max, signatures_max } = *form;
    if bytes.len() > bytes_max {
        return Err(EnvelopeFault::TooLarge(format!("{} bytes, and {bytes_max} is the limit", bytes.len())));
    }
    let Wire { payload, payload_type, signatures } = strict_json::read(bytes).map_err(EnvelopeFault::Malformed)?;
    if payload_type != expected {
        let message = format!("{:?} is not {expected:?}", payload_type.chars().take(80).collect::<String>());
        return Err(EnvelopeFault::WrongPayloadType(message));
    }
    let payload = STANDARD.decode(payload).map_err(|error| malformed(format!("payload: {error}")))?;
    if signatures.len() > signatures_max {
        return Err(malformed(format!("{} signatures, and {signatures_max} is the limit", signatures.len())));
    }
    if !signatures.is_sorted_by(|a, b| a.keyid < b.keyid) {
        return Err(malformed("signatures are not sorted by key id, each once"));
    }
    let signatures = signatures.into_iter().map(WireSignature::read).collect::<Result<_, _>>()?;
    Ok((payload, signatures))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: Digest,
    sig: String,
}

impl WireSignature {
    fn read(self) -> Result<(Digest, [u8; 64]), EnvelopeFault> {
        let signature = STANDARD.decode(&self.sig).map_err(|error| malformed(format!("signature: {error}")))?;
        let signature = signature.try_into().map_err(|_| malformed("a signature has 64 bytes"))?;
        Ok((self.keyid, signature))
    }
}

fn malformed(message: impl Into<String>) -> EnvelopeFault {
    EnvelopeFault::Malformed(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of the DSSE protocol document.
    #[test]
    fn the_encoding_is_that_of_dsse() {
        let encoded = bytes_to_sign("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
