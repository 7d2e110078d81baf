"""A server over a scratch database, with a small fleet that has something of everything, and the credentials to talk to it."""

import base64
import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import re
import select
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest")'
START_SECONDS = 30
# One agent alone would soon have sent more requests than the server takes of it.
AGENTS = 40


@dataclasses.dataclass
class Agent:
    """A host with its key."""

    id: str
    key: Ed25519PrivateKey
    counter: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @staticmethod
    def new():
        return Agent(str(uuid.uuid4()), Ed25519PrivateKey.generate())

    def public_key(self):
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def headers(self, method, authority, target, body):
        """Signs a request after RFC 9421, by the profile of agents."""
        path, _, query = target.partition("?")
        with self.lock:
            self.counter += 1
            nonce = self.counter
        digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
        parameters = f'{COMPONENTS};created={int(time.time())};keyid="{self.id}";alg="ed25519";nonce="{nonce}";tag="redflag-agent-v1"'
        base = (f'"@method": {method}\n"@authority": {authority}\n"@path": {path}\n"@query": ?{query}\n'
                f'"content-digest": {digest}\n"@signature-params": {parameters}')
        signature = base64.b64encode(self.key.sign(base.encode())).decode()
        return {"content-digest": digest, "signature-input": f"redflag={parameters}", "signature": f"redflag=:{signature}:"}


@dataclasses.dataclass
class Operator:
    """A signed-in person."""

    cookie: str
    csrf: str

    def headers(self):
        return {"cookie": self.cookie, "x-csrf-token": self.csrf, "sec-fetch-site": "same-origin"}


class Fleet:
    """The server, its agents and an operator."""

    def __init__(self, url, operator):
        self.url = url
        self.authority = urllib.parse.urlsplit(url).netloc
        self.operator = operator
        self.agents = []
        # Ids that are there, by the path that takes them.
        self.known = {}

    def call(self, method, path, body=None, agent=None, expected=200):
        """Sends a request as an agent or as the operator, and returns the answer."""
        raw = b"" if body is None else json.dumps(body).encode()
        headers = agent.headers(method, self.authority, path, raw) if agent else self.operator.headers() if self.operator else {}
        status, text, _ = send(self.authority, method, path, raw, {"content-type": "application/json", **headers})
        if status != expected:
            raise RuntimeError(f"{method} {path}: {status} {text}")
        return json.loads(text) if text else None

    def enrol(self, token):
        agent = Agent.new()
        body = {"token": token, "agent_id": agent.id, "name": f"host-{len(self.agents)}", "public_key": agent.public_key(), "tags": ["check"]}
        self.call("POST", "/api/v1/enrol", body, expected=201)
        self.agents.append(agent)
        return agent

    def report(self, agent, sequence, manager, names, version):
        offers = [{"package_name": name, "arch": "x86_64", "current_version": "1.0-1", "available_version": version, "severity": "important"}
                  for name in names]
        scope = {"package_type": manager, "version_order": "rpm", "result": "complete", "scanned_at": now(), "offers": offers, "gone": []}
        report = {"schema": 1, "report_id": str(uuid.uuid4()), "sequence": sequence, "sent_at": now(), "host": {"hostname": "h"}, "scopes": [scope]}
        return self.call("POST", "/api/v1/report", report, agent)

    def approve(self, update):
        return self.call("POST", f"/api/v1/updates/{update['id']}/approve", {"offer_digest": update["offer_digest"]})

    def session_of(self, account):
        """Signs an account in, by a link."""
        return sign_in(self.authority, self.call("POST", f"/api/v1/accounts/{account}/sign-in-link", {}, expected=201)["url"])

    def person_tokens(self, count):
        """API tokens of the account `person`: their ids."""
        ours, self.operator = self.operator, self.person
        made = [self.make_token(["read"])["listed"]["id"] for _ in range(count)]
        self.operator = ours
        return made

    def make_token(self, scopes):
        return self.call("POST", "/api/v1/account/tokens", {"label": "check", "scopes": scopes, "expires_in_days": 1}, expected=201)

    def fill(self, token):
        """Gives the fleet something of everything: updates in several states, batches, and commands that ended, run and wait."""
        for _ in range(AGENTS):
            agent = self.enrol(token)
            self.report(agent, 1, "dnf", [f"lab-{at}" for at in range(6)], "1.1-1")
        acting = self.agents[0]
        mine = self.call("GET", f"/api/v1/updates?agent_id={acting.id}")["updates"]
        for update in mine[:2]:
            self.approve(update)
        self.call("POST", f"/api/v1/updates/{mine[2]['id']}/ignore", {"offer_digest": mine[2]["offer_digest"]})
        for kind in ({"kind": "rescan"}, {"kind": "refresh-metadata", "package_type": "dnf"}, {"kind": "rescan"}):
            self.call("POST", f"/api/v1/agents/{acting.id}/commands", {"action": kind})
        leased = self.call("POST", "/api/v1/commands/lease", {"limit": 16, "wait_seconds": 0}, acting)["commands"]
        for command in leased[:2]:
            self.call("POST", f"/api/v1/commands/{command['id']}/start", None, acting)
        self.call("POST", f"/api/v1/commands/{leased[0]['id']}/result", {"kind": "failed", "reason": "the disk is full", "rolled_back": False}, acting)
        batches = self.call("GET", "/api/v1/batches?page_size=10")["batches"]
        shown = self.call("GET", "/api/v1/selection?decision=reopen&status=any")
        operation = self.call("POST", "/api/v1/operations", {**{name: shown[name] for name in ("filter", "as_of", "possible")}, "decision": "reopen"},
                              expected=202)
        for name in ("spare-1", "spare-2", "person", "leaver"):
            self.call("POST", "/api/v1/accounts", {"name": name, "role": "viewer"}, expected=201)
        self.person = self.session_of("person")
        own = self.person_tokens(5)
        key = {"person": "person", "public_key": Agent.new().public_key()}
        self.known = {
            "checkpoints": [self.call("GET", "/api/v1/audit/checkpoint")["checkpoint"]["envelope"]],
            "keys": [self.call("POST", "/api/v1/keys", key)["key_id"]],
            "accounts": ["spare-1", "spare-2"],
            "token_owner": ["person"],
            "own_tokens": own,
            "updates": [row["id"] for agent in self.agents[:4] for row in self.call("GET", f"/api/v1/updates?status=any&agent_id={agent.id}")["updates"]],
            "agents": [agent.id for agent in self.agents[:4]],
            # These may be removed.
            "spare": [agent.id for agent in self.agents[-12:]],
            "acting": [acting.id],
            "commands": [command["id"] for command in leased],
            "batches": [batch["batch_id"] for batch in batches],
            "batch_agents": sorted({batch["agent_id"] for batch in batches}),
            "operations": [operation["operation_id"]],
            "cursors": {path: [self.call("GET", f"{path}?page_size=1")["next"]] for path in ("/api/v1/updates", "/api/v1/commands")},
        }


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def send(authority, method, path, body, headers):
    connection = http.client.HTTPConnection(authority, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers


@contextlib.contextmanager
def serving(program, log):
    """A server with a filled fleet, until the end of the block; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="redflag-api-") as directory:
        database = pathlib.Path(directory) / "fleet.db"
        told = {**os.environ, "REDFLAG_LOG": "warn"}
        command = [program, "serve", "--database", database, "--listen", "127.0.0.1:0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=directory, env=told)
        try:
            url = first_url(server)

            def words(*arguments):
                finished = subprocess.run([program, *arguments, "--database", database], stdout=subprocess.PIPE, check=True, text=True, cwd=directory, env=told)
                return finished.stdout

            fleet = Fleet(url, None)
            fleet.operator = sign_in(fleet.authority, words("sign-in-link", "--name", "ada", "--role", "admin"))
            fleet.fill(words("enrolment-token", "--seats", str(AGENTS)).split()[0])
            fleet.known["token"] = words("enrolment-token", "--seats", "200").split()[0]
            yield fleet
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with {server.returncode}")
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()


def first_url(server):
    """Reads what the server says at its start until it says where it listens."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        ready, _, _ = select.select([server.stdout], [], [], 0.5)
        line = server.stdout.readline() if ready else ""
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            # What else it says is read so that it never waits for a full pipe.
            threading.Thread(target=server.stdout.read, daemon=True).start()
            return found[0]
        if server.poll() is not None:
            break
    raise RuntimeError("the server did not say where it listens")


def sign_in(authority, words):
    token = re.search(r"token=([\w-]+)", words)[1]
    form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    status, text, headers = send(authority, "POST", "/sign-in", f"token={token}".encode(), form)
    if status != 303:
        raise RuntimeError(f"signing in: {status} {text}")
    cookie = headers["set-cookie"].split(";")[0]
    _, session, _ = send(authority, "GET", "/api/v1/session", b"", {"cookie": cookie})
    return Operator(cookie, json.loads(session)["csrf"])
