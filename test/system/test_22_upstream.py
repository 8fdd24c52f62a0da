# SPDX-License-Identifier: Apache-2.0
"""What the resolver asks upstream: the host's name servers as they change, signatures as `dnssec` says."""
import os
import re
import signal
import time

import sandbox
import witness
import zones
from lab import LAB, sh, wait_until
from product import processes_named
from run import no_daemon

WEB4 = "198.51.100.10"


def resolv_conf(address):
    """As a DHCP client writes it: another file takes the name."""
    with open("/etc/resolv.conf.new", "w") as f:
        f.write(f"nameserver {address}\n")
    os.rename("/etc/resolv.conf.new", "/etc/resolv.conf")


@no_daemon
def test_resolv_conf_changes(t):
    """resolver = system: another nameserver line is followed at once, live connections and rules untouched."""
    resolv_conf(zones.DNS4)
    t.new_daemon(resolver="system").start()
    t.watch_port()
    app = t.app("web")
    t.rule("allow web to *.example.org port 80/tcp")
    t.script.permit_lookup(time.time(), "files.example.org", "cdn-a.example.org")
    since = len(t.lab.capture.frames())  # earlier tests may have asked for the same names

    def asked(name, server):
        found = [witness.Packet(*f) for f in t.lab.capture.frames()[since:] if name in f[1]]
        return any(str(p.dst) == server and p.dport == 53 for p in found)
    assert app.resolve("files.example.org")[1]
    wait_until(lambda: asked(b"\x05files", zones.DNS4), 20, "the first server is asked")
    resolver = t.daemon.role_pids("resolver")
    resolv_conf(zones.DNS6)
    # The old one may still be there, and answer, when the new one is.
    wait_until(lambda: t.daemon.role_pids("resolver") and not set(t.daemon.role_pids("resolver")) & set(resolver), 20, "a new resolver alone")
    wait_until(lambda: app.resolve("cdn-a.example.org")[1], 20, "names resolve again")
    wait_until(lambda: asked(b"\x05cdn-a", zones.DNS6), 20, "the second server is asked")
    assert not asked(b"\x05cdn-a", zones.DNS4)
    again = t.daemon.role_pids("resolver")
    resolv_conf(zones.DNS6)
    assert app.resolve("files.example.org")[1] and t.daemon.role_pids("resolver") == again, "the same text is no change"


FOLDER = f"{LAB}/signed"
CHILDREN = {"signed.example": True, "bogus.example": True, "plain.example": False}
NAMES = [f"www.{zone}" for zone in CHILDREN]


def zone_text(origin, *more):
    return "\n".join([f"$ORIGIN {origin}", "$TTL 300", f"@ SOA ns.root. host.root. 1 3600 600 86400 300", "@ NS ns.root.", *more]) + "\n"


def sign(origin, text):
    """-> (the signed zone, its DS line)"""
    name = origin.rstrip(".") or "root"
    path = f"{FOLDER}/{name}.zone"
    with open(path, "w") as f:
        f.write(text)
    key = sh("env", "-C", FOLDER, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", origin).strip()
    sh("ldns-signzone", "-f", f"{path}.signed", "-o", origin, path, f"{FOLDER}/{key}")
    ds = sh("ldns-key2ds", "-n", "-2", f"{FOLDER}/{key}.key").strip()
    return open(f"{path}.signed").read(), ds


def signed_internet():
    """A root of our own with a signed zone, one whose record was changed behind its signature, and an unsigned one."""
    os.makedirs(FOLDER)
    delegations = []
    for zone, is_signed in CHILDREN.items():
        text = zone_text(f"{zone}.", f"www A {WEB4}")
        delegations.append(f"{zone}. NS ns.root.")
        if is_signed:
            text, ds = sign(f"{zone}.", text)
            delegations.append(ds)
        if zone == "bogus.example":
            assert re.search(rf"\sA\s+{WEB4}\b", text), text
            text = re.sub(rf"(\sA\s+){WEB4}\b", r"\g<1>198.51.100.11", text)
        with open(f"{FOLDER}/{zone}", "w") as f:
            f.write(text)
    root, anchor = sign(".", zone_text(".", f"ns.root. A {zones.DNS4}", *delegations))
    with open(f"{FOLDER}/root", "w") as f:
        f.write(root)
    with open(f"{FOLDER}/root.ds", "w") as f:
        f.write(anchor + "\n")


class SignedServer:
    """Takes the place of the lab's name server, and the root's keys of the computer are those of our root."""

    def __init__(self, t):
        self.t = t

    def swap(self, conf, name):
        os.kill(int(open(f"{LAB}/nsd.pid").read()), signal.SIGTERM)
        wait_until(lambda: not processes_named("nsd"), 20, "the name server ends")  # its children hold the port longer than it does
        sh("nsd", "-c", conf, ns="net")
        wait_until(lambda: self.t.lab.ask_nsd(name), 20, "the name server answers")

    def __enter__(self):
        if not os.path.exists(FOLDER):
            signed_internet()
        served = [("root", "."), *((z, z) for z in CHILDREN)]
        conf = open(f"{LAB}/nsd.conf").read().split("zone:")[0] + "".join(f"zone:\n  name: {z}\n  zonefile: {FOLDER}/{f}\n" for f, z in served)
        with open(f"{FOLDER}/nsd.conf", "w") as f:
            f.write(conf)
        self.swap(f"{FOLDER}/nsd.conf", "www.plain.example")
        sandbox.mount(f"{FOLDER}/root.ds", "/usr/share/dns/root.ds", flags=sandbox.MS_BIND)
        self.t.script.permit_lookup(time.time(), "", "example", *CHILDREN, *NAMES)
        return self

    def __exit__(self, *_):
        sh("umount /usr/share/dns/root.ds")
        self.swap(f"{LAB}/nsd.conf", "www.example.org")


def outcomes(t, dnssec):
    """{zone: whether its name has an address} under this setting."""
    t.shared.drop_daemon()
    t.new_daemon(dnssec=dnssec).start()
    t.watch_port()
    app = t.app(f"d-{dnssec}")
    found = {}
    for zone in CHILDREN:
        t.rule(f"allow d-{dnssec} to {WEB4} port 80/tcp")
        for name in (f"www.{zone}",):
            from product import sekisho
            sekisho("allow", f"d-{dnssec}", "to", name, "port", "80/tcp")
        found[zone] = bool(app.resolve(f"www.{zone}")[1])
    app.detach()
    return found


@no_daemon
def test_dnssec(t):
    """A signed zone, a forged record and an unsigned zone under a signed root: require and auto refuse the forged one, off does not look."""
    with SignedServer(t):
        assert outcomes(t, "require") == {"signed.example": True, "bogus.example": False, "plain.example": True}
        assert outcomes(t, "auto") == {"signed.example": True, "bogus.example": False, "plain.example": True}
        assert outcomes(t, "off") == {"signed.example": True, "bogus.example": True, "plain.example": True}


@no_daemon
def test_dnssec_without_signatures(t):
    """Name servers that serve no signatures: auto says so and goes on without, require resolves nothing."""
    t.script.permit_lookup(time.time(), "", "org", "example.org", "www.example.org")
    t.new_daemon(dnssec="auto").start()
    t.watch_port()
    app = t.app("web")
    t.rule("allow web to www.example.org port 80/tcp")
    wait_until(lambda: app.resolve("www.example.org")[1], 20, "auto falls back")
    assert t.daemon.count("give no signatures") == 1
    t.shared.drop_daemon()
    t.new_daemon(dnssec="require").start()
    t.watch_port()
    strict = t.app("strict")
    t.rule("allow strict to www.example.org port 80/tcp")
    assert not strict.resolve("www.example.org")[1]
