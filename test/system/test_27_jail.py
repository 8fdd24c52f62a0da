# SPDX-License-Identifier: Apache-2.0
"""The jail from inside: a program of ours in the place of the VMM and of both file servers, started by the daemon as those are."""
import ctypes
import os
import socket
import subprocess

import sandbox
from lab import build_dir, wait_until
from product import environment
from run import no_daemon
from test_07_vm import vm_state
from test_09_rights import begin
from test_26_shares import ERIN, GROUP, place, running

VMM, SERVER = "qemu-system-x86_64", "virtiofsd"
SYS_ADD_KEY, SESSION = 248, -3


class Replaced:
    """The sandbox's own /usr/lib and QEMU, with the inmate in the programs' places."""

    def __enter__(self):
        self.inmate = f"{build_dir()}/test/unit/vm/inmate"
        self.top = "/run/lab/inmate"
        os.makedirs(self.top)
        sandbox.mount("inmate", self.top, "tmpfs")
        os.makedirs(f"{self.top}/upper/qemu")
        os.makedirs(f"{self.top}/work")
        subprocess.run(["cp", self.inmate, f"{self.top}/upper/qemu/{SERVER}"], check=True)
        sandbox.mount("overlay", "/usr/lib", "overlay", data=f"lowerdir=/usr/lib,upperdir={self.top}/upper,workdir={self.top}/work")
        sandbox.mount(self.inmate, f"/usr/bin/{VMM}", flags=sandbox.MS_BIND)
        return self

    def __exit__(self, *_):
        for path in (f"/usr/bin/{VMM}", "/usr/lib", self.top):
            sandbox.LIBC.umount2(path.encode(), 2)
        os.rmdir(self.top)


class Inmates:
    """What each has said so far, read from its pipe."""

    def __init__(self):
        self.said = {}

    def done(self, wanted):
        """{pid: lines} of all that live, once so many have come to their end; one before them may be the probe for KVM."""
        for pid in os.listdir("/proc"):
            try:
                if not pid.isdigit() or not open(f"/proc/{pid}/comm").read().strip() in (VMM[:15], SERVER):
                    continue
                fd = os.open(f"/proc/{pid}/fd/101", os.O_RDONLY | os.O_NONBLOCK)
            except OSError:
                continue
            try:
                self.said[pid] = self.said.get(pid, b"") + os.read(fd, 1 << 20)
            except BlockingIOError:
                pass
            finally:
                os.close(fd)
        ended = {pid: said.decode().splitlines() for pid, said in self.said.items()
                 if said.endswith(b"\nend\n") and os.path.exists(f"/proc/{pid}/fd/101")}
        return ended if len(ended) == wanted else None


def words(lines, first):
    return [line.split()[1:] for line in lines if line.startswith(f"{first} ")]


def add_session_key():
    """A secret of whoever starts the daemon; not everywhere may one be made."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(SYS_ADD_KEY, b"user", b"sekisho-lab", b"secret", 6, SESSION) > 0


@vm_state
@no_daemon
def test_from_inside(t):
    """A VMM or file server that was taken over holds its descriptors and nothing else: no file but its own, none to write, no socket, interface,
    process, key, capability or id of anybody's; what its limits are it cannot change."""
    t.say("with a key to find" if add_session_key() else "no key can be made here")
    hidden = socket.socket(socket.AF_UNIX)
    hidden.bind("\0sekisho-lab")
    hidden.listen()
    with hidden, Replaced():
        begin(t)
        top = place("file")
        found = Inmates()
        p = running(t, "--rw", top, "job", "--", "true")
        seen = wait_until(lambda: found.done(3), 60, "three inmates have tried")
        p.kill()
        p.communicate()
    of = {(words(lines, "program")[0][0].rsplit("/", 1)[1], "/share/0" in "".join(lines) or int(words(lines, "ids")[0][0]) == ERIN): (pid, lines)
          for pid, lines in seen.items()}
    assert set(of) == {(VMM, False), (SERVER, False), (SERVER, True)}, list(of)
    for (name, lent), (_pid, lines) in of.items():
        reached = [line for line in lines if line.startswith("reached")]
        assert reached == [], (name, lent, reached)
        assert words(lines, "interface") == [["lo"]] and words(lines, "processes") == [["1", "0"]], (name, lines)
        assert words(lines, "no_new_privs") == [["1"]] and words(lines, "deeper") == [["0"]], (name, lines)
        assert words(lines, "shared") == [["memory", "0", "0"]], (name, lines)
        tops = {path for path, _kind in words(lines, "top")}
        own = {"/lib", "/lib64", "/usr", "/dev"} | ({"/guest"} if name == VMM else {"/share", "/proc"})
        assert tops <= own, (name, tops)
        limit = {which: int(soft) for which, soft, hard in words(lines, "limit") if soft == hard}
        assert limit["0"] == 0 and limit["2"] == 128 and (name != VMM or limit["1"] == 128), (name, limit)
        ids = [int(n) for n in words(lines, "ids")[0]]
        wanted = (ERIN, GROUP) if lent else (ids[0], ids[0])
        assert ids == [wanted[0]] * 3 + [wanted[1]] * 3 + [0] and (lent or ids[0] >= 2000000000), (name, ids)
        kinds = sorted(kind for _fd, kind in words(lines, "fd"))
        outer = ["fifo", "fifo", "null"]
        assert kinds == sorted(outer + (["listening"] * 7 + ["connected"] * 2 + ["device"] if name == VMM else ["listening"])), (name, kinds)
    capabilities = {key: words(lines, "capabilities")[0] for key, (_pid, lines) in of.items()}
    # virtiofsd drops the rest itself, in its namespace: CAP_SYS_CHROOT and CAP_SETPCAP; of the read-only tree CAP_FOWNER, too.
    assert capabilities == {(VMM, False): ["0", "0", "0", "0"], (SERVER, False): ["40108", "40108", "40108", "3"],
                            (SERVER, True): ["40100", "40100", "40100", "2"]}, capabilities


@vm_state
@no_daemon
def test_the_real_ones(t):
    """The real VMM and file servers run under a system-call filter each, without new privileges; the VMM without any capability."""
    begin(t)
    p = running(t, "--rw", place("file"), "job", "--", "sh", "-c", "echo up; cat")
    assert p.stdout.readline() == "up\n"
    found = {}
    for pid in os.listdir("/proc"):
        try:
            name = open(f"/proc/{pid}/comm").read().strip() if pid.isdigit() else ""
            if name.startswith(("qemu-system", SERVER)):
                found[pid] = name, dict(line.rstrip("\n").split(":\t", 1) for line in open(f"/proc/{pid}/status") if ":\t" in line)
        except OSError:
            continue
    assert len([n for n, _ in found.values() if n.startswith("qemu")]) == 1 and len(found) >= 3, found
    for name, status in found.values():
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", (name, status)
        assert not name.startswith("qemu") or int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, status
    p.communicate("", timeout=60)
