"""What schemathesis has to know of this API: whose credentials a request carries, and which ids there are.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS); what the fleet holds comes from the file that REDFLAG_API_FLEET names.
"""

import itertools
import json
import os
import pathlib
import re
import urllib.parse

import requests
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet import Agent, Operator, sign_in

TOLD = json.loads(pathlib.Path(os.environ["REDFLAG_API_FLEET"]).read_text())
OPERATOR = Operator(**TOLD["operator"])
PERSON = Operator(**TOLD["person"])
TOKEN = {"authorization": f"Bearer {TOLD['token']}"}
AGENTS = [Agent(agent["id"], Ed25519PrivateKey.from_private_bytes(bytes.fromhex(agent["key"])), 1_000_000) for agent in TOLD["agents"]]
ACTING = AGENTS[0]
KNOWN = TOLD["known"]
# Cursors of lists in their own order, by path.
CURSORS = TOLD["known"]["cursors"]

# Paths that agents use; what is about an agent's commands is said by the agent that has them.
OF_ANY_AGENT = {"/api/v1/report", "/api/v1/commands/lease", "/api/v1/audit/witness", "/api/v1/audit/fork"}
OF_THE_ACTING_AGENT = {"start", "result", "output", "updates"}
# Which ids a parameter may name: (path, parameter) to a list of the fleet.
IDS = [
    ("delete", "/api/v1/agents/{id}", "id", "spare"),
    ("post", "/api/v1/agents/{id}/updates", "id", "acting"),
    ("delete", "/api/v1/accounts/{name}/tokens/", "name", "token_owner"),
    ("delete", "/api/v1/accounts/{name}/tokens/", "id", "own_tokens"),
    (None, "/api/v1/account/tokens/", "id", "own_tokens"),
    (None, "/api/v1/accounts/", "name", "accounts"),
    (None, "/api/v1/agents/", "id", "agents"),
    (None, "/api/v1/updates/", "id", "updates"),
    (None, "/api/v1/operations/", "id", "operations"),
    (None, "/api/v1/keys/", "id", "keys"),
    (None, "/api/v1/commands/", "id", "commands"),
    (None, "/api/v1/commands/", "agent_id", "acting"),
    (None, "/api/v1/batches/", "batch_id", "batches"),
    (None, "/api/v1/batches/", "agent_id", "batch_agents"),
]

SEARCH_BYTES_MAX = 128
# Of a password.
DIFFERENT_MIN = 5

ENDING = {("POST", "/api/v1/account/password"), ("DELETE", "/api/v1/account/sessions")}

turns = itertools.cycle(AGENTS[1:20])
ways = itertools.cycle([TOKEN, OPERATOR.headers()])


class Credentials(requests.auth.AuthBase):
    """Signs what agents send, the last thing before it is sent; gives everything else the operator's session."""

    def __call__(self, request):
        target = urllib.parse.urlsplit(request.url)
        signer = signer_of(request.method, target.path)
        if signer:
            body = request.body or b""
            body = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b""
            path = target.path + (f"?{target.query}" if target.query else "")
            request.headers.update(signer.headers(request.method, target.netloc, path, body))
        else:
            request.headers.update(credential(request.method, target))
        return request


def credential(method, target):
    """What an operator sends: people's own affairs want a session, and what ends sessions a fresh one; all else an API token or a session."""
    if (method, target.path) in ENDING:
        return fresh_session(f"{target.scheme}://{target.netloc}", target.netloc).headers()
    if target.path.startswith(("/api/v1/account/", "/api/v1/session")) or target.path == "/api/v1/account":
        return PERSON.headers()
    return next(ways)


def fresh_session(url, authority):
    answer = requests.post(f"{url}/api/v1/accounts/leaver/sign-in-link", json={}, headers=TOKEN, timeout=60)
    return sign_in(authority, answer.text)


def signer_of(method, path):
    """The agent that signs a request; none for an operator's."""
    if path in OF_ANY_AGENT:
        # One agent alone would soon have sent more requests than an agent may.
        return next(turns)
    parts = path.strip("/").split("/")
    agents = method == "POST" and len(parts) == 5 and parts[:2] == ["api", "v1"] and parts[2] in {"commands", "agents"}
    return ACTING if agents and parts[4] in OF_THE_ACTING_AGENT else None


schemathesis.auth.set_from_requests(Credentials())


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Says which ids and cursors there are, so that most requests are about something."""
    for path, operations in raw_schema["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"] = {"type": "string", "enum": KNOWN[ids_of(method, path, parameter["name"])]}
                if parameter["name"] == "after" and path in CURSORS:
                    parameter["schema"] = {"type": "string", "enum": CURSORS[path]}
    enrolment = raw_schema["components"]["schemas"]["EnrolBody"]["properties"]
    enrolment["token"] = {"type": "string", "enum": [KNOWN["token"]]}
    enrolment["public_key"] = {"type": "string", "enum": [agent.public_key() for agent in AGENTS]}
    listed = raw_schema["components"]["schemas"]["KeyBody"]["properties"]
    listed["person"] = {"type": "string", "enum": KNOWN["token_owner"]}
    listed["public_key"] = enrolment["public_key"]
    fork = raw_schema["components"]["schemas"]["ForkBody"]["properties"]
    fork["kept"] = fork["shown"] = {"type": "string", "enum": KNOWN["checkpoints"]}
    # Which updates: as a query string, of which the document says that it is one of another operation.
    raw_schema["components"]["schemas"]["OperationBody"]["properties"]["filter"] = {"type": "string", "enum": ["", "severity=critical", "search=lab"]}


def ids_of(method, path, name):
    for of_method, prefix, parameter, known in IDS:
        if of_method in (None, method) and path.startswith(prefix) and parameter == name:
            return known
    raise LookupError(f"{method} {path}: nothing is known of the ids that {{{name}}} takes; add them to IDS")


@schemathesis.hook
def map_case(context, case):
    """Waits for nothing: a request that waits for the feed or for commands is answered like one that does not, only later."""
    if isinstance(case.query, dict) and str(case.query.get("wait", "")).isdecimal():
        case.query["wait"] = 0
    if isinstance(case.body, dict) and type(case.body.get("wait_seconds")) is int and 0 <= case.body["wait_seconds"] < 2**32:
        case.body["wait_seconds"] = 0
    return case


@schemathesis.hook
def filter_case(context, case):
    """Leaves out requests that break a rule which the document can only say in words."""
    given = {name: value for name, value in case.query.items() if value not in ("", None)} if isinstance(case.query, dict) else {}
    body = case.body if isinstance(case.body, dict) else {}
    path = case.operation.path
    if "after" in given and path in CURSORS and not set(given) <= {"after", "page_size"}:
        return False  # "a cursor is one of the same list", and excludes a page
    if path.endswith("/past") and ("sequence" in given) == ("position" in given):
        return False  # "which moment: one of the two"
    if len(str(given.get("search", "")).encode()) > SEARCH_BYTES_MAX >= len(str(given.get("search", ""))):
        return False  # limits of texts are in bytes
    if path == "/api/v1/operations" and body.get("decision") != "ignore" and (body.get("scope"), body.get("until")) != (None, None):
        return False  # "of an ignore"
    name = (case.path_parameters or {}).get("name")
    if name is not None and name not in KNOWN[ids_of(case.operation.method.lower(), path, "name")] and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]*", str(name)):
        return False  # may be an account that another request made
    if path == "/api/v1/account/password" and len(set(str(body.get("new", "")))) < DIFFERENT_MIN:
        return False  # rules of passwords
    if holds_whole_float(body):
        return False  # 1.0 is an integer to JSON Schema and none to the contract
    if "0001-01-0" in str(body) or "9999-12-3" in str(body):
        return False  # times lie between the years 0001 and 9999 in UTC, whatever their offset
    scopes = body.get("scopes") if path == "/api/v1/report" else None
    if isinstance(scopes, list):
        managers = [str(scope.get("package_type")) for scope in scopes if isinstance(scope, dict)]
        return len(set(managers)) == len(managers)  # "each manager has one scope"
    return True


def holds_whole_float(value):
    if isinstance(value, dict):
        return any(map(holds_whole_float, value.values()))
    if isinstance(value, list):
        return any(map(holds_whole_float, value))
    return isinstance(value, float) and value.is_integer()
