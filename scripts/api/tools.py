"""The Python packages that the checks of the API need, in a directory of their own outside the repository."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent


def with_packages():
    """Goes on in an environment that holds exactly what requirements.txt pins; makes it when it is not there."""
    requirements = HERE / "requirements.txt"
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "redflag"
    name = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    environment = cache / f"api-{name}"
    if pathlib.Path(sys.prefix) == environment:
        return
    if not (environment / "complete").exists():
        print(f"installing what {requirements.name} pins into {environment}", file=sys.stderr)
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        subprocess.run([environment / "bin/pip", "install", "--quiet", "--requirement", requirements], check=True)
        (environment / "complete").touch()
    python = environment / "bin/python"
    os.execv(python, [python, *sys.argv])


def built(program):
    """The server to check: the one named, or one that is built now."""
    if program:
        return pathlib.Path(program).resolve()
    subprocess.run(["cargo", "build", "--quiet", "--package", "redflag-server", "--bin", "redflag-server"], check=True, cwd=REPOSITORY)
    target = os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target"
    return pathlib.Path(target) / "debug/redflag-server"
