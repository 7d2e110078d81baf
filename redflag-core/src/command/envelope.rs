//! The envelope of a command: that of `crate::dsse` around a [`Command`], with a payload type of its own.

use super::{
    payload::Command,
    refusal::{CommandRefusal, RefusalCode},
};
use crate::{
    dsse::{self, EnvelopeFault, Form, Signatures},
    ids::Digest,
    limits,
};

/// What the payload of a command is called.
pub const PAYLOAD_TYPE: &str = "application/vnd.redflag.command.v1+json";
const FORM: Form =
    Form { payload_type: PAYLOAD_TYPE, bytes_max: limits::COMMAND_ENVELOPE_BYTES_MAX, signatures_max: limits::COMMAND_SIGNATURES_MAX };

/// A payload with its signatures, none of which has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Signatures,
}

impl Envelope {
    /// An envelope around `command`, to be signed.
    #[must_use]
    pub fn around(command: &Command) -> Self {
        Self { payload: command.to_bytes(), signatures: Signatures::new() }
    }

    /// The bytes to sign.
    #[must_use]
    pub fn bytes_to_sign(&self) -> Vec<u8> {
        dsse::bytes_to_sign(PAYLOAD_TYPE, &self.payload)
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
        dsse::write(PAYLOAD_TYPE, &self.payload, &self.signatures)
    }

    /// Takes an envelope apart.
    ///
    /// # Errors
    /// A refusal with one of the codes `too-large`, `malformed` and `wrong-payload-type`.
    pub fn read(bytes: &[u8]) -> Result<Self, CommandRefusal> {
        let (payload, signatures) = dsse::read(&FORM, bytes).map_err(refused)?;
        Ok(Self { payload, signatures })
    }

    /// The command in it, for somebody who is asked to sign it. Nothing says who made it, and nothing may be done because of it.
    ///
    /// # Errors
    /// As [`Command::read`].
    pub fn unverified(&self) -> Result<Command, CommandRefusal> {
        Command::read(&self.payload)
    }

    /// The payload, as it came.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures by key id.
    pub(super) const fn signatures(&self) -> &Signatures {
        &self.signatures
    }
}

fn refused(fault: EnvelopeFault) -> CommandRefusal {
    let (code, message) = match fault {
        EnvelopeFault::TooLarge(message) => (RefusalCode::TooLarge, message),
        EnvelopeFault::Malformed(message) => (RefusalCode::Malformed, message),
        EnvelopeFault::WrongPayloadType(message) => (RefusalCode::WrongPayloadType, message),
    };
    CommandRefusal::new(code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

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
