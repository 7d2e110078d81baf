#!/usr/bin/python3
"""Builds an image from nothing but busybox-static and pushes it straight into a registry over HTTP: no engine, no downloads.

usage: push-image.py REGISTRY NAME TAG VERSION [options]

  --index          publish the tag as an index of platforms, as public images are: the tag's digest is then the index's
  --oci            OCI media types instead of Docker's
  --exit CODE      the command ends at once with CODE: an update that does not start
  --health RESULT  a health check that says "healthy" or "unhealthy"
  --volume PATH    declares a volume
  --platform ARCH  architecture of the image (default amd64)

Prints the digest of the tag, of the platform's manifest, and of the configuration (the id engines know the image by). The command
sleeps, and is stopped by SIGKILL, because as the first process it would ignore SIGTERM.
"""
import argparse
import gzip
import hashlib
import http.client
import io
import json
import tarfile

DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
}
OCI = {
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
    "index": "application/vnd.oci.image.index.v1+json",
}
SECOND = 1_000_000_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("registry", "name", "tag", "version"):
        parser.add_argument(name)
    parser.add_argument("--index", action="store_true")
    parser.add_argument("--oci", action="store_true")
    parser.add_argument("--exit", type=int)
    parser.add_argument("--health", choices=("healthy", "unhealthy"))
    parser.add_argument("--volume")
    parser.add_argument("--platform", default="amd64")
    parser.add_argument("--busybox", default="/bin/busybox")
    return parser.parse_args()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(files):
    """A layer's digest before compression, and its compressed bytes; the same files give the same bytes."""
    raw, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for path, data, link in files:
            entry = tarfile.TarInfo(path)
            entry.mode = 0o755
            if link:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as compressed:
        compressed.write(raw.getvalue())
    return digest(raw.getvalue()), packed.getvalue()


def configuration(options, layers):
    command = ["/bin/sleep", "100000"]
    if options.exit is not None:
        command = ["/bin/sh", "-c", f"echo failing on purpose >&2; exit {options.exit}"]
    config = {
        "Cmd": command,
        "Env": ["PATH=/bin", f"IMAGE_VERSION={options.version}"],
        "Labels": {"org.opencontainers.image.version": options.version},
        "StopSignal": "SIGKILL",
    }
    if options.health:
        test = "/bin/true" if options.health == "healthy" else "/bin/false"
        config["Healthcheck"] = {"Test": ["CMD", test], "Interval": SECOND, "Timeout": 5 * SECOND, "Retries": 1}
    if options.volume:
        config["Volumes"] = {options.volume: {}}
    return {
        "architecture": options.platform,
        "os": "linux",
        "created": "2025-10-14T16:00:00Z",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [name for name, _ in layers]},
        "history": [{"created": "2025-10-14T16:00:00Z"} for _ in layers],
    }


class Registry:
    def __init__(self, address, name):
        self.connection = http.client.HTTPConnection(address)
        self.name = name

    def request(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        return answer, answer.read()

    def blob(self, data):
        name = digest(data)
        answer, _ = self.request("HEAD", f"/v2/{self.name}/blobs/{name}")
        if answer.status != 200:
            answer, _ = self.request("POST", f"/v2/{self.name}/blobs/uploads/")
            location = answer.getheader("Location")
            location = "/" + location.split("://", 1)[-1].split("/", 1)[1]
            target = location + ("&" if "?" in location else "?") + "digest=" + name
            answer, text = self.request("PUT", target, data, {"Content-Type": "application/octet-stream"})
            assert answer.status == 201, (answer.status, text)
        return {"digest": name, "size": len(data)}

    def manifest(self, reference, document, kind):
        body = json.dumps(document).encode()
        answer, text = self.request("PUT", f"/v2/{self.name}/manifests/{reference or digest(body)}", body, {"Content-Type": kind})
        assert answer.status == 201, (answer.status, text)
        return digest(body), len(body)


def main():
    options = arguments()
    kinds = OCI if options.oci else DOCKER
    registry = Registry(options.registry, options.name)
    with open(options.busybox, "rb") as file:
        busybox = file.read()
    names = ("sh", "sleep", "cat", "echo", "true", "false", "env", "hostname", "ls")
    programs = [("bin/busybox", busybox, None)] + [(f"bin/{name}", b"", "busybox") for name in names]
    layers = [layer(programs), layer([("version", options.version.encode() + b"\n", None)])]
    config = registry.blob(json.dumps(configuration(options, layers)).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": kinds["manifest"],
        "config": {"mediaType": kinds["config"], **config},
        "layers": [{"mediaType": kinds["layer"], **registry.blob(data)} for _, data in layers],
    }
    tagged, size = registry.manifest(None if options.index else options.tag, manifest, kinds["manifest"])
    of_platform = tagged
    if options.index:
        platform = {"architecture": options.platform, "os": "linux"}
        entry = {"mediaType": kinds["manifest"], "digest": of_platform, "size": size, "platform": platform}
        index = {"schemaVersion": 2, "mediaType": kinds["index"], "manifests": [entry]}
        tagged, _ = registry.manifest(options.tag, index, kinds["index"])
    print(tagged, of_platform, config["digest"])


main()
