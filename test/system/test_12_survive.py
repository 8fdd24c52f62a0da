# SPDX-License-Identifier: Apache-2.0
"""The row "VMs" of the table "What survives what", cell by cell, with traffic before and after.

The program in the machine holds one connection and makes new ones all the time; for every line the old one brings, and for every new
one, a datagram leaves the computer. They are counted where they arrive: on the uplink.
"""
import os
import re
import signal
import sqlite3
import subprocess
import time

from lab import LAB, build_dir, sh, wait_until
from product import RUN_DIR, STATE_DIR, Lines, environment, processes_named, sekisho, sekisho_json
from run import alone
from test_07_vm import vm_state

BEATS = """
import socket, threading
pause = threading.Event().wait
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def beat(text):
    try: u.sendto(text, ("198.51.100.10", 27015))
    except OSError: pass
def new():
    while True:
        try: socket.create_connection(("198.51.100.10", 80), 2).close(); beat(b"BEAT-new")
        except OSError: pass
        pause(0.2)
s = socket.create_connection(("198.51.100.10", 1234), 20)
s.settimeout(None)
threading.Thread(target=new, daemon=True).start()
print("up", flush=True)
try:
    while s.recv(4096): beat(b"BEAT-old")
except OSError: pass
while True: pause(1)
"""


LAST_WORD = """
import socket, threading
u = socket.create_connection(("198.51.100.10", 1234), 20)
u.recv(4096); print("up", flush=True); threading.Event().wait(6); u.send(b"BEAT-bye"); raise SystemExit(6)
"""


class Machine:
    """`sekisho run` of a program, in the background."""

    def __init__(self, t, name, *argv):
        self.t, self.name = t, name
        for rule in ("1234/tcp", "80/tcp", "27015/udp"):
            t.rule(f"allow {name} to 198.51.100.10 port {rule}")
        t.script.app(name, *t.vm_addresses)
        self.client = subprocess.Popen([f"{build_dir()}/sekisho", "run", name, "--", *argv], env=environment(), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        t.processes.append(self.client)
        first = Lines(self.client.stdout).next(120)
        assert first == "up", (first, self.client.stderr.read() if self.client.poll() is not None else "")
        self.given = self.shown()
        self.pids = processes_named("qemu-system") + processes_named("virtiofsd")

    def shown(self):
        found = [a for a in sekisho_json("ps") if a["app"] == self.name]
        return found[0] if found else None

    def is_the_same(self):
        """The same processes, run, addresses; shown as running."""
        wait_until(lambda: (self.shown() or {}).get("state") == "running", 20, "the application runs")
        now = self.shown()
        for key in ("mac", "ipv4", "ipv6", "run", "port", "started"):
            assert now[key] == self.given[key], f"{key}: {self.given[key]} became {now[key]}"
        assert processes_named("qemu-system") + processes_named("virtiofsd") == self.pids

    def beats(self, kind, after):
        return [at for at, data, _n in self.t.lab.capture.frames() if at > after and b"BEAT-" + kind in data]

    def speaks(self, *kinds, within=40):
        """Each kind of traffic is seen on the uplink from now on."""
        began = time.time()
        for kind in kinds or (b"old", b"new"):
            wait_until(lambda kind=kind: len(self.beats(kind, began)) >= 3, within, f"traffic: {kind}")

    def client_ended(self):
        _out, err = self.client.communicate(timeout=40)
        assert self.client.returncode == 125, (self.client.returncode, err)
        return err.decode()


def survivor(t, name="web"):
    m = Machine(t, name, "python3", "-u", "-c", BEATS)
    m.speaks()
    return m


def gone():
    return sekisho_json("ps") == [] and not processes_named("qemu-system") and not processes_named("virtiofsd")


@vm_state
@alone()
def test_roles(t):
    """gate, names, resolver, desk, switchd killed, one after the other: the machine, its stream and its connections live."""
    m = survivor(t)
    for role in ("gate", "names", "resolver", "desk", "switchd"):
        t.daemon.kill_role(role)
        m.is_the_same()
        m.speaks()
    assert m.client.poll() is None, "the client's stream broke"


@vm_state
@alone()
def test_keeper(t):
    """keeper killed: the client ends with 125, a new keeper takes the machine over; again; its traffic never stops, stop ends it."""
    m = survivor(t)
    t.daemon.kill_role("keeper")
    assert "may still run" in m.client_ended()
    t.daemon.kill_role("keeper")
    m.is_the_same()
    m.speaks()
    log = t.log()
    began = time.monotonic()
    sekisho("stop", "web")
    t.say(f"stop of an adopted machine in {time.monotonic() - began:.2f} s")
    log.find(event="app-stopped", app="web", text="exit status 143")
    wait_until(gone, 20, "the machine is gone")


@vm_state
@alone()
def test_exit_noticed(t):
    """A program that ends by itself after its keeper's death: its status is in the log, the machine goes away."""
    log = t.log()
    m = Machine(t, "short", "sh", "-c", "echo up; dd if=/dev/zero bs=1M count=2; until curl -sf http://198.51.100.10/end; do sleep 0.2; done; exit 5")
    t.daemon.kill_role("keeper")
    m.client_ended()
    with open(f"{LAB}/www/end", "w") as f:  # its sign to end
        f.write("now")
    log.find(event="app-stopped", app="short", text="exit status 5", timeout=60)
    wait_until(gone, 20, "the machine is gone")


@vm_state
@alone()
def test_main(t):
    """main killed, its roles with it: the machine is adopted by the next main; its connections go on; a program's end is noticed."""
    m = survivor(t)
    t.daemon.kill_all()
    assert "runs on" in m.client_ended()
    assert processes_named("qemu-system") + processes_named("virtiofsd") == m.pids
    t.daemon.start()
    t.watch_port()
    m.is_the_same()
    m.speaks()
    uid = {int(re.search(r"^Uid:\s+(\d+)", open(f"/proc/{p}/status").read(), re.M).group(1)) for p in m.pids}
    assert min(uid) >= 1000 and len(uid) == 2, uid
    status, _out, err = sekisho("run", "web", "--", "true", check=False)
    assert status == 125 and "runs already" in err, (status, err)
    sekisho("stop", "web")
    wait_until(gone, 20, "the machine is gone")
    assert not os.listdir(f"{RUN_DIR}/vm"), os.listdir(f"{RUN_DIR}/vm")


@vm_state
@alone()
def test_ended_meanwhile(t):
    """A program that ends while no main runs: the next one says with what status, and the machine goes away."""
    began = time.time()
    m = Machine(t, "short", "python3", "-u", "-c", LAST_WORD)
    t.daemon.kill_all()
    wait_until(lambda: m.beats(b"bye", began), 20, "its last word, within the lease of its connection")
    assert processes_named("qemu-system"), "the machine did not wait for its keeper"
    t.daemon.start()
    wait_until(gone, 20, "the machine is gone")
    stopped = [e for e in sekisho_json("log") if e["event"] == "app-stopped"]
    assert [e.get("text") for e in stopped] == ["exit status 6"], stopped


@vm_state
@alone()
def test_vmm_died_meanwhile(t):
    """A machine whose processes died while no main ran is not looked for under its number: the application has stopped."""
    m = Machine(t, "dead", "sh", "-c", "echo up; sleep 100")
    t.daemon.kill_all()
    for pid in m.pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes_named("qemu-system"), 20, "it is dead")
    t.daemon.start()
    wait_until(gone, 20, "the application has stopped")
    assert not os.listdir(f"{RUN_DIR}/vm"), os.listdir(f"{RUN_DIR}/vm")


@vm_state
@alone()
def test_switch_parts(t):
    """ovs-vswitchd and ovsdb-server killed: the machine lives, its traffic goes on within seconds, its stream was never touched."""
    m = survivor(t)
    for program in ("ovs-vswitchd", "ovsdb-server"):
        old = t.daemon.ovs_pid(program)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda program=program, old=old: t.daemon.ovs_pid(program) != old, 20, f"a new {program}")
        m.speaks(b"new")
        m.is_the_same()
    t.watch_port()
    assert m.client.poll() is None


@vm_state
@alone()
def test_sigterm_stop(t):
    """SIGTERM with on_stop = stop: the machine ends, nothing is left; the next start has no application."""
    m = survivor(t)
    began = time.monotonic()
    assert t.daemon.stop() == 0, t.daemon.tail()
    t.say(f"stopped in {time.monotonic() - began:.2f} s")
    m.client.communicate(timeout=40)
    assert m.client.returncode != 0
    assert not t.daemon.left_behind(), t.daemon.left_behind()
    t.daemon.start()
    assert sekisho_json("ps") == []


@vm_state
@alone(on_stop="keep")
def test_sigterm_keep(t):
    """SIGTERM with on_stop = keep: the machine runs on, cut off; the next start takes it over with its addresses, and it speaks again."""
    m = survivor(t)
    began = time.monotonic()
    assert t.daemon.stop() == 0, t.daemon.tail()
    t.say(f"stopped in {time.monotonic() - began:.2f} s")
    assert "runs on" in m.client_ended()
    assert processes_named("qemu-system") + processes_named("virtiofsd") == m.pids
    assert "sekisho0" not in sh("ip -o link") and not processes_named("ovs-vswitchd")
    quiet = time.time()
    wait_until(lambda: time.time() > quiet + 1, 20, "a second passes")
    assert not m.beats(b"", quiet)
    t.daemon.start()
    t.watch_port()
    m.is_the_same()
    m.speaks(b"new")
    sekisho("stop", "web")
    wait_until(gone, 20, "the machine is gone")


@vm_state
@alone()
def test_other_boot(t):
    """What was written down in another boot of the host is not believed: nothing is adopted, the application has stopped."""
    m = Machine(t, "old", "sh", "-c", "echo up; sleep 100")
    t.rule("allow old to 198.51.100.11 until reboot")
    t.rule("allow old to 198.51.100.12")
    t.daemon.kill_all()
    with open(f"{LAB}/boot_id", "w") as f:
        f.write("01234567-89ab-cdef-0123-456789abcdef\n")
    sh("mount", "--bind", f"{LAB}/boot_id", "/proc/sys/kernel/random/boot_id")
    try:
        t.daemon.start()
        wait_until(gone, 20, "the application has stopped, its machine with it")
        rules = [r["rule"] for r in sekisho_json("rules") if r.get("state", "active") == "active"]
        assert not any("198.51.100.11" in r for r in rules) and any("198.51.100.12" in r for r in rules), rules
        assert m.pids and not os.listdir(f"{RUN_DIR}/vm"), os.listdir(f"{RUN_DIR}/vm")
        t.daemon.stop()
    finally:
        sh("umount", "/proc/sys/kernel/random/boot_id")


@vm_state
@alone()
def test_nobodys(t):
    """A machine that the store does not know any more is killed and said in the log, as is a process that a dead main left half made."""
    m = Machine(t, "lost", "sh", "-c", "echo up; sleep 100")
    t.daemon.kill_all()
    stray = subprocess.Popen(["setpriv", "--reuid", "2000000100", "--regid", "2000000100", "--clear-groups", "--", "sleep", "100"])
    t.processes.append(stray)
    db = sqlite3.connect(f"{STATE_DIR}/store/store.db")
    db.execute("delete from app")
    db.commit()
    db.close()
    t.daemon.start()
    wait_until(gone, 20, "the machine is gone")
    assert stray.wait(20) == -signal.SIGKILL and m.client_ended()
    log = t.daemon.tail()
    assert "is nobody's: killed" in log and f"process {stray.pid} of uid 2000000100" in log, log


@vm_state
@alone()
def test_freeze(t):
    """freeze: nothing comes from the machine any more, and ps says so, also after desk and main died; thaw: it goes on, its stream too."""
    m = survivor(t)
    sekisho("freeze", "web")
    for step in ("", "desk", "keeper", "main"):
        if step == "main":
            t.daemon.kill_all()
            t.daemon.start()
            t.watch_port()
        elif step:
            t.daemon.kill_role(step)
        wait_until(lambda: (m.shown() or {}).get("state") == "frozen", 20, f"frozen after {step or 'freeze'}")
        quiet = time.time()
        wait_until(lambda quiet=quiet: time.time() > quiet + 0.5, 20, "half a second passes")
        assert not m.beats(b"", quiet), step
    sekisho("freeze", "web")  # a second time changes nothing
    sekisho("thaw", "web")
    m.is_the_same()
    m.speaks()
    sekisho("freeze", "web")
    sekisho("stop", "web")
    wait_until(gone, 20, "the machine is gone")
    assert [e["event"] for e in sekisho_json("log") if e["event"] in ("app-frozen", "app-thawed", "app-stopped")] == \
        ["app-frozen", "app-thawed", "app-frozen", "app-stopped"]


def groups(pids):
    """The cgroup v2 of each process; empty where this machine has none."""
    lines = "".join(open(f"/proc/{pid}/cgroup").read() for pid in pids)
    return re.findall(r"^0::(\S+)$", lines, re.M)


@vm_state
@alone()
def test_cgroup(t):
    """A machine's processes share a cgroup of their own, still after main's death, and it goes with them."""
    m = Machine(t, "grouped", "sh", "-c", "echo up; sleep 100")
    of_main = groups([t.daemon.process.pid])
    found = set(groups(m.pids))
    if "no cgroup can be made" in sekisho("doctor", check=False)[1]:
        t.say("this machine has no writable cgroup v2")
        assert found == set(of_main)
        return
    assert len(found) == 1 and "/sekisho-vm-" in min(found) and found != set(of_main), (found, of_main)
    folder = [line.split()[1] for line in open("/proc/mounts") if line.split()[2] == "cgroup2"][0] + min(found)
    assert os.path.isdir(folder)
    t.daemon.kill_all()
    t.daemon.start()
    m.is_the_same()
    assert set(groups(m.pids)) == found
    sekisho("stop", "grouped")
    wait_until(lambda: gone() and not os.path.exists(folder), 20, "the cgroup is gone")


@vm_state
@alone()
def test_no_cgroup(t):
    """Where no cgroup can be made a machine runs all the same; the log and doctor say so."""
    mounts = [line.split()[1] for line in open("/proc/mounts") if line.split()[2] == "cgroup2"]
    for folder in mounts:
        sh("mount", "-t", "tmpfs", "-o", "ro", "none", folder)
    try:
        Machine(t, "plain", "sh", "-c", "echo up; sleep 100")
        assert "without a cgroup of their own" in t.daemon.tail()
        assert "no cgroup can be made" in sekisho("doctor", check=False)[1]
        sekisho("stop", "plain")
        wait_until(gone, 20, "the machine is gone")
    finally:
        for folder in mounts:
            sh("umount", folder)
