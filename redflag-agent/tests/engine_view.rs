//! The view of the engine on a real engine: a scan sees through it what it sees without, and nobody sees or does more.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod container_lab;

use container_lab::{Lab, REGISTRY, alone};
use redflag_agent::{engine::view, scan::Scanner as _};
use redflag_core::words::ScanResult;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

/// A view that is served until told otherwise.
struct View {
    socket: PathBuf,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

fn view(lab: &Lab, engine: &Path, accepts: fn(u32) -> bool, idle: Option<Duration>) -> View {
    let socket = lab.path("view.sock");
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("a socket");
    let (stop, stopped) = oneshot::channel();
    let engine = engine.to_owned();
    let served = tokio::spawn(async move {
        let stopped = async { stopped.await.unwrap_or_default() };
        view::serve(&listener, engine, accepts, idle, stopped).await
    });
    View { socket, stop, served }
}

/// Sends these bytes and gives everything that comes back.
async fn raw(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.expect("the view listens");
    let mut answer = Vec::new();
    // A view that hangs up has answered too.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("UTF-8")
}

async fn get(socket: &Path, target: &str) -> (u16, String) {
    let answer = raw(socket, &format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{target}: {answer:?}"));
    (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

#[test]
fn a_scan_sees_through_the_view_what_it_sees_without() {
    alone("a_scan_sees_through_the_view_what_it_sees_without", async |lab| {
        let (registry, docker) = (lab.registry(""), lab.docker());
        let first = registry.push("lab/web", "latest", "1.0", &["--index"]);
        let options = ["--network", "host", "-e", "TOKEN=s3cret", "--label", "password=s3cret", "-v", "/etc/s3cret:/conf"];
        let compose = ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=web"];
        docker.docker(
            &[&["run", "-d", "--name", "web"], &options[..], &compose, &[&format!("{REGISTRY}/lab/web:latest"), "sleep", "100001"]]
                .concat(),
        );
        docker.docker(&["create", "--name", "idle", &format!("{REGISTRY}/lab/web:latest")]);
        let second = registry.push("lab/web", "latest", "2.0", &["--index"]);
        let view = view(&lab, &docker.socket, |user| user == 0, None);
        let through = lab.scanner().with_socket(&view.socket).scan().await;
        let direct = lab.scanner().scan().await;
        assert_eq!((through.result, &through.error), (ScanResult::Complete, &None));
        assert_eq!((&through.offers, &through.installed), (&direct.offers, &direct.installed));
        let (package, offer) = through.offers.first_key_value().expect("an offer");
        assert_eq!(package.name.as_str(), format!("{REGISTRY}/lab/web@shop/web"));
        assert_eq!(offer.installed.as_ref().map(|version| version.to_string()), Some(format!("latest@{first}")));
        assert_eq!(offer.candidate.version.to_string(), format!("latest@{second}"));

        let image = docker.docker(&["inspect", "-f", "{{.Image}}", "web"]);
        for (target, words) in [
            ("/_ping".to_owned(), "OK"),
            ("/version".to_owned(), "ApiVersion"),
            ("/v1.41/containers/json".to_owned(), "/web"),
            ("/v1.41/containers/json?all=true".to_owned(), "/idle"),
            ("/containers/web/json".to_owned(), "com.docker.compose.service"),
            (format!("/images/{image}/json"), "RepoDigests"),
        ] {
            let (status, body) = get(&view.socket, &target).await;
            assert!(status == 200 && body.contains(words), "{target}: {status} {body}");
            for secret in ["s3cret", "TOKEN", "password", "100001", "/conf", "Env", "Cmd", "Mounts", "PATH"] {
                assert!(!body.contains(secret), "{target} tells {secret}: {body}");
            }
        }
        assert!(!get(&view.socket, "/containers/json").await.1.contains("/idle"), "those that run");
        assert_eq!(get(&view.socket, "/containers/nobody/json").await.0, 404);

        // Podman's question is one to Docker too, which does not know it.
        assert_eq!(get(&view.socket, &format!("/libpod/images/{}/json", image.trim_start_matches("sha256:"))).await.0, 404);
        view.stop.send(()).expect("it is served");
        view.served.await.expect("it ends").expect("and well");
    });
}

#[test]
fn podman_is_seen_through_the_view_too() {
    alone("podman_is_seen_through_the_view_too", async |lab| {
        let (registry, podman) = (lab.registry(""), lab.podman());
        let image = format!("{REGISTRY}/lab/web:latest");
        registry.push("lab/web", "latest", "1.0", &["--index"]);
        podman.docker(&["pull", &image]);
        podman.run("web", &image, &["--network", "host", "-e", "TOKEN=s3cret"]);
        registry.push("lab/web", "latest", "2.0", &["--index"]);
        // The tag moves here too: now only Podman's own API knows what the container runs.
        podman.docker(&["pull", &image]);
        let view = view(&lab, &podman.socket, |user| user == 0, None);
        let (through, direct) = (lab.scanner().with_socket(&view.socket).scan().await, lab.scanner().scan().await);
        assert_eq!((through.offers.len(), &through.offers, &through.installed), (1, &direct.offers, &direct.installed));
        assert!(!get(&view.socket, "/containers/web/json").await.1.contains("s3cret"));
        view.served.abort();
    });
}

#[test]
fn nobody_sees_or_does_more() {
    alone("nobody_sees_or_does_more", async |lab| {
        let (registry, docker) = (lab.registry(""), lab.docker());
        registry.push("lab/web", "latest", "1.0", &[]);
        docker.run("web", &format!("{REGISTRY}/lab/web:latest"), &["--network", "host"]);
        let served = view(&lab, &docker.socket, |user| user == 0, None);
        for target in [
            "/info",
            "/containers/web/logs?stdout=1",
            "/containers/web/archive?path=/etc/shadow",
            "/containers/web/../web/json",
            "/containers/web%2F..%2Fweb/json",
            "/containers/%77eb/json",
            "/v1.41/../info",
            "/images/json",
            "/containers/json?all=true&filters=%7B%7D",
            "/events",
            "/secrets",
            "http://127.0.0.1:5000/containers/web/json",
            "/_ping/../info",
        ] {
            assert_eq!(get(&served.socket, target).await.0, 403, "{target}");
        }
        for request in [
            "POST /containers/web/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            "DELETE /containers/web?force=true HTTP/1.1\r\nHost: x\r\n\r\n",
            "HEAD /containers/web/json HTTP/1.1\r\nHost: x\r\n\r\n",
            "PUT /containers/web/archive?path=/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "CONNECT docker:2375 HTTP/1.1\r\nHost: docker:2375\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let answer = raw(&served.socket, request).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
        }
        // A second request on a connection, a request within a request, an upgrade: one is answered, and the connection ends.
        let ping = "GET /_ping HTTP/1.1\r\nHost: x\r\n";
        for request in [
            format!("{ping}\r\nPOST /containers/web/stop HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("{ping}Content-Length: 50\r\n\r\nPOST /containers/web/stop HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("{ping}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\nPOST /containers/web/stop HTTP/1.1\r\nHost: x\r\n\r\n"),
        ] {
            let answer = raw(&served.socket, &request).await;
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request}: {answer}");
        }
        for nonsense in ["\r\n", "GET\r\n\r\n", "GET /_ping HTTP/9.9\r\n\r\n", &format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 * 1024))]
        {
            let answer = raw(&served.socket, nonsense).await;
            assert!(!answer.contains(" 200 "), "{nonsense:.40}: {answer}");
        }
        assert_eq!(docker.docker(&["ps", "--format", "{{.Names}} {{.State}}"]), "web running");
        assert_eq!(get(&served.socket, "/_ping").await, (200, "OK".into()), "and it still answers");
        served.stop.send(()).expect("it is served");
        served.served.await.expect("it ends").expect("and well");

        // Whoever is not let in hears nothing, and a view that nobody needs ends by itself.
        let closed = view(&lab, &docker.socket, |_| false, Some(Duration::from_millis(1)));
        assert_eq!(closed.served.await.expect("it ends").map_err(|error| error.to_string()), Ok(()));
        let closed = view(&lab, &docker.socket, |_| false, None);
        assert_eq!(raw(&closed.socket, "GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
        closed.served.abort();

        // A host without an engine has none to scan; an engine that does not run is a fault, and told.
        let nothing = view(&lab, &lab.path("nothing.sock"), |user| user == 0, None);
        assert_eq!(get(&nothing.socket, "/containers/json").await.0, 503);
        assert!(!lab.scanner().with_socket(&nothing.socket).present().await);
        nothing.served.abort();
        let left_over = lab.path("left-over.sock");
        drop(std::os::unix::net::UnixListener::bind(&left_over).expect("a socket"));
        let dead = view(&lab, &left_over, |user| user == 0, None);
        let (status, body) = get(&dead.socket, "/containers/json").await;
        assert!(status == 502 && body.contains("connecting to the container engine"), "{status} {body}");
        let scanner = lab.scanner().with_socket(&dead.socket);
        assert!(scanner.present().await && scanner.scan().await.result == ScanResult::Failed);
        dead.served.abort();
    });
}
