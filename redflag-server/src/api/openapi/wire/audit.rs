//! What witnesses of the audit log ask and tell.

use super::fields::any_u64;
use utoipa::ToSchema;

/// A witness of the audit log asks how it went on.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct WitnessBody {
    /// The checkpoint it keeps; none for the first time.
    kept: Option<CheckpointName>,
}

/// Which checkpoint a witness keeps.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CheckpointName {
    /// Its number.
    #[schema(schema_with = any_u64)]
    number: u64,
    /// Its digest.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
}

/// How the log went on: the checkpoints after the one that is kept; another one where that is none of this log's.
#[derive(ToSchema)]
pub(in crate::api) struct WitnessAnswer {
    /// The public key that signs checkpoints, in base64.
    public_key: String,
    /// Their DSSE envelopes, byte for byte as they were signed.
    checkpoints: Vec<String>,
}

/// A witness says that the log has forked.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ForkBody {
    /// The envelope of the checkpoint it keeps.
    kept: String,
    /// The envelope of the one it was shown.
    shown: String,
    /// How it showed.
    what: String,
}
