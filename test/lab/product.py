# SPDX-License-Identifier: Apache-2.0
"""The product as a test sees it: the daemon's processes, the command line, an agent that answers questions, attached apps."""
import datetime
import json
import os
import re
import select
import signal
import socket
import subprocess
import time

import zones
from lab import LAB, Inside, LabError, build_dir, sh, wait_until

RUN_DIR, STATE_DIR, POLICY_DIR, APPS_DIR = "/run/sekisho", f"{LAB}/state", f"{LAB}/policy.d", f"{LAB}/apps"
LOG = f"{LAB}/sekishod.log"
ROLES = ("switchd", "gate", "names", "resolver", "desk")


class Lines:
    """Whole lines of a pipe, with a time limit instead of a thread."""

    def __init__(self, pipe):
        self.fd, self.rest, self.ready, self.ended = pipe.fileno(), b"", [], False
        os.set_blocking(self.fd, False)

    def fill(self, timeout):
        if self.ended or not select.select([self.fd], [], [], max(0, timeout))[0]:
            return
        data = os.read(self.fd, 65536)
        self.ended = not data
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.ready.extend(line.decode() for line in lines)

    def next(self, timeout):
        """The next line, or None."""
        end = time.monotonic() + timeout
        while not self.ready and not self.ended and time.monotonic() < end:
            self.fill(end - time.monotonic())
        return self.ready.pop(0) if self.ready else None


def whole_run_settings():
    """SEKISHO_LAB_SETTINGS="key=value …": for runs of the same tests on another switch or VMM."""
    return dict(word.split("=", 1) for word in os.environ.get("SEKISHO_LAB_SETTINGS", "").split())


class Daemon:
    def __init__(self, **settings):
        self.settings = {"run_dir": RUN_DIR, "state_dir": STATE_DIR, "policy_dir": POLICY_DIR, "apps_dir": APPS_DIR,
                         "switch": "private", "uplink": "nat", "resolver": f"forward:{zones.DNS4}", "dnssec": "off", **whole_run_settings(), **settings}
        self.conf = f"{LAB}/sekishod.conf"
        self.process = None
        self.log_begin = os.path.getsize(LOG) if os.path.exists(LOG) else 0  # the lines before are of another test's daemon
        self.prefix = []  # words before the daemon's own: another clock, another limit
        self.starts = 0

    def write_conf(self, text=None):
        with open(self.conf, "w") as f:
            f.write(text if text is not None else "".join(f"{k} = {v}\n" for k, v in self.settings.items()))

    def start(self, timeout=150, text=None):
        self.write_conf(text)
        os.makedirs(POLICY_DIR, exist_ok=True)
        kernel = f"{build_dir()}/guest/kernel"  # fetched beforehand by data/fetch-guest-kernel: there is no network here
        if os.path.isdir(kernel) and not os.path.exists(f"{STATE_DIR}/kernel"):
            os.makedirs(STATE_DIR, exist_ok=True)
            sh("cp", "-r", kernel, f"{STATE_DIR}/kernel")
        path = f"{LAB}/notify"
        if os.path.exists(path):
            os.unlink(path)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(path)
        self.log = open(LOG, "a")
        self.starts += 1
        self.process = subprocess.Popen([*self.prefix, f"{build_dir()}/sekishod", "--config", self.conf], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, env={**os.environ, "NOTIFY_SOCKET": path})
        end = time.monotonic() + timeout
        try:
            while time.monotonic() < end:
                if select.select([notify], [], [], 0.1)[0] and b"READY=1" in notify.recv(4096).split(b"\n"):
                    return self
                if self.process.poll() is not None:
                    raise LabError(f"sekishod ended with status {self.process.returncode}: {self.tail()}")
        finally:
            notify.close()
            os.unlink(path)
        raise LabError(f"sekishod not ready within {timeout} s: {self.tail()}")

    def said(self):
        """The lines of its log, of every start."""
        with open(LOG) as f:
            f.seek(self.log_begin)
            return f.readlines()

    def tail(self, n=15):
        return "".join(self.said()[-n:])

    def count(self, words):
        """How many lines of the log hold these words."""
        return sum(words in line for line in self.said())

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout=40):
        if not self.running():
            return self.process.returncode if self.process else None
        self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
            raise LabError(f"sekishod did not stop within {timeout} s: {self.tail()}") from None

    def kill_all(self):
        """kill -9 of main; its roles end because their channel ends."""
        self.process.kill()
        self.process.wait(20)

    def role_pids(self, role):
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    words = open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0")
                    state = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()[0]
                except OSError:
                    continue
                if words[1:3] == [b"--role", role.encode()] and state != "Z":
                    found.append(int(entry))
        return found

    def kill_role(self, role):
        """kill -9; returns when another process has taken the role."""
        before = self.role_pids(role)
        if not before:
            raise LabError(f"no process has the role {role}")
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        return wait_until(lambda: [p for p in self.role_pids(role) if p not in before], 30, f"{role} runs again: {self.tail()}")

    def ovs_pid(self, program):
        return int(open(f"{RUN_DIR}/ovs/{program}.pid").read())

    def ofctl(self, command, *args, check=True):
        bridge = self.settings.get("bridge", "sekisho0")
        return sh("ovs-ofctl", "-O", "OpenFlow15", command, f"unix:{RUN_DIR}/ovs/{bridge}.mgmt", *args, check=check)

    def appctl(self, *args):
        return sh("ovs-appctl", "-t", f"{RUN_DIR}/ovs/ovs-vswitchd.{self.ovs_pid('ovs-vswitchd')}.ctl", *args)

    def packet_ins(self):
        """How many packets the switch has handed to gate as questions, since vswitchd started."""
        return sum(int(n) for n in re.findall(r"n_packets=(\d+)", self.ofctl("dump-flows", "table=51")))

    def left_behind(self):
        """What a stopped daemon must not leave: a list of words, empty when all is gone."""
        found = []
        for line in sh("ip -o link").splitlines():
            name = line.split(":")[1].strip().split("@")[0]
            if name not in ("lo", "up0", "up1") and not name.startswith("v-"):
                found.append(f"link {name}")
        if "sekisho" in sh("nft list tables", check=False):
            found.append("nft table sekisho")
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    words = open(f"/proc/{entry}/cmdline", "rb").read().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                if re.match(r"\S*(sekishod|ovs-vswitchd|ovsdb-server|qemu-system|virtiofsd|firecracker|sekisho-bridge)\b", words):
                    found.append(f"process {words[:60]}")
        for folder, _dirs, files in os.walk(RUN_DIR):
            found.extend(f"file {os.path.join(folder, f)}" for f in files if f != "lock")
        return found


def environment():
    return {**os.environ, "SEKISHO_SOCKET": f"{RUN_DIR}/api", "NO_COLOR": "1", "PATH": f"{build_dir()}:{os.environ['PATH']}"}


def sekisho(*words, check=True, timeout=30, text=None, user=None):
    """The command line. -> what it printed on stdout (check), or (status, stdout, stderr)."""
    argv = [f"{build_dir()}/sekisho", *words]
    if user is not None:
        argv = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--", *argv]
    try:
        p = subprocess.run(argv, input=text, stdin=None if text is not None else subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=timeout, env=environment())
    except subprocess.TimeoutExpired:
        raise LabError(f"sekisho {' '.join(words)}: no end within {timeout} s") from None
    if not check:
        return p.returncode, p.stdout, p.stderr
    if p.returncode != 0:
        raise LabError(f"sekisho {' '.join(words)}: status {p.returncode}: {p.stderr.strip() or p.stdout.strip()}")
    return p.stdout


def status():
    """What Admin.Status says."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{RUN_DIR}/api")
        s.sendall(b'{"method":"org.sekisho.Admin.Status"}\0')
        data = b""
        while not data.endswith(b"\0"):
            part = s.recv(65536)
            assert part, "the daemon closed the connection"
            data += part
    return json.loads(data[:-1])["parameters"]


def sekisho_json(*words, **more):
    return [json.loads(line) for line in sekisho(*words, "--json", **more).splitlines() if line.strip()]


class Agent:
    """`sekisho ask --json`, driven as surface.md says."""

    def __init__(self, *options):
        self.errors = open(f"{LAB}/agent.log", "a")
        self.process = subprocess.Popen([f"{build_dir()}/sekisho", "ask", "--json", *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, env=environment())
        self.lines = Lines(self.process.stdout)
        self.waiting = []

    def event(self, timeout):
        line = self.lines.next(timeout)
        return json.loads(line) if line is not None else None

    def expect(self, kind, timeout=20, **members):
        """The next event of that kind whose members are these; others wait for a later call."""
        end = time.monotonic() + timeout
        kept = 0
        while True:
            if kept < len(self.waiting):
                e = self.waiting[kept]
            else:
                e = self.event(end - time.monotonic())
                if e is None:
                    state = "" if self.process.poll() is None else f" (the agent ended: {self.process.returncode})"
                    raise LabError(f"no {kind} {members} within {timeout} s{state}; seen: {self.waiting}")
                self.waiting.append(e)
            if e["event"] == kind and all(e.get(k) == v for k, v in members.items()):
                return self.waiting.pop(kept)
            kept += 1

    def question(self, timeout=20, **members):
        return self.expect("question", timeout, **members)

    def quiet(self, seconds):
        """No question within this time."""
        try:
            q = self.expect("question", seconds)
        except LabError:
            return
        raise AssertionError(f"a question that nobody should have asked: {q}")

    def send(self, **members):
        self.process.stdin.write(json.dumps(members).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, question, rule):
        self.send(id=question["id"], digest=question["digest"], rule=rule)
        result = self.expect("result", id=question["id"])
        if not result["ok"]:
            raise LabError(f"answer refused: {result}")
        return result

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(30)
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


class App(Inside):
    """An application without a VM: a namespace whose veth is attached."""

    def __init__(self, the_lab, name, options=()):
        self.lab, self.name = the_lab, name
        ns, self.port = the_lab.namespace(name)
        super().__init__(ns, f"{LAB}/resolv.{name}")
        self.attach(options)

    def attach(self, options=()):
        given = sekisho_json("attach", self.name, "--port", self.port, *options)[0]
        self.given = given
        self.mac, self.ipv4, self.ipv6 = given["mac"], given["ipv4"], given["ipv6"]
        self.gateway4, self.gateway6 = given["ipv4_gateway"], given["ipv6_gateway"]
        self.configure()

    def configure(self):
        g, ns = self.given, self.ns
        batch = [f"link set eth0 address {g['mac']}", "link set eth0 up", f"addr replace {g['ipv4']}/{g['ipv4_prefix']} dev eth0",
                 f"route replace {g['ipv4_gateway']} dev eth0", f"route replace default via {g['ipv4_gateway']} dev eth0 onlink",
                 f"addr replace {g['ipv6']}/{g['ipv6_prefix']} dev eth0 nodad"]
        if not g["ipv6_gateway"].startswith("fe80"):
            batch.append(f"-6 route replace {g['ipv6_gateway']} dev eth0")
        sh("ip", "-batch", "-", ns=ns, text="\n".join(b for b in batch if not b.startswith("-6")) + "\n")
        for b in batch:
            if b.startswith("-6"):
                sh(f"ip {b}", ns=ns)
        sh(f"ip -6 route replace default via {g['ipv6_gateway']} dev eth0 onlink", ns=ns)
        # Written in place: the file is bind-mounted where programs of the app already run.
        with open(self.resolv, "r+") as f:
            f.truncate()
            f.write("".join(f"nameserver {d}\n" for d in g["dns"][:1]) + "options timeout:2 attempts:2\n")

    def gateway_mac(self):
        """Learned by ARP, as any guest does."""
        def known():
            for line in sh(f"ip neigh show {self.gateway4} dev eth0", ns=self.ns).splitlines():
                found = re.search(r"lladdr (\S+)", line)
                if found:
                    return bytes.fromhex(found.group(1).replace(":", ""))
            def poke():
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                try:
                    s.sendto(b"", (self.gateway4, 9))
                except OSError:
                    pass
                s.close()
            self.visit(poke)
            return None
        return wait_until(known, 15, "the gateway answers ARP", every=0.1)

    def resolve(self, name, family="A"):
        """Asks the app's name server; -> (rcode, [addresses])."""
        return self.visit(lambda: dns_ask(self.given["dns"][0], name, family))

    def detach(self):
        sekisho("detach", self.name, check=False)


DNS_TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "NULL": 10, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "HTTPS": 65, "ANY": 255}


def dns_query(name, family="A", ident=0x4242):
    labels = b"".join(bytes([len(x)]) + x for x in name.encode().split(b".") if x)
    return ident.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + DNS_TYPES[family].to_bytes(2, "big") + b"\0\1"


def dns_answer(data):
    """-> (rcode, addresses of the A and AAAA records)."""
    rcode, n, at = data[3] & 15, int.from_bytes(data[6:8], "big"), 12

    def skip_name(at):
        while data[at]:
            if data[at] & 0xc0 == 0xc0:
                return at + 2
            at += 1 + data[at]
        return at + 1
    at = skip_name(at) + 4
    found = []
    for _ in range(n):
        at = skip_name(at)
        kind, size = int.from_bytes(data[at:at + 2], "big"), int.from_bytes(data[at + 8:at + 10], "big")
        rdata = data[at + 10:at + 10 + size]
        if kind == 1:
            found.append(socket.inet_ntop(socket.AF_INET, rdata))
        if kind == 28:
            found.append(socket.inet_ntop(socket.AF_INET6, rdata))
        at += 10 + size
    return rcode, found


def dns_ask(server, name, family="A", timeout=3, tries=4):
    s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(timeout)
    try:
        for attempt in range(tries):
            s.sendto(dns_query(name, family), (server, 53))
            try:
                return dns_answer(s.recv(4096))
            except TimeoutError:
                continue
    finally:
        s.close()
    return None, []


class Log:
    """`sekisho log -f --json`, followed from now on; into a file, so that a test that looks late has not been a slow reader."""
    count = 0

    def __init__(self, since=None):
        self.since = time.time() if since is None else since  # the program begins with lines of before
        Log.count += 1
        path = f"{LAB}/log.{Log.count}"
        with open(path, "w") as out:
            self.process = subprocess.Popen([f"{build_dir()}/sekisho", "log", "--json", "-f"], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT, env=environment())
        self.file, self.seen, self.rest = open(path), [], ""

    def more(self):
        *lines, self.rest = (self.rest + self.file.read()).split("\n")
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        self.seen.extend(e for e in entries if datetime.datetime.fromisoformat(e["time"]).timestamp() >= self.since - 0.001)

    def find(self, predicate=None, timeout=20, **members):
        """The first entry, seen or to come, that fits; LabError after the time limit."""
        at = 0

        def fits():
            nonlocal at
            self.more()
            while at < len(self.seen):
                e = self.seen[at]
                at += 1
                if all(e.get(k) == v for k, v in members.items()) and (predicate is None or predicate(e)):
                    return e
            return None
        try:
            return wait_until(fits, timeout, f"an entry in the log: {members}")
        except LabError as e:
            raise LabError(f"{e}; {len(self.seen)} seen, the last: {self.seen[-4:]}") from None

    def close(self):
        self.process.kill()
        self.process.wait()
        self.file.close()


def processes_named(prefix):
    """Process ids whose program's base name begins so; zombies left out."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                word = os.path.basename(open(f"/proc/{entry}/cmdline", "rb").read().split(b"\0")[0].decode())
                before, after = open(f"/proc/{entry}/stat").read().rsplit(")", 1)
                state = after.split()[0]
                # One that is ending has given its memory back, and its words with it, before its sockets.
                word = word or before.split("(", 1)[1]
            except OSError:
                continue
            if word.startswith(prefix) and state != "Z":
                found.append(int(entry))
    return found
