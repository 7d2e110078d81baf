"""A throw-away host, and the server beside it, for the scripts that play whole stories with real tools.

The host is an overlay of this machine's root on a tmpfs, in namespaces of its own, with its own hostname, machine id, package
databases, network and engine. Nothing of it outlives the script, however that ends. Needs root and 4 GiB of memory.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
REGISTRY = "127.0.0.1:5000"
LISTEN = "127.0.0.1:8080"
PAGE = 500
READY_SECONDS = 60
OPERATOR = "ada"
SCRIPT = pathlib.Path(sys.argv[0]).name
# The crate each program is of.
PROGRAMS = {"agent": "redflag-agent", "server": "redflag-server", "executor": "redflag-agent"}


class Unexpected(Exception):
    """Something is not as the script demands."""


def say(what):
    print(f"{SCRIPT}: {what}", file=sys.stderr, flush=True)


def run(*command, **options):
    """Standard output of a command that must succeed."""
    options.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run([str(word) for word in command], stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise Unexpected(f"{' '.join(map(str, command))[:200]} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


# The outside: programs, and the namespaces in which everything else happens.


def program_arguments(parser, programs):
    """The arguments with which a script's programs can be given, and the one with which it calls itself."""
    for name in programs:
        parser.add_argument(f"--{name}", type=pathlib.Path)
    # For the script itself: the directory in which its inner half works.
    parser.add_argument("--inside", type=pathlib.Path)


def play(inside, tools, arguments, words=()):
    """Runs `inside(directory, arguments)` in namespaces of its own; answers the exit code of the script."""
    try:
        if not arguments.inside:
            return outside(tools, arguments, words)
        isolate()
        inside(arguments.inside, arguments)
        return 0
    except Unexpected as trouble:
        say(trouble)
        return 1


def outside(tools, arguments, words):
    """Runs this script once more, inside."""
    if os.geteuid() != 0:
        raise Unexpected("must run as root: it makes namespaces and an overlay")
    for program, package in tools.items():
        if not shutil.which(program):
            raise Unexpected(f"{program} is missing: apt-get install {package}")
    given = {name: getattr(arguments, name) for name in PROGRAMS if hasattr(arguments, name)}
    if not all(given.values()):
        given = {name: given[name] or built for name, built in build(given).items()}
    directory = tempfile.mkdtemp(prefix=f"redflag-{SCRIPT}-")
    child = None
    # However this ends, the child goes first: with it every process and mount of the namespaces.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        own = ["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        programs = [word for name, path in given.items() for word in (f"--{name}", os.path.abspath(path))]
        child = subprocess.Popen(["unshare", *own, sys.executable, sys.argv[0], *words, "--inside", directory, *programs])
        return child.wait()
    finally:
        if child and child.poll() is None:
            child.kill()
            child.wait()
        remove_groups(pathlib.Path(directory).name)
        shutil.rmtree(directory)


def build(names):
    """Builds programs (release); answers where each lies."""
    say(f"building {', '.join(names)}")
    crates = [word for name in names for word in ("-p", PROGRAMS[name])]
    run("cargo", "build", "--quiet", "--release", *crates, cwd=HERE.parent.parent, stdout=sys.stderr)
    metadata = json.loads(run("cargo", "metadata", "--no-deps", "--format-version", "1", cwd=HERE.parent.parent))
    return {name: pathlib.Path(metadata["target_directory"], "release", f"redflag-{name}") for name in names}


def remove_groups(name):
    """Removes the control groups the engine made, from the leaves up; whatever was in them has ended."""
    hierarchies = [pathlib.Path("/sys/fs/cgroup"), *pathlib.Path("/sys/fs/cgroup").glob("*/")]
    for group in (hierarchy / name for hierarchy in hierarchies):
        for path, _, _ in os.walk(group, topdown=False):
            for _ in range(READY_SECONDS * 10):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
                if not os.path.exists(path):
                    break
                time.sleep(0.1)


# The inside: the host, what it runs, and the server.


def isolate():
    """What is mounted here must not show outside, nor the other way round."""
    run("ip", "link", "set", "lo", "up")
    run("mount", "--make-rprivate", "/")


class Host:
    """A copy of this machine's root in which package managers may do anything."""

    def __init__(self, directory):
        self.directory = directory
        self.root = directory / "host" / "root"
        layers = directory / "host" / "layers"
        self.root.mkdir(parents=True)
        layers.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=3g,mode=755", "tmpfs", layers)
        (layers / "upper").mkdir()
        (layers / "work").mkdir()
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work", self.root)
        for name, options in (("run", "mode=755"), ("tmp", "mode=1777")):
            (self.root / name).mkdir(exist_ok=True)
            run("mount", "-t", "tmpfs", "-o", options, "tmpfs", self.root / name)
        run("mount", "-t", "proc", "proc", self.root / "proc")
        for name in ("sys", "dev"):
            run("mount", "--rbind", f"/{name}", self.root / name)
        self.write("etc/hostname", f"{SCRIPT}\n")
        self.write("etc/machine-id", "5ce4e5ce4e5ce4e5ce4e5ce4e5ce4e5c\n")
        run("hostname", SCRIPT)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never through a link of the machine's own, and never into its file: the overlay takes a new one.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.write_text(text)

    def show(self, path, name):
        """Shows a directory of outside under another name."""
        (self.root / name).mkdir(parents=True)
        run("mount", "--bind", path, self.root / name)

    def run(self, *command):
        return run("chroot", self.root, *command)


def start(log, *command):
    """A process that ends with the namespace."""
    with open(log, "wb") as output:
        return subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def answers(address, path):
    with contextlib.suppress(OSError):
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


def until(ready, what, log):
    for _ in range(READY_SECONDS * 10):
        if ready():
            return
        time.sleep(0.1)
    raise Unexpected(f"{what} is not ready after {READY_SECONDS} s: {log.read_text()[-2000:]}")


def show_dnf(host, lab):
    """Lets dnf of the host offer what a lab's repository offers, to what is installed in the lab's root."""
    host.show(lab / "repo", "srv/lab/dnf")
    for directory in ("etc/yum.repos.d", "var/lib/rpm"):
        shutil.rmtree(host.root / directory, ignore_errors=True)
        (host.root / directory).mkdir(parents=True)
    for database in (lab / "root/var/lib/rpm").iterdir():
        shutil.copy(database, host.root / "var/lib/rpm")
    # What a Fedora host has by itself and Debian's packages of dnf and rpm lack.
    host.write("etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
    host.write("etc/dnf/plugins/local.conf", "[main]\nenabled=0\n")
    host.write("etc/dnf/vars/releasever", "1\n")
    host.write("etc/dnf/dnf.conf", "[main]\ngpgcheck=0\n")
    host.write("etc/yum.repos.d/lab.repo", "[lab]\nname=Lab updates\nbaseurl=file:///srv/lab/dnf\nenabled=1\n")


def show_apt(host, lab):
    """Lets apt of the host offer what a lab's signed repository offers, and nothing else."""
    host.show(lab, "srv/lab/apt")
    shutil.rmtree(host.root / "etc/apt/sources.list.d", ignore_errors=True)
    shutil.rmtree(host.root / "var/lib/apt/lists", ignore_errors=True)
    host.write("etc/apt/sources.list", "".join(f"deb [signed-by=/srv/lab/apt/lab.gpg] file:/srv/lab/apt {suite} main\n" for suite in ("lab", "lab-security")))
    (host.root / "var/lib/apt/lists/partial").mkdir(parents=True)
    host.run("apt-get", "-qq", "-o", "APT::Sandbox::User=", "-o", "APT::Update::Error-Mode=any", "update")


def start_engine(host, lab):
    """A registry, and the host's own container engine."""
    lab.mkdir()
    (lab / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {lab}/images}}}}\nhttp: {{addr: '{REGISTRY}'}}\n")
    start(lab / "registry.log", "docker-registry", "serve", lab / "registry.yml")
    host.write("etc/docker/daemon.json", "{}")
    # Containers that are entered find themselves in the root of the mount namespace, so the host's must be that.
    enter = f'cd "{host.root}" && mkdir .outside && pivot_root . .outside && umount -l /.outside && rmdir /.outside && exec "$@"'
    start(lab / "dockerd.log", "unshare", "--mount", "sh", "-c", enter, "sh", "dockerd", "--data-root", "/run/engine/data", "--exec-root", "/run/engine/exec",
          "--pidfile", "/run/engine/pid", "-H", "unix:///run/docker.sock", "--bridge=none", "--iptables=false", "--ip6tables=false",
          "--ip-forward=false", "--ip-masq=false", "--cgroup-parent", f"/{host.directory.name}")
    until(lambda: answers(REGISTRY, "/v2/"), "the registry", lab / "registry.log")
    until(lambda: subprocess.run(["chroot", host.root, "docker", "version"], capture_output=True).returncode == 0, "dockerd", lab / "dockerd.log")


def push(name, version, *options):
    """Pushes an image under its tag; answers the digest the tag has now."""
    return run("/usr/bin/python3", HERE / "push-image.py", REGISTRY, name, "latest", version, "--index", *options).split()[0]


class Server:
    """A server on SQLite, and its API as an operator sees it."""

    def __init__(self, program, directory, role="viewer", *arguments):
        self.program, self.database, self.log = program, directory / "redflag.db", directory / "server.log"
        self.process = start(self.log, program, "serve", "--database", self.database, "--listen", LISTEN, *arguments)
        until(lambda: answers(LISTEN, "/readyz"), "the server", self.log)
        token = urllib.parse.parse_qs(urllib.parse.urlsplit(self.sign_in_link(role)).fragment)["token"][0]
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{LISTEN}"}
        answer = self.request("POST", "/sign-in", headers, urllib.parse.urlencode({"token": token}))
        self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        self.csrf = self.get("/api/v1/session")["csrf"]

    def sign_in_link(self, role):
        return re.search(r"http://\S+", self.ask("sign-in-link", "--name", OPERATOR, "--role", role)).group()

    def ask(self, *command):
        return run(self.program, *command, "--database", self.database)

    def token(self):
        return self.ask("enrolment-token").split()[0]

    def request(self, method, path, headers, body=None):
        connection = http.client.HTTPConnection(LISTEN, timeout=60)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def get(self, path):
        return self.answer("GET", path, {"Cookie": self.cookie})

    def post(self, path, body):
        headers = {"Cookie": self.cookie, "X-CSRF-Token": self.csrf, "Origin": f"http://{LISTEN}", "Content-Type": "application/json"}
        return self.answer("POST", path, headers, json.dumps(body))

    def answer(self, method, path, headers, body=None):
        answer = self.request(method, path, headers, body)
        text = answer.read()
        if answer.status != 200:
            raise Unexpected(f"{method} {path}: {answer.status} {text[:500]}")
        return json.loads(text)

    def listed(self):
        """Every row of the list, and what the API counts."""
        rows = []
        for number in range(1, 1000):
            page = self.get(f"/api/v1/updates?page={number}&page_size={PAGE}")
            rows += page["updates"]
            if len(page["updates"]) < PAGE:
                return rows, page["stats"]["by_package_type"], page["total"]
