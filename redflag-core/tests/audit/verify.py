#!/usr/bin/python3
"""A second verifier of audit logs, written from the documentation alone: reads vectors, prints a verdict per case as JSON.

Needs Debian's python3-cryptography.
"""
import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Bad(Exception):
    pass


def write(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def canonical(raw):
    """JSON that has exactly one form: sorted keys, no spaces, raw UTF-8."""
    value = json.loads(raw)
    if write(value) != raw:
        raise ValueError("not canonical")
    return value


def digest(domain, *parts):
    return hashlib.sha256(domain.encode() + b"\0" + b"".join(parts)).hexdigest()


class Log:
    def __init__(self, vectors):
        self.key = bytes.fromhex(vectors["public_key"])
        self.type = vectors["payload_type"].encode()
        self.number, self.head, self.sealed, self.log, self.covered = 0, "0" * 64, 0, None, 0
        self.checkpoints, self.last, self.size, self.pending = 0, None, 0, False

    def link(self, raw):
        number = self.number + 1
        try:
            link = canonical(raw)
            entry = link["entry"]
            good = set(link) == {"digest", "entry"}
            damage = entry.get("damage")
            good &= (damage is not None) == (entry["kind"] == "continued-after-damage")
            if damage is None:
                good &= entry["number"] == number and not self.pending
            else:
                good &= damage["after"] == self.number and entry["number"] > number
                self.pending = False
            good &= (entry["kind"] == "log-begun") == (entry["number"] == 1)
            good &= ("batch" in entry) == (entry["kind"] == "batch")
            good &= link["digest"] == digest("redflag audit entry v1", bytes.fromhex(self.head), write(entry))
            if "batch" in entry:
                good &= entry["batch"]["position"] == self.sealed + 1
                self.sealed += 1
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise Bad(f"entry {number}")
        self.number, self.head = entry["number"], link["digest"]
        self.log = self.log or self.head

    def checkpoint(self, raw):
        number = self.checkpoints + 1
        try:
            envelope = canonical(raw)
            payload = base64.b64decode(envelope["payload"], validate=True)
            [signature] = envelope["signatures"]
            assert envelope["payloadType"].encode() == self.type
            assert signature["keyid"] == digest("redflag key v1", self.key)
            signed = b"DSSEv1 %d %s %d %s" % (len(self.type), self.type, len(payload), payload)
            Ed25519PublicKey.from_public_bytes(self.key).verify(base64.b64decode(signature["sig"], validate=True), signed)
            said = canonical(payload)
            assert said["schema"] == 1 and said["number"] == number and said.get("previous") == self.last
            assert said["size"] >= max(self.size, self.number)
        except (ValueError, KeyError, AssertionError, InvalidSignature):
            raise Bad(f"checkpoint {number}")
        if said["size"] > self.number:
            # It stands for entries that are missing here, or were lost where the log goes on behind damage.
            self.pending = True
            self.log = self.log or said["log"]
        elif said["head"] != self.head or said["log"] != self.log:
            raise Bad(f"entry {min(self.covered + 1, said['size'])}")
        else:
            self.covered = said["size"]
        self.checkpoints, self.size = number, said["size"]
        self.last = digest("redflag audit checkpoint v1", payload)


def verdict(case, vectors):
    log = Log(vectors)
    try:
        for line in case["lines"]:
            raw = line.encode()
            log.checkpoint(raw) if line.startswith('{"payload"') else log.link(raw)
        if log.pending:
            raise Bad(f"entry {log.number + 1}")
    except Bad as bad:
        return str(bad)
    return f"good to {log.covered}"


vectors = json.load(open(sys.argv[1], encoding="utf-8"))
print(json.dumps({case["name"]: verdict(case, vectors) for case in vectors["cases"]}))
