//! Real engines and registries for the container tests, each test in a world of its own.
//!
//! A test runs itself again in new network, mount and process namespaces: its engine has the usual socket, its registry a fixed port,
//! bridges and mounts are its own, and everything ends with the first process of the namespace, however the test ends. What is left
//! on the host then is a temporary directory and a group of control groups, both removed by the outer process.

pub(crate) mod cut;
pub(crate) mod gate;

use redflag_agent::{
    install,
    scan::{Docker, RegistrySettings},
};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// What a test needs of Debian: program and package.
const TOOLS: &[(&str, &str)] = &[
    ("dockerd", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("podman", "podman"),
    ("runc", "runc"),
    ("conmon", "conmon"),
    ("busybox", "busybox-static"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("openssl", "openssl"),
    ("python3", "python3"),
];
/// Names the world's directory to the inner process.
const INSIDE: &str = "REDFLAG_CONTAINER_LAB";
/// Longest time a daemon may take until it is ready.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// The registry's address in every world.
pub(crate) const REGISTRY: &str = "127.0.0.1:5000";

/// Runs `body`, the test `name`, in a world of its own.
pub(crate) fn alone<F: Future<Output = ()>>(name: &str, body: impl FnOnce(Lab) -> F) {
    if let Some(directory) = env::var_os(INSIDE) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        return runtime.block_on(body(Lab { directory: directory.into() }));
    }
    for (program, package) in TOOLS {
        let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output().expect("sh runs");
        assert!(found.status.success(), "this test needs {program}: apt-get install {package}");
    }
    let world = World { directory: TempDir::with_prefix("redflag-containers-").expect("a temporary directory") };
    // Loopback comes up down; /run holds the sockets and pid files of whatever runs on the host.
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/lock && ip link set lo up && exec \"$@\"";
    // However this process ends, the world ends with it.
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .args(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", script, "sh"])
        .arg(env::current_exe().expect("the test's own program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, world.directory.path())
        .env_remove("DOCKER_HOST")
        .output()
        .expect("unshare runs");
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(output.status.success() && text.contains("1 passed"), "{name} failed in its own world:\n{text}");
}

/// What of a world lives outside its namespaces.
struct World {
    directory: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        let group = group_of(self.directory.path());
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path().join(&group));
        for group in hierarchies.chain([Path::new("/sys/fs/cgroup").join(&group)]) {
            remove_groups(&group);
        }
    }
}

/// Control groups are removed from the leaves up; their files are no files.
fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_groups(&entry.path());
    }
    let _ = fs::remove_dir(group);
}

fn group_of(directory: &Path) -> String {
    directory.file_name().expect("the directory has a name").to_string_lossy().into_owned()
}

/// The inside of a world.
pub(crate) struct Lab {
    directory: PathBuf,
}

impl Lab {
    /// A file or directory of this world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file of this world, with its directories.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path
    }

    /// An empty registry at [`REGISTRY`]; `more` are further lines of its configuration's `http` section.
    pub(crate) fn registry(&self, more: &str) -> Registry {
        let storage = self.path("registry");
        let configuration = format!(
            "version: 0.1\nlog: {{accesslog: {{disabled: false}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp:\n  addr: {REGISTRY}\n{more}",
            storage.display()
        );
        let configuration = self.write("registry.yml", &configuration);
        let process = Process::start(Command::new("docker-registry").arg("serve").arg(configuration), "listening on");
        Registry { process }
    }

    /// A Docker engine on its usual socket.
    pub(crate) fn docker(&self) -> Engine {
        let configuration = self.write("daemon.json", "{}");
        let [data, exec] = ["docker-data", "docker-exec"].map(|name| self.path(name));
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(data).arg("--exec-root").arg(exec).arg("--config-file").arg(configuration);
        command.args(["-H", "unix:///run/docker.sock", "--cgroup-parent"]).arg(format!("/{}", group_of(&self.directory)));
        Engine { socket: "/run/docker.sock".into(), process: Process::start(&mut command, "API listen on") }
    }

    /// Podman's service for the root user on its usual socket.
    pub(crate) fn podman(&self) -> Engine {
        let containers = format!(
            "[containers]\ndefault_ulimits=[\"nofile=4096:4096\",\"nproc=4096:4096\"]\n[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nruntime=\"runc\"\n[network]\nnetwork_config_dir=\"{}\"\n",
            self.path("podman-networks").display()
        );
        let registries = format!("[[registry]]\nlocation=\"{REGISTRY}\"\ninsecure=true\n");
        let socket = PathBuf::from("/run/podman/podman.sock");
        fs::create_dir_all("/run/podman").expect("a directory");
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", self.write("containers.conf", &containers));
        command.env("CONTAINERS_REGISTRIES_CONF", self.write("registries.conf", &registries));
        for (option, name) in [("--root", "podman-storage"), ("--runroot", "podman-run"), ("--tmpdir", "podman-tmp")] {
            command.arg(option).arg(self.path(name));
        }
        command.args(["--log-level", "info", "system", "service", "-t", "0"]).arg(format!("unix://{}", socket.display()));
        Engine { socket, process: Process::start(&mut command, "API service listening on") }
    }

    /// The facts about registries of this world: nothing of the host's, and nothing stays fresh.
    pub(crate) fn registries(&self) -> RegistrySettings {
        let mut settings = RegistrySettings::of_host();
        settings.certificates = vec![self.path("certs.d")];
        settings.credentials = vec![self.path("config.json")];
        settings.daemon = None;
        settings.fresh = Duration::ZERO;
        settings
    }

    /// An installer for this world's engine, found where engines usually are, that is soon content.
    pub(crate) fn installer(&self) -> install::Docker {
        install::Docker::new().with_logins([self.path("config.json")]).with_steady_time(Duration::from_secs(1))
    }

    /// A scanner of this world's engine, found where engines usually are.
    pub(crate) fn scanner(&self) -> Docker {
        Docker::new().with_registries(self.registries())
    }
}

/// A registry.
pub(crate) struct Registry {
    process: Process,
}

impl Registry {
    /// Builds and pushes an image with `scripts/lab/push-image.py`; gives the digest of the tag.
    pub(crate) fn push(&self, name: &str, tag: &str, version: &str, options: &[&str]) -> String {
        push(REGISTRY, name, tag, version, options)
    }

    /// The requests it has answered since it was last asked, as `METHOD PATH STATUS`.
    pub(crate) fn requests(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.process.lines.lock().expect("the lines"));
        // The access log: `… "METHOD PATH HTTP/1.1" STATUS …`.
        let request = |line: String| {
            let (request, rest) = line.split_once('"')?.1.split_once(" HTTP/1.1\" ")?;
            Some(format!("{request} {}", rest.split(' ').next()?))
        };
        lines.into_iter().filter_map(request).collect()
    }

    /// Ends it.
    pub(crate) fn stop(self) {}
}

/// Pushes an image to any registry that speaks plain HTTP.
pub(crate) fn push(registry: &str, name: &str, tag: &str, version: &str, options: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab/push-image.py");
    let printed = stdout(Command::new(script).args([registry, name, tag, version]).args(options));
    printed.split_whitespace().next().expect("the digest of the tag").to_owned()
}

/// A container engine.
pub(crate) struct Engine {
    pub(crate) socket: PathBuf,
    #[expect(dead_code, reason = "held so that the engine lives as long as this")]
    process: Process,
}

impl Engine {
    /// Runs the `docker` command against it and gives what it printed.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        stdout(Command::new("docker").arg("-H").arg(format!("unix://{}", self.socket.display())).args(arguments))
    }

    /// Starts a container in the background.
    pub(crate) fn run(&self, name: &str, image: &str, options: &[&str]) {
        self.docker(&[&["run", "-d", "--name", name], options, &[image]].concat());
    }
}

/// Standard output of a command that must succeed, without the end of its last line.
pub(crate) fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
}

/// A daemon, killed when it goes out of scope.
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it and waits until it prints `ready`.
    fn start(command: &mut Command, ready: &'static str) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (is_ready, until_ready) = mpsc::sync_channel(2);
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("it is piped")), Box::new(child.stderr.take().expect("it is piped"))];
        for output in outputs {
            let (lines, is_ready) = (lines.clone(), is_ready.clone());
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if line.contains(ready) {
                        let _ = is_ready.try_send(());
                    }
                    lines.lock().expect("the lines").push(line);
                }
            });
        }
        // When both outputs end, it has died and nobody can say that it is ready any more.
        drop(is_ready);
        let process = Self { child, lines };
        if until_ready.recv_timeout(READY_TIME_MAX).is_err() {
            panic!("{command:?} is not ready:\n{}", process.lines.lock().expect("the lines").join("\n"));
        }
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
