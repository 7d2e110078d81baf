//! Containers as installed packages: what they run, what an image is called, and who is asked what a tag points to.
//!
//! The scanner and the installer judge containers alike, so that a command can ask for exactly what a scan offers. The registries
//! themselves are asked by the scanner alone: what runs as root leaves that to the engine. See
//! `docs/decisions/0014-how-containers-are-updated.md`.

mod address;
pub(crate) mod containers;
pub(crate) mod credentials;
pub(crate) mod reference;
#[cfg(feature = "agent")]
pub(super) mod registry;
#[cfg(feature = "agent")]
mod scanner;
pub(crate) mod tag;

#[cfg(feature = "agent")]
pub use registry::RegistrySettings;
#[cfg(feature = "agent")]
pub use scanner::Docker;
