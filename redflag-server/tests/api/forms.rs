//! Bodies that cannot be read, on every route that takes one, from the route table itself: what is refused on a page is said on a page, and
//! as a problem in the API.

use crate::support::{Answer, HOST, Harness};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use redflag_server::{
    Role,
    access::{Policy, RouteEntry, Surface},
    router::table,
};
use std::{collections::BTreeSet, fs, path::Path};

const FORM: &str = "application/x-www-form-urlencoded";

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// It is no form and no JSON.
    Kind,
    /// Every field that any page has, twice.
    Doubled,
    /// None of the fields.
    Empty,
    TooLarge,
    /// The path names no UTF-8.
    Path,
}

/// The fields of all forms.
fn fields() -> BTreeSet<String> {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let texts = fs::read_dir(templates).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let named = |text: &String| -> Vec<String> {
        text.split(" name=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).filter(|name| !name.contains('{')).collect()
    };
    texts.flat_map(|text| named(&text)).collect()
}

impl Wrong {
    const ALL: [Self; 5] = [Self::Kind, Self::Doubled, Self::Empty, Self::TooLarge, Self::Path];

    fn kind(self) -> &'static str {
        if self == Self::Kind { "text/plain" } else { FORM }
    }

    fn body(self, fields: &BTreeSet<String>) -> String {
        match self {
            Self::Kind => "name=a".to_owned(),
            Self::Doubled => fields.iter().map(|field| format!("{field}=a&{field}=a")).collect::<Vec<_>>().join("&"),
            Self::Empty | Self::Path => String::new(),
            Self::TooLarge => format!("name={}", "a".repeat(64 * 1024)),
        }
    }

    fn path(self, entry: &RouteEntry) -> String {
        let id = if self == Self::Path { "%ff" } else { "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3" };
        let segment = |segment: &str| if segment.starts_with('{') { id.to_owned() } else { segment.to_owned() };
        entry.path.split('/').map(segment).collect::<Vec<_>>().join("/")
    }
}

/// The request with everything but its body in order.
async fn send(harness: &Harness, entry: &RouteEntry, wrong: Wrong, fields: &BTreeSet<String>) -> Answer {
    let (path, body) = (wrong.path(entry), wrong.body(fields));
    if entry.policy == Policy::Agent {
        let mut request = harness.agent("a").await.signed(entry.method.clone(), &path, body);
        request.headers_mut().insert(header::CONTENT_TYPE, wrong.kind().parse().unwrap());
        return harness.send(request).await;
    }
    let mut request = Request::builder().method(entry.method.clone()).uri(path).header(header::CONTENT_TYPE, wrong.kind());
    if entry.policy != Policy::Public {
        // Some routes end the session that asks.
        let session = harness.operator(Role::Admin).await;
        request = request.header(header::COOKIE, &session.cookie).header("x-csrf-token", &session.csrf);
    }
    harness.send(request.header(header::ORIGIN, format!("http://{HOST}")).body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_our_own_words_on_every_route() {
    let (harness, fields) = (Harness::new(), fields());
    assert!(fields.len() >= 20 && fields.contains("password"), "{fields:?}");
    let mut refused_forms = 0;
    for entry in table(&harness.app).iter().filter(|entry| entry.method != Method::GET) {
        for wrong in Wrong::ALL {
            let answer = send(&harness, entry, wrong, &fields).await;
            let told = || format!("{} {} with {wrong:?}: {answer:?}", entry.method, entry.path);
            assert!(answer.status.as_u16() < 500, "{}", told());
            // What the API finds wrong first may be the kind of a body or its size.
            if wrong == Wrong::TooLarge && entry.policy != Policy::Agent {
                assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", told());
            }
            if !answer.status.is_client_error() {
                continue;
            }
            let kind = answer.headers[header::CONTENT_TYPE].to_str().unwrap();
            match entry.surface() {
                Surface::Api => assert!(kind == "application/problem+json" && answer.json()["code"].is_string(), "{}", told()),
                Surface::Page => {
                    let sign_in = entry.path == "/sign-in" && answer.status == StatusCode::UNAUTHORIZED;
                    let page = answer.text();
                    assert!(kind.starts_with("text/html") && (sign_in || page.contains("id=\"problem\"")), "{}", told());
                    assert!(!page.contains("log says more"), "whoever sent it is told what to do: {}", told());
                    refused_forms += usize::from(wrong == Wrong::Kind && answer.status == StatusCode::UNSUPPORTED_MEDIA_TYPE);
                }
            }
        }
    }
    assert_eq!(refused_forms, forms_of_the_source(), "every form is held against its kind");
}

/// How many handlers take a form.
fn forms_of_the_source() -> usize {
    let mut found = 0;
    let mut places = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found += fs::read_to_string(place).unwrap().matches("Form(form): Form<").count();
        }
    }
    found
}
