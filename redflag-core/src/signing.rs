//! The bytes an agent signs for a request, after RFC 9421 (HTTP Message Signatures) and RFC 9530 (Content-Digest).
//!
//! One fixed profile: the covered components are method, authority, path, query and content digest; the parameters are the time,
//! the key id (the agent's id), `ed25519`, a nonce that counts up, and a tag that keeps these signatures apart from any other
//! use of the key. Core makes and reads the texts; signing and verifying them is done by agent and server with the key.

use crate::ids::{AgentId, Digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

/// The header that carries the digest of the body.
pub const CONTENT_DIGEST: &str = "content-digest";
/// The header that says what was signed.
pub const SIGNATURE_INPUT: &str = "signature-input";
/// The header that carries the signature.
pub const SIGNATURE: &str = "signature";

const LABEL: &str = "redflag";
const COMPONENTS: &str = r#"("@method" "@authority" "@path" "@query" "content-digest")"#;
const TAG: &str = "redflag-agent-v1";

/// What of a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedRequest<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// Host and, unless it is the scheme's default, port; lower case.
    pub authority: &'a str,
    /// The path, as sent.
    pub path: &'a str,
    /// What follows `?`, as sent; empty when there is none.
    pub query: &'a str,
    /// The value of the `Content-Digest` header.
    pub content_digest: &'a str,
}

/// The parameters of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureParameters {
    /// When it was made, in seconds since the Unix epoch, by the agent's clock.
    pub created: i64,
    /// Whose key.
    pub agent: AgentId,
    /// Grows from request to request.
    pub counter: u64,
}

/// A header that is not of the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {header} header is not of the signature profile")]
pub struct InvalidSignatureHeader {
    header: &'static str,
}

impl SignatureParameters {
    fn as_component(&self) -> String {
        let Self { created, agent, counter } = self;
        format!(r#"{COMPONENTS};created={created};keyid="{agent}";alg="ed25519";nonce="{counter}";tag="{TAG}""#)
    }

    /// The value of the `Signature-Input` header.
    #[must_use]
    pub fn to_header(&self) -> String {
        format!("{LABEL}={}", self.as_component())
    }

    /// Reads the value of a `Signature-Input` header; accepts exactly what [`SignatureParameters::to_header`] writes.
    ///
    /// # Errors
    /// For anything else.
    pub fn from_header(value: &str) -> Result<Self, InvalidSignatureHeader> {
        let read = || {
            let rest = value.strip_prefix(LABEL)?.strip_prefix('=')?.strip_prefix(COMPONENTS)?;
            let (created, rest) = rest.strip_prefix(";created=")?.split_once(';')?;
            let (agent, rest) = rest.strip_prefix("keyid=\"")?.split_once('"')?;
            let (counter, _) = rest.strip_prefix(";alg=\"ed25519\";nonce=\"")?.split_once('"')?;
            let read = Self { created: created.parse().ok()?, agent: agent.parse().ok()?, counter: counter.parse().ok()? };
            (read.to_header() == value).then_some(read)
        };
        read().ok_or(InvalidSignatureHeader { header: SIGNATURE_INPUT })
    }

    /// The bytes to sign (RFC 9421, section 2.5).
    #[must_use]
    pub fn signature_base(&self, request: &SignedRequest<'_>) -> String {
        let SignedRequest { method, authority, path, query, content_digest } = request;
        format!(
            "\"@method\": {method}\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": ?{query}\n\"content-digest\": {content_digest}\n\"@signature-params\": {}",
            self.as_component()
        )
    }
}

/// The value of the `Content-Digest` header for a body.
#[must_use]
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// The value of the `Signature` header.
#[must_use]
pub fn signature_header(signature: &[u8; 64]) -> String {
    format!("{LABEL}=:{}:", STANDARD.encode(signature))
}

/// Reads the value of a `Signature` header.
///
/// # Errors
/// When it is not one Ed25519 signature under our label.
pub fn read_signature_header(value: &str) -> Result<[u8; 64], InvalidSignatureHeader> {
    let read = || {
        let encoded = value.strip_prefix(LABEL)?.strip_prefix("=:")?.strip_suffix(':')?;
        STANDARD.decode(encoded).ok()?.try_into().ok()
    };
    read().ok_or(InvalidSignatureHeader { header: SIGNATURE })
}

/// The full name of a public key: the SHA-256 of `redflag key v1`, a zero byte and the key's 32 bytes.
#[must_use]
pub fn key_id(public_key: &[u8; 32]) -> Digest {
    Digest::of("redflag key v1", &[public_key])
}

/// A short name of a public key for people to compare: the start of its [`key_id`], in groups.
#[must_use]
pub fn fingerprint(public_key: &[u8; 32]) -> String {
    fingerprint_of(&key_id(public_key))
}

/// The [`fingerprint`] of the public key with this [`key_id`].
#[must_use]
pub fn fingerprint_of(key_id: &Digest) -> String {
    let digest = key_id.to_string();
    digest.as_bytes()[..32].chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &str = r#"redflag=("@method" "@authority" "@path" "@query" "content-digest");created=1764000000;keyid="0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";alg="ed25519";nonce="7";tag="redflag-agent-v1""#;

    #[test]
    fn the_signature_base_is_that_of_rfc_9421() {
        let parameters = SignatureParameters::from_header(PARAMETERS).unwrap();
        let digest = content_digest(b"{}");
        assert_eq!(digest, "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:");
        let request =
            SignedRequest { method: "POST", authority: "redflag.example:8080", path: "/api/v1/report", query: "", content_digest: &digest };
        let base = parameters.signature_base(&request);
        let lines: Vec<_> = base.lines().collect();
        assert_eq!(lines[0], "\"@method\": POST");
        assert_eq!(lines[3], "\"@query\": ?");
        assert_eq!(lines[5], format!("\"@signature-params\": {}", PARAMETERS.strip_prefix("redflag=").unwrap()));
    }

    #[test]
    fn only_the_one_profile_is_read() {
        assert_eq!(SignatureParameters::from_header(PARAMETERS).unwrap().to_header(), PARAMETERS);
        for (from, to) in [
            ("ed25519", "rsa-v1_5-sha256"),
            ("\"@query\" ", ""),
            ("nonce=\"7\"", "nonce=\"07\""),
            ("created=1", "created=+1"),
            ("redflag=", "sig1="),
            ("-v1\"", "-v1\" "),
        ] {
            assert!(SignatureParameters::from_header(&PARAMETERS.replacen(from, to, 1)).is_err(), "{from}");
        }
        let header = signature_header(&[7; 64]);
        assert_eq!(read_signature_header(&header).unwrap(), [7; 64]);
        assert!(read_signature_header(&header.replace("redflag", "sig1")).is_err());
        assert!(read_signature_header("redflag=:AAAA:").is_err());
    }
}
