//! The canonical encoding of offers, of which scope digests are made (clause R4).
//!
//! An offer is its fields, each a tag byte, its length in four bytes (big-endian) and its bytes, and then a zero byte. Absent
//! fields are left out, so that an optional field of a later version does not change the digests of offers without it; tags are
//! never given to another field. It goes straight into the hash: agent and server make it of thousands of offers at a time.

use crate::{
    ids::Digest,
    names::{PackageKey, PackageParts},
    offer::{Availability, Candidate, Offer},
};
use sha2::{Digest as _, Sha256};

/// What is gathered before it is hashed; small enough to stay near the processor.
const GATHERED_BYTES: usize = 8 * 1024;

/// A digest in the making.
#[derive(Debug)]
pub(crate) struct Canonical {
    hash: Sha256,
    gathered: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Field {
    Name = 1,
    Arch,
    Installed,
    Version,
    Origin,
    Severity,
    SeverityWord,
    Security,
    Advisory,
    Cve,
    SizeBytes,
    Description,
    Metadata,
    Availability,
    AvailabilityReason,
}

impl Canonical {
    /// Of what follows, in the named domain.
    pub(crate) fn new(domain: &str) -> Self {
        let mut canonical = Self { hash: Sha256::new(), gathered: Vec::with_capacity(2 * GATHERED_BYTES) };
        canonical.text(domain);
        canonical
    }

    /// A text that ends by itself.
    pub(crate) fn text(&mut self, text: &str) {
        self.gathered.extend_from_slice(text.as_bytes());
        self.gathered.push(0);
    }

    /// An offer but for its manager, which is the same for all of a scope.
    pub(crate) fn offer(&mut self, package: &PackageKey, offer: &Offer) {
        let PackageParts { manager: _, name, arch } = &**package;
        let Offer { installed, candidate, availability: Availability { kind, reason } } = offer;
        self.field(Field::Name, name.as_str());
        self.optional(Field::Arch, arch.as_ref());
        self.optional(Field::Installed, installed.as_ref());
        self.candidate(candidate);
        self.field(Field::Availability, kind.as_str());
        self.optional(Field::AvailabilityReason, reason.as_ref());
        self.gathered.push(0);
        if self.gathered.len() >= GATHERED_BYTES {
            self.hash.update(&self.gathered);
            self.gathered.clear();
        }
    }

    fn candidate(&mut self, candidate: &Candidate) {
        let Candidate { version, origin, severity, severity_word, security, advisories, cves, size_bytes, description, metadata } =
            candidate;
        self.field(Field::Version, version.as_str());
        self.optional(Field::Origin, origin.as_ref());
        self.field(Field::Severity, severity.as_str());
        self.optional(Field::SeverityWord, severity_word.as_ref());
        if *security {
            self.field(Field::Security, "");
        }
        advisories.iter().for_each(|id| self.field(Field::Advisory, id.as_str()));
        cves.iter().for_each(|id| self.field(Field::Cve, id.as_str()));
        size_bytes.iter().for_each(|size| self.field(Field::SizeBytes, size.to_be_bytes()));
        self.optional(Field::Description, description.as_ref());
        metadata.iter().for_each(|metadata| self.field(Field::Metadata, metadata.as_json()));
    }

    fn optional<T: AsRef<str>>(&mut self, field: Field, value: Option<&T>) {
        value.into_iter().for_each(|value| self.field(field, value.as_ref()));
    }

    fn field(&mut self, field: Field, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let length = u32::try_from(value.len()).expect("fields are within their limits");
        self.gathered.push(field as u8);
        self.gathered.extend_from_slice(&length.to_be_bytes());
        self.gathered.extend_from_slice(value);
    }

    pub(crate) fn digest(mut self) -> Digest {
        self.hash.update(&self.gathered);
        Digest::from_bytes(self.hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{offer::OfferInput, report::scope_digest};
    use serde_json::value::RawValue;
    use std::collections::HashSet;

    fn of(input: &OfferInput) -> Digest {
        let package = PackageKey::parse("apt", &input.package_name, input.arch.as_deref()).unwrap();
        let offer = input.check(&package).unwrap();
        scope_digest(&package.manager, [(&package, &offer)])
    }

    #[test]
    fn every_field_counts_and_none_passes_for_another() {
        let some = |text: &str| Some(text.to_owned());
        let base = OfferInput { package_name: "bash".into(), available_version: "5.2".into(), ..OfferInput::default() };
        let variants = [
            OfferInput { package_name: "bash2".into(), ..base.clone() },
            OfferInput { arch: some("x"), ..base.clone() },
            OfferInput { current_version: some("x"), ..base.clone() },
            OfferInput { available_version: "x".into(), ..base.clone() },
            OfferInput { repository_source: some("x"), ..base.clone() },
            OfferInput { severity: some("low"), ..base.clone() },
            OfferInput { severity: some("x"), ..base.clone() },
            OfferInput { security: true, ..base.clone() },
            OfferInput { advisories: vec!["x".into()], ..base.clone() },
            OfferInput { advisories: vec!["x".into(), "x".into()], ..base.clone() },
            OfferInput { cve_list: vec!["x".into()], ..base.clone() },
            OfferInput { size_bytes: Some(1), ..base.clone() },
            OfferInput { package_description: some("x"), ..base.clone() },
            OfferInput { availability: some("held"), ..base.clone() },
            OfferInput { availability_reason: some("x"), ..base.clone() },
            OfferInput { metadata: Some(RawValue::from_string(r#"{"a":1}"#.into()).unwrap()), ..base.clone() },
        ];
        let digests: HashSet<Digest> = variants.iter().chain([&base]).map(of).collect();
        assert_eq!(digests.len(), variants.len() + 1);
    }

    #[test]
    fn offers_are_told_apart_and_their_order_is_not() {
        let key = |name: &str| PackageKey::parse("apt", name, None).unwrap();
        let offer = |name: &str, version: &str| {
            let input = OfferInput { package_name: name.into(), available_version: version.into(), ..OfferInput::default() };
            (key(name), input.check(&key(name)).unwrap())
        };
        let digest =
            |offers: &[(PackageKey, Offer)]| scope_digest(&key("aa").manager, offers.iter().map(|(package, offer)| (package, offer)));
        let (a, b) = (offer("aa", "1"), offer("bb", "2"));
        assert_eq!(digest(&[a.clone(), b.clone()]), digest(&[b.clone(), a.clone()]));
        assert_ne!(digest(&[a.clone(), b]), digest(&[a.clone(), offer("bb", "1")]));
        assert_ne!(digest(std::slice::from_ref(&a)), digest(&[]));
        assert_ne!(digest(&[]), scope_digest(&"dnf".parse().unwrap(), []));
    }
}
