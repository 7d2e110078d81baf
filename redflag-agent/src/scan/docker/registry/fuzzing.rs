//! What registries and the files about them say, as arbitrary bytes.

use super::{
    super::{credentials, reference, reference::Reference, tag},
    Manifest,
    challenge::{Challenge, realm_allowed},
    next_page,
};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderValue, LINK, WWW_AUTHENTICATE},
};

/// A reference, a version of an image, and a list of tags.
///
/// # Panics
/// When what was taken is not in its normal form, could leave its place in a URL, or when a newer tag is not newer.
pub fn image_reference(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(reference) = Reference::parse(&text) {
        let name = reference.repository.to_string();
        assert_eq!(Reference::parse(&name).expect("a normal form is a reference").repository, reference.repository);
        assert!(reference::host_allowed(&reference.repository.registry));
        let url: Url = format!("https://registry/v2/{}/manifests/x", reference.repository.path).parse().expect("it makes a URL");
        assert_eq!(url.path(), format!("/v2/{}/manifests/x", reference.repository.path));
    }
    if let Ok(version) = reference::ImageVersion::parse(&text) {
        assert_eq!(version.version().as_str(), text);
    }
    let (current, tags) = text.split_once('\n').unwrap_or((&text, ""));
    if let Some(newer) = tag::newer(current, tags.lines()) {
        assert!(tags.lines().any(|tag| tag == newer) && tag::newer(newer, [current]).is_none());
    }
}

/// A manifest, headers, and a file of logins.
///
/// # Panics
/// When credentials would go to a host that is none of the registry's.
pub fn registry_answers(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let _ = manifest.bytes();
    }
    let _ = credentials::in_file(bytes, "registry.example:5000");
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers = HeaderMap::from_iter([(LINK, value.clone()), (WWW_AUTHENTICATE, value)]);
    let _ = next_page(&headers);
    if let Some(Challenge::Bearer { realm, .. }) = Challenge::of(&headers)
        && let Ok(realm) = realm.parse::<Url>()
        && realm_allowed(&Url::parse("https://registry.acme.example/").expect("a URL"), &realm)
    {
        let host = realm.host_str().expect("an allowed realm has a host");
        assert!(host == "acme.example" || host.ends_with(".acme.example"), "{realm}");
        assert_eq!(realm.scheme(), "https");
    }
}
