//! The envelope around a payload: DSSE, version 1 (<https://github.com/secure-systems-lab/dsse>).
//!
//! What is signed is the payload type and the payload, exactly as it came, in the pre-authentication encoding. The type is ours alone,
//! so that a signature can never stand for anything else that the same key signed. Nothing of a payload is parsed before its
//! signatures were verified. Beyond what DSSE asks, an envelope has one form only: canonical JSON, standard base64 with padding,
//! signatures in the order of their key ids.

use super::{
    payload::Command,
    refusal::{CommandRefusal, RefusalCode},
    strict_json,
};
use crate::{ids::Digest, limits};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the payload of a command is called.
pub const PAYLOAD_TYPE: &str = "application/vnd.redflag.command.v1+json";

/// A payload with its signatures, none of which has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: BTreeMap<Digest, [u8; 64]>,
}

impl Envelope {
    /// An envelope around `command`, to be signed.
    #[must_use]
    pub fn around(command: &Command) -> Self {
        Self { payload: command.to_bytes(), signatures: BTreeMap::new() }
    }

    /// The bytes to sign.
    #[must_use]
    pub fn bytes_to_sign(&self) -> Vec<u8> {
        pre_authentication_encoding(PAYLOAD_TYPE, &self.payload)
    }

    /// The same with one more Ed25519 signature of [`Envelope::bytes_to_sign`]; `key_id` is the [`crate::signing::key_id`] of the
    /// public key.
    #[must_use]
    pub fn with_signature(mut self, key_id: Digest, signature: [u8; 64]) -> Self {
        self.signatures.insert(key_id, signature);
        self
    }

    /// The envelope as it travels.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        strict_json::write(&Wire {
            payload: STANDARD.encode(&self.payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: self.signatures.iter().map(|(keyid, sig)| WireSignature { keyid: *keyid, sig: STANDARD.encode(sig) }).collect(),
        })
    }

    /// Takes an envelope apart.
    ///
    /// # Errors
    /// A refusal with one of the codes `too-large`, `malformed` and `wrong-payload-type`.
    pub fn read(bytes: &[u8]) -> Result<Self, CommandRefusal> {
        if bytes.len() > limits::COMMAND_ENVELOPE_BYTES_MAX {
            let message = format!("{} bytes, and {} is the limit", bytes.len(), limits::COMMAND_ENVELOPE_BYTES_MAX);
            return Err(CommandRefusal::new(RefusalCode::TooLarge, message));
        }
        let Wire { payload, payload_type, signatures } = strict_json::read(bytes).map_err(malformed)?;
        if payload_type != PAYLOAD_TYPE {
            let message = format!("{:?} is not {PAYLOAD_TYPE:?}", payload_type.chars().take(80).collect::<String>());
            return Err(CommandRefusal::new(RefusalCode::WrongPayloadType, message));
        }
        let payload = STANDARD.decode(payload).map_err(|error| malformed(format!("payload: {error}")))?;
        if signatures.len() > limits::COMMAND_SIGNATURES_MAX {
            return Err(malformed(format!("{} signatures, and {} is the limit", signatures.len(), limits::COMMAND_SIGNATURES_MAX)));
        }
        if !signatures.is_sorted_by(|a, b| a.keyid < b.keyid) {
            return Err(malformed("signatures are not sorted by key id, each once"));
        }
        let signatures = signatures.into_iter().map(|signature| signature.read()).collect::<Result<_, _>>()?;
        Ok(Self { payload, signatures })
    }

    /// The payload, as it came.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures by key id.
    pub(super) const fn signatures(&self) -> &BTreeMap<Digest, [u8; 64]> {
        &self.signatures
    }
}

/// `PAE` of DSSE: lengths before parts, so that no part can reach into the next.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    [format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes(), payload].concat()
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
    fn read(self) -> Result<(Digest, [u8; 64]), CommandRefusal> {
        let signature = STANDARD.decode(&self.sig).map_err(|error| malformed(format!("signature: {error}")))?;
        let signature = signature.try_into().map_err(|_| malformed("a signature has 64 bytes"))?;
        Ok((self.keyid, signature))
    }
}

fn malformed(message: impl Into<String>) -> CommandRefusal {
    CommandRefusal::new(RefusalCode::Malformed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vector of the DSSE protocol document.
    #[test]
    fn the_encoding_is_that_of_dsse() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn one_form_is_read() {
        let one = r#"{"payload":"e30=","payloadType":"application/vnd.redflag.command.v1+json","signatures":[]}"#;
        let envelope = Envelope::read(one.as_bytes()).unwrap();
        assert_eq!((envelope.payload(), envelope.to_json()), (b"{}".as_slice(), one.as_bytes().to_vec()));
        let code = |text: &str| Envelope::read(text.as_bytes()).unwrap_err().code;
        for (from, to) in [
            ("e30=", "e30"),
            ("e30=", "e31="),
            ("e30=", "e30=\\n"),
            ("e30=", "-_=="),
            ("\"signatures\":[]", "\"signatures\":[],\"x\":1"),
            ("{\"payload\"", "{ \"payload\""),
            ("\"payload\":\"e30=\"", "\"payload\":\"e30=\",\"payload\":\"e30=\""),
        ] {
            assert_eq!(code(&one.replace(from, to)), RefusalCode::Malformed, "{to}");
        }
        assert_eq!(code(&one.replace("command.v1", "command.v2")), RefusalCode::WrongPayloadType);
        let padded = format!("{one}{}", " ".repeat(limits::COMMAND_ENVELOPE_BYTES_MAX - one.len()));
        assert_eq!(code(&padded), RefusalCode::Malformed, "at the limit it is looked at");
        assert_eq!(code(&format!("{padded} ")), RefusalCode::TooLarge);
    }
}
