# SPDX-License-Identifier: Apache-2.0
"""Images of OCI made by hand, good and hostile ones."""
import gzip
import hashlib
import io
import json
import os
import tarfile

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "echo", "cat", "id", "ls", "env", "pwd", "touch", "wc", "stat", "mount", "sleep", "wget", "chmod", "mv", "mkdir", "readlink", "sync", "true", "head",
           "od", "hostname", "date", "ip")


class Layer:
    """One layer: a tar that is put together member by member."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, kind=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, link="", device=(0, 0), size=None):
        m = tarfile.TarInfo(name)
        m.type, m.mode, m.uid, m.gid, m.linkname, m.mtime = kind, mode, uid, gid, link, 1700000000
        m.devmajor, m.devminor = device
        m.size = len(data) if size is None else size
        self.tar.addfile(m, io.BytesIO(data) if size is None else Zeros(size))
        return self

    def dir(self, name, mode=0o755, uid=0, gid=0):
        return self.add(name, tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid)

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


class Zeros:
    def __init__(self, n):
        self.left = n

    def read(self, n):
        n = min(n, self.left)
        self.left -= n
        return bytes(n)


def busybox_layer():
    layer = Layer()
    for name in ("bin", "etc", "srv", "tmp"):
        layer.dir(name)
    with open(BUSYBOX, "rb") as f:
        layer.add("bin/busybox", data=f.read(), mode=0o755)
    for name in APPLETS:
        layer.add(f"bin/{name}", tarfile.SYMTYPE, link="busybox")
    layer.add("etc/passwd", data=b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/srv:/bin/sh\n")
    layer.add("etc/group", data=b"root:x:0:\nwww:x:33:\naudio:x:29:www\n")
    layer.add("bin/special", data=b"x", mode=0o4755, uid=33)
    layer.add("srv/page", data=b"the page\n", mode=0o640, uid=33, gid=33)
    return layer


def config(layers, **members):
    return {"architecture": "amd64", "os": "linux", "config": members,
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(one).hexdigest() for one in layers]}}


def docker_archive(path, layers, **members):
    """`docker save`: layers are bytes of tars. -> path"""
    text = json.dumps(config(layers, **members)).encode()
    names = [f"{i}/layer.tar" for i in range(len(layers))]
    with tarfile.open(path, "w") as t:
        for name, data in [("config.json", text), *zip(names, layers),
                           ("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": ["lab/test:1"], "Layers": names}]).encode())]:
            m = tarfile.TarInfo(name)
            m.size = len(data)
            t.addfile(m, io.BytesIO(data))
    return path


def oci_layout(path, layers, **members):
    """An OCI layout with one image, tagged "one". -> path"""
    os.makedirs(f"{path}/blobs/sha256", exist_ok=True)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{path}/blobs/sha256/{digest}", "wb") as f:
            f.write(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": "sha256:" + digest, "size": len(data)}

    manifest = {"schemaVersion": 2, "config": blob(json.dumps(config(layers, **members)).encode(), "config.v1+json"),
                "layers": [blob(gzip.compress(one, mtime=0), "layer.v1.tar+gzip") for one in layers]}
    index = {"schemaVersion": 2, "manifests": [{**blob(json.dumps(manifest).encode(), "manifest.v1+json"),
                                                "annotations": {"org.opencontainers.image.ref.name": "one"}}]}
    for name, value in (("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(f"{path}/{name}", "w", encoding="ascii") as f:
            json.dump(value, f)
    return path
