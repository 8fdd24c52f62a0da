#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sekisho-bridge between keepers and a program in Firecracker's place. usage: test_bridge.py BRIDGE   (in namespaces of its own)"""
import fcntl
import os
import socket
import subprocess
import sys
import tempfile

NAMES = ("ctl", "qmp", "serial", "x0", "x1", "x2", "x3")
MACHINE = r"""#!/usr/bin/python3
import fcntl, os, select, socket, sys
assert open("/fd/config").read() == "told"
tap = os.open("/dev/net/tun", os.O_RDONLY)
fcntl.ioctl(tap, 0x400454ca, bytes(40))
assert os.read(tap, 9) == b"a tap"
try:
    open("/fd/none")
    sys.exit("a name that was not given was opened")
except FileNotFoundError:
    pass
def connected(n):
    s = socket.socket(socket.AF_UNIX)
    s.connect(f"/run/s_{n}")
    return s
try:
    connected(6)
    sys.exit("there is a door too many")
except FileNotFoundError:
    pass
api = socket.socket(socket.AF_UNIX)
api.bind("/run/api")
api.listen()
ports = [connected(1), connected(2)]
try:
    if connected(1).recv(1) != b"":
        sys.exit("a door took a second one")
except ConnectionError:
    pass
print("words of the console", flush=True)
ports[0].sendall(b"hello")
while True:
    for s in select.select([api, *ports], [], [])[0]:
        if s is api:
            c, _ = api.accept()
            said = c.recv(4096)
            c.sendall(b"HTTP/1.1 204 \r\n\r\n" if b'{"state":"Paused"}' in said else b"HTTP/1.1 400 \r\n\r\n")
            c.close()
        else:
            said = s.recv(65536)
            if said == b"die":
                print("last words", flush=True)
                sys.exit(3)
            s.sendall(said)
"""


class Bridge:
    def __init__(self, program, folder):
        self.folder = folder
        listeners = []
        for name in NAMES:
            listeners.append(socket.socket(socket.AF_UNIX))
            listeners[-1].bind(f"{folder}/{name}")
            listeners[-1].listen(4)
        config, tap = os.memfd_create("config"), os.memfd_create("tap")
        os.write(config, b"told")
        os.write(tap, b"a tap")
        os.lseek(config, 0, 0)
        os.lseek(tap, 0, 0)
        given = [os.dup(s.fileno()) for s in listeners] + [config, tap]
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in given]
        actions = [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(high)]
        self.pid = os.posix_spawn(program, [program, f"{folder}/machine", "config=10", "tap=11"], {}, file_actions=actions)
        for s in listeners:
            s.close()
        for fd in given + high:
            os.close(fd)

    def connect(self, name):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(30)
        s.connect(f"{self.folder}/{name}")
        return s

    def end(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def exactly(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        assert part, f"the stream ended after {data!r}"
        data += part
    return data


def until(s, words):
    data = b""
    while words not in data:
        part = s.recv(4096)
        assert part, f"the stream ended after {data!r}"
        data += part


def keepers_come_and_go(b):
    serial, ctl = b.connect("serial"), b.connect("ctl")
    assert exactly(ctl, 5) == b"hello"
    until(serial, b"words of the console")
    ctl.sendall(b"abc")
    assert exactly(ctl, 3) == b"abc"
    ctl.close()
    ctl, extra = b.connect("ctl"), b.connect("x0")
    big = os.urandom(300000)
    for s in (ctl, extra):
        for at in range(0, len(big), 30000):
            s.sendall(big[at:at + 30000])
            assert exactly(s, 30000) == big[at:at + 30000]
    qmp = b.connect("qmp")
    qmp.sendall(b'{"execute":"qmp_capabilities"}\n{"execute":"stop","id":"pause"}\n')
    until(qmp, b'{"return": {}, "id": "pause"}\n')
    qmp.sendall(b'{"execute":"cont","id":"pause"}\n')
    until(qmp, b'{"error": {}, "id": "pause"}\n')
    qmp.sendall(b'{"execute":"quit"}\n')
    assert b.end() == 0
    assert ctl.recv(1) == b""


def a_machine_that_dies(b):
    serial, ctl = b.connect("serial"), b.connect("ctl")
    assert exactly(ctl, 5) == b"hello"
    ctl.sendall(b"die")
    assert ctl.recv(1) == b""
    until(serial, b"last words")
    assert b.end() == 0


def main():
    if sys.argv[2:] != ["inside"]:
        inside = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"]
        sys.exit(subprocess.run([*inside, sys.executable, "-B", __file__, sys.argv[1], "inside"], check=False).returncode)
    subprocess.run(["mount", "-t", "proc", "p", "/proc"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "t", "/run"], check=True)
    for case in (keepers_come_and_go, a_machine_that_dies):
        with tempfile.TemporaryDirectory(dir="/run") as folder:
            with open(f"{folder}/machine", "w") as f:
                f.write(MACHINE)
            os.chmod(f"{folder}/machine", 0o755)
            case(Bridge(sys.argv[1], folder))
            for left in ("api", *(f"s_{n}" for n in range(1, 6))):
                os.unlink(f"/run/{left}")
    print("2 passed")


if __name__ == "__main__":
    main()
