"""Reads the JSON of `quickstart --once --json` from standard input and compares it with this machine's own apt."""

import json
import os
import subprocess
import sys

environment = {**os.environ, "LC_ALL": "C.UTF-8"}


def lines(*command):
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()


answer = json.load(sys.stdin)
expected_keys = {"agent_id", "managers", "updates_total", "batches", "rejected", "elapsed_ms", "database"}
assert set(answer) == expected_keys, f"keys {sorted(answer)}"

installed = [line.split() for line in lines("apt-get", "-s", "dist-upgrade") if line.startswith("Inst ")]

apt = answer["managers"]["apt"]
assert apt["updates"] == sum("[upgradable from:" in line for line in lines("apt", "list", "--upgradable")), apt
assert apt["installable"] == sum(fields[2].startswith("[") for fields in installed), apt
assert answer["updates_total"] == sum(manager["updates"] for manager in answer["managers"].values()), answer
assert answer["rejected"] == 0, answer
print(f"the quickstart and apt agree: {apt['updates']} updates, {apt['installable']} installable")
