# SPDX-License-Identifier: Apache-2.0
"""The lab: an uplink, an internet with real servers behind it, and a capture of every frame that leaves.

Runs inside a sandbox (sandbox.py); the sandbox's own network namespace is the host on which sekishod runs:

    apps: namespace app-NAME --veth--  [ host: sekishod ]  --up0====rt-up--  [ namespace net: router, nsd, nginx, servers ]
                                                                  ^ every frame that comes in here is captured
"""
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import time

import sandbox
import witness
import zones

LAB = "/run/lab"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
HERE = os.path.dirname(os.path.abspath(__file__))


class LabError(Exception):
    pass


def sh(*argv, check=True, ns=None, text=None, timeout=30):
    """Runs a program to its end; its output. A failure carries what it said."""
    if len(argv) == 1:
        argv = argv[0].split()
    p = subprocess.run(argv, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
                       preexec_fn=(lambda: sandbox.setns_net(ns)) if ns else None)
    if check and p.returncode != 0:
        raise LabError(f"{' '.join(argv)}: status {p.returncode}: {p.stdout.strip()}")
    return p.stdout


def spawn(argv, ns=None, **keywords):
    def child():
        if ns:
            sandbox.setns_net(ns)
    return subprocess.Popen(argv, preexec_fn=child, **keywords)


def wait_until(condition, timeout, what, every=0.02):
    """Polls a condition that has no event to wait for; its value, or LabError at the time limit."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"not within {timeout} s: {what}")
        select.select([], [], [], every)


class Capture:
    """tcpdump on one interface, frames coming in, with markers that prove how far the file reaches."""

    def __init__(self, interface, path, ns=None, direction="in"):
        self.interface, self.path, self.ns = interface, path, ns
        self.log = open(path + ".log", "w+")
        if os.path.exists(path):
            os.unlink(path)
        self.process = spawn(["tcpdump", "-i", interface, "-Q", direction, "-n", "-U", "--immediate-mode", "-s", "600", "-B", "65536",
                              "--time-stamp-precision=nano", "-Z", "root", "-w", path], ns=ns, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=self.log)
        self.taken, self.offset, self.header = [], 0, b""
        wait_until(self.listening, 10, f"tcpdump on {interface}")

    def listening(self):
        if self.process.poll() is not None:
            raise LabError(f"tcpdump on {self.interface} ended: {open(self.path + '.log').read()}")
        return "listening on" in open(self.path + ".log").read()

    def frames(self):
        """All frames so far. Reads only what is new in the file."""
        with open(self.path, "rb") as f:
            if not self.header:
                self.header = f.read(24)
                if len(self.header) < 24:
                    self.header = b""
                    return self.taken
                self.offset = 24
            f.seek(self.offset)
            data = f.read()
        for t, frame, length in witness.read_pcap(self.header + data):
            self.taken.append((t, frame, length))
            self.offset += 16 + len(frame)
        return self.taken

    def has(self, mark):
        return any(mark in frame for _t, frame, _n in reversed(self.frames()) if frame[12:14] == b"\x88\xb5")

    def stop(self):
        """Ends and flushes; LabError when the kernel dropped frames, since then nothing is proved."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(10)
        said = open(self.path + ".log").read()
        if " 0 packets dropped by kernel" not in said.replace("\n", " ") and "disappeared" not in said:
            raise LabError(f"the capture on {self.interface} lost frames: {said}")
        return self.frames()


class Lab:
    def __init__(self):
        self.nonce = os.urandom(16)
        self.marks = 0
        self.children = []
        self.capture = None

    # --- up and down ---------------------------------------------------------------------------------------------------------------
    def up(self):
        self.make_links()
        self.make_certificates()
        self.start_nsd()
        self.start_nginx()
        self.start_servers()
        self.capture = Capture("rt-up", f"{LAB}/uplink.pcap", ns="net")
        self.mark()
        return self

    def down(self):
        if self.capture:
            self.capture.stop()
            self.capture = None
        for p in self.children:
            p.terminate()
        for p in self.children:
            p.wait(10)
        for name in ("nsd", "nginx"):
            try:
                os.kill(int(open(f"{LAB}/{name}.pid").read()), signal.SIGTERM)
            except (OSError, ValueError):
                pass
        sh("ip link del up0", check=False)
        sh("ip link del up1", check=False)
        sh("ip netns del net", check=False)

    def make_links(self):
        sh("ip link set lo up")
        sh("ip netns add net")
        sh("ip link add up0 type veth peer name rt-up netns net")
        for ns, link, v4, v6 in ((None, "up0", zones.HOST4, zones.HOST6), ("net", "rt-up", zones.ROUTER4, zones.ROUTER6)):
            sh(f"ip link set {link} up", ns=ns)
            sh(f"ip addr add {v4}/24 dev {link}", ns=ns)
            sh(f"ip addr add {v6}/64 dev {link} nodad", ns=ns)
        sh("ip link add up1 type veth peer name rt-up1 netns net")
        for address in (f"{zones.PORT_ROUTER4}/26", f"{zones.PORT_LAN4}/26", f"{zones.PORT_ROUTER6}/64 nodad"):
            words = address.split()
            sh("ip", "addr", "add", words[0], "dev", "rt-up1", *words[1:], ns="net")
        sh("ip link set rt-up1 up", ns="net")
        sh("sysctl -qw net.ipv6.conf.up1.disable_ipv6=1")
        sh(f"ip route add default via {zones.ROUTER4}")
        sh(f"ip -6 route add default via {zones.ROUTER6}")
        sh("ip link set lo up", ns="net")
        sh(f"ip addr add {zones.LAN4}/24 dev rt-up", ns="net")
        sh(f"ip addr add {zones.LAN6}/64 dev rt-up nodad", ns="net")
        batch = "".join(f"addr add {a}/{128 if ':' in a else 32} dev lo\n" for a in zones.every_address())
        batch += "addr add 198.51.100.30/32 dev lo\naddr add 198.51.100.18/32 dev lo\n" if "198.51.100.18" not in batch \
            else "addr add 198.51.100.30/32 dev lo\n"
        batch += "".join(f"route add blackhole {a}\n" for a in zones.SILENT)
        sh("ip", "-force", "-batch", "-", ns="net", text=batch)
        sh("ip -6 route add unreachable 2001:db8:dead::/48", ns="net")

    def make_certificates(self):
        ca, key, cert = f"{LAB}/ca.pem", f"{LAB}/server.key", f"{LAB}/server.pem"
        sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
           "/CN=Lab authority", "-keyout", f"{LAB}/ca.key", "-out", ca)
        names = ",".join(f"DNS:{n}" for n in [*zones.ZONES, *(f"*.{z}" for z in zones.ZONES), "*.wild.example.org"])
        with open(f"{LAB}/san.cnf", "w") as f:
            f.write(f"subjectAltName={names}\n")
        sh("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=lab", "-keyout", key, "-out",
           f"{LAB}/server.csr")
        sh("openssl", "x509", "-req", "-in", f"{LAB}/server.csr", "-CA", ca, "-CAkey", f"{LAB}/ca.key", "-CAcreateserial", "-days", "2",
           "-extfile", f"{LAB}/san.cnf", "-out", cert)
        os.makedirs(os.path.dirname(CA_BUNDLE), exist_ok=True)
        with open(ca) as f, open(CA_BUNDLE, "a") as bundle:  # /etc is a copy of ours
            bundle.write(f.read())

    def start_nsd(self):
        text = [f"server:\n  ip-address: {zones.DNS4}\n  ip-address: {zones.DNS6}\n  ip-address: 203.0.113.66\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{LAB}\"\n"
                f"  database: \"\"\n  pidfile: \"{LAB}/nsd.pid\"\n  zonelistfile: \"{LAB}/nsd.zones\"\n  xfrdfile: \"{LAB}/nsd.xfrd\"\n"
                f"  xfrdir: \"{LAB}\"\n  logfile: \"{LAB}/nsd.log\"\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n"]
        for zone in zones.ZONES:
            with open(f"{LAB}/{zone}.zone", "w") as f:
                f.write(zones.zone_text(zone))
            text.append(f"zone:\n  name: {zone}\n  zonefile: {zone}.zone\n")
        with open(f"{LAB}/nsd.conf", "w") as f:
            f.write("".join(text))
        sh("nsd", "-c", f"{LAB}/nsd.conf", ns="net")
        wait_until(lambda: self.ask_nsd("www.example.org"), 10, "nsd answers")

    @staticmethod
    def ask_nsd(name):
        query = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0\0\1\0\1"
        s = subprocess.run(["python3", "-c", "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(0.5)\n"
                            f"s.sendto(bytes.fromhex('{query.hex()}'),('{zones.DNS4}',53));d=s.recv(512)\n"
                            "sys.exit(0 if d[3]&15==0 and d[7] else 1)"], preexec_fn=lambda: sandbox.setns_net("net"),
                           stderr=subprocess.DEVNULL)
        return s.returncode == 0

    def start_nginx(self):
        root = f"{LAB}/www"
        os.makedirs(root)
        for name, size in (("big", 1 << 30), ("slow", 1 << 30), ("small", 1000)):
            with open(f"{root}/{name}", "w") as f:
                f.truncate(size)
        with open(f"{root}/index.html", "w") as f:
            f.write("Welcome to the lab.\n")
        temp = "".join(f"  {kind}_temp_path {LAB}/nginx-{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(f"{LAB}/nginx.conf", "w") as f:
            f.write(f"user root;\nworker_processes 1;\npid {LAB}/nginx.pid;\nerror_log {LAB}/nginx.err;\nevents {{ worker_connections 1024; }}\n"
                    f"http {{\n{temp}  access_log {LAB}/nginx.access;\n  sendfile on;\n  default_type text/plain;\n  server {{\n"
                    "    listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;\n"
                    f"    ssl_certificate {LAB}/server.pem; ssl_certificate_key {LAB}/server.key;\n    root {root};\n"
                    "    location = /moved { return 302 https://www.example.org/list; } location = /plain { return 302 http://www.example.org/list; }\n"
                    "    location = /round { return 302 /round; }\n"
                    "    location = /drip { limit_rate 30; }\n"
                    "    location = /slow { limit_rate 200k; }\n    location = /where { return 200 \"$host $server_addr $remote_addr\\n\"; }\n"
                    "  }\n}\n")
        sh("nginx", "-c", f"{LAB}/nginx.conf", "-e", f"{LAB}/nginx.err", ns="net")

    def start_servers(self):
        p = spawn(["python3", "-B", f"{HERE}/servers.py"], ns="net", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                  stderr=open(f"{LAB}/servers.log", "w"))
        self.children.append(p)
        if p.stdout.readline() != b"ready\n":
            raise LabError(f"the lab's servers did not start: {open(f'{LAB}/servers.log').read()}")

    # --- the witness ---------------------------------------------------------------------------------------------------------------
    def mark(self, capture=None, interface="up0"):
        """Sends a marker frame over the uplink and waits until the capture holds it: all that left before is in the file."""
        capture = capture or self.capture
        self.marks += 1
        mark = self.nonce + struct.pack("!I", self.marks)

        def sent_and_seen():
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            s.bind((interface, 0))
            s.send(b"\2\0\0\0\0\1" + b"\2\0\0\0\0\2" + struct.pack("!H", witness.MARKER_TYPE) + mark + bytes(40))
            s.close()
            return wait_until(lambda: capture.has(mark), 5, "marker in the capture", every=0.005)
        for attempt in range(5):
            try:
                sent_and_seen()
                return mark
            except LabError:
                if attempt == 4:
                    raise
        return mark

    def script(self):
        return witness.Script(self.nonce, resolver=(zones.DNS4, zones.DNS6), segment=zones.SEGMENT + zones.PORT_SEGMENT, host=(zones.HOST4, zones.HOST6))

    # --- namespaces ----------------------------------------------------------------------------------------------------------------
    def namespace(self, name):
        """A namespace `app-NAME` with eth0; the other end, on the host, is `v-NAME`, bare and down."""
        ns, port = f"app-{name}", f"v-{name}"
        if len(port) > 15:
            raise LabError(f"{port}: longer than an interface name")
        sh(f"ip netns add {ns}")
        sh(f"ip link set lo up", ns=ns)
        sh(f"ip link add {port} type veth peer name eth0 netns {ns}")
        # The tests speak for the app; its kernel says nothing of itself.
        sh("sysctl", "-qw", "net.ipv6.conf.all.accept_ra=0", "net.ipv6.conf.eth0.accept_ra=0", "net.ipv6.conf.eth0.router_solicitations=0",
           "net.ipv4.tcp_syn_retries=6", ns=ns)
        with open(f"{LAB}/resolv.{name}", "w") as f:
            f.write("nameserver 192.0.2.254\noptions timeout:2 attempts:2\n")
        return ns, port

    @staticmethod
    def namespaces():
        """The names of those that namespace() made."""
        return [n[len("app-"):] for n in os.listdir("/run/netns") if n.startswith("app-")]

    def remove_namespace(self, name):
        for pid in sh(f"ip netns pids app-{name}", check=False).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except (OSError, ValueError):
                pass
        sh(f"ip link del v-{name}", check=False)
        sh(f"ip netns del app-{name}", check=False)
        try:
            os.unlink(f"{LAB}/resolv.{name}")
        except OSError:
            pass


class Inside:
    """Programs and sockets inside one namespace, with a resolv.conf of its own."""

    def __init__(self, ns, resolv=None):
        self.ns, self.resolv = ns, resolv

    def enter(self):
        if self.ns:
            sandbox.setns_net(self.ns)
        if self.resolv:
            sandbox.private_resolv_conf(self.resolv)

    def start(self, argv, **keywords):
        keywords.setdefault("stdin", subprocess.DEVNULL)
        keywords.setdefault("stdout", subprocess.PIPE)
        keywords.setdefault("stderr", subprocess.STDOUT)
        return subprocess.Popen(argv, preexec_fn=self.enter, text=True, **keywords)

    def run(self, *argv, timeout=30):
        """-> (exit status, everything it said, seconds). 124 when the time limit came first."""
        if len(argv) == 1:
            argv = argv[0].split()
        began = time.monotonic()
        p = self.start(argv)
        try:
            out, _ = p.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            p.kill()
            out, _ = p.communicate()
            return 124, out, time.monotonic() - began
        return p.returncode, out, time.monotonic() - began

    def curl(self, url, *more, timeout=20):
        return self.run("curl", "-sS", "--max-time", str(timeout), *more, url, timeout=timeout + 5)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        """A socket of that namespace, made by a short visit there."""
        return self.visit(lambda: socket.socket(family, kind, protocol))

    def raw(self, interface="eth0"):
        def make():
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            s.bind((interface, 0))
            return s
        return self.visit(make)

    def visit(self, function):
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if self.ns:
                sandbox.setns_net(self.ns)
            return function()
        finally:
            sandbox._check(sandbox.LIBC.setns(home, sandbox.CLONE_NEWNET), "come home")
            os.close(home)


def build_dir():
    return os.environ.get("SEKISHO_BUILD") or os.path.join(os.path.dirname(os.path.dirname(HERE)), "build")


def keep(folder, name):
    """Copies what tells why a test failed to test-artefacts/NAME."""
    target = os.path.join(folder, name)
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    for entry in os.listdir(LAB):
        path = os.path.join(LAB, entry)
        if os.path.isfile(path) and os.path.getsize(path) < 64 << 20:
            shutil.copy(path, target)
    return target
