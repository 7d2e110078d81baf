#!/usr/bin/python3
"""A second verifier of commands, written from the documentation alone: reads vectors, prints a verdict per case as JSON.

Needs Debian's python3-cryptography. It judges everything but package grammar and version order.
"""
import base64
import datetime
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TYPE = "application/vnd.redflag.command.v1+json"
ACTIONS = {"rescan", "refresh-metadata", "plan", "install", "recreate", "reboot", "cancel"}
FIELDS = {"action", "approvals", "audience", "counter", "expires_at", "id", "mode", "not_before", "schema"}


class Refused(Exception):
    pass


def canonical(raw):
    """JSON that has exactly one form: sorted keys, no spaces, raw UTF-8."""
    try:
        value = json.loads(raw)
    except ValueError:
        raise Refused("malformed")
    if json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != raw:
        raise Refused("malformed")
    return value


def unbase64(text):
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise Refused("malformed")
    return raw


def time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def judge(raw, vectors):
    envelope = canonical(raw)
    if set(envelope) != {"payload", "payloadType", "signatures"}:
        raise Refused("malformed")
    if envelope["payloadType"] != TYPE:
        raise Refused("wrong-payload-type")
    payload = unbase64(envelope["payload"])
    signed = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE.encode(), len(payload), payload)
    modes = set()
    if not envelope["signatures"]:
        raise Refused("too-few-signatures")
    for signature in envelope["signatures"]:
        pinned = [p for p in vectors["pinned"] if key_id(p["public_key"]) == signature["keyid"]]
        if not pinned:
            raise Refused("unknown-key")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(pinned[0]["public_key"]))
        try:
            key.verify(unbase64(signature["sig"]), signed)
        except InvalidSignature:
            raise Refused("bad-signature")
        modes.add(pinned[0]["mode"])
    loose = json.loads(payload)
    if loose["schema"] != 1:
        raise Refused("unsupported-schema")
    if loose["action"]["kind"] not in ACTIONS:
        raise Refused("unknown-action")
    command = canonical(payload)
    if set(command) != FIELDS:
        raise Refused("malformed")
    not_before, expires_at, now = time(command["not_before"]), time(command["expires_at"]), time(vectors["now"])
    if expires_at - not_before > datetime.timedelta(days=8):
        raise Refused("lifetime-too-long")
    if modes != {command["mode"]}:
        raise Refused("wrong-mode")
    if command["audience"]["agent"] != vectors["audience"]["agent"]:
        raise Refused("wrong-audience")
    if command["audience"]["key_id"] != vectors["audience"]["key_id"]:
        raise Refused("wrong-agent-key")
    if command["counter"] <= vectors["counter_floor"]:
        raise Refused("replayed")
    if command["counter"] - vectors["counter_floor"] > 1000:
        raise Refused("counter-jump")
    tolerance = datetime.timedelta(seconds=vectors["clock_tolerance_seconds"])
    if now + tolerance < not_before:
        raise Refused("not-yet-valid")
    if now - tolerance >= expires_at:
        raise Refused("expired")


def key_id(public_key):
    return hashlib.sha256(b"redflag key v1\0" + bytes.fromhex(public_key)).hexdigest()


def verdict(case, vectors):
    try:
        judge(case["envelope"].encode(), vectors)
    except Refused as refused:
        return str(refused)
    return "accepted"


vectors = json.load(open(sys.argv[1], encoding="utf-8"))
print(json.dumps({case["name"]: verdict(case, vectors) for case in vectors["cases"]}))
