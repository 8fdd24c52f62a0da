# SPDX-License-Identifier: Apache-2.0
"""An app that attacks with volume: nothing passes, nothing dies, another app is served."""
import os
import socket
import time

from frames import arp, ethernet, ip4, ip6, tcp, udp
from lab import wait_until
from product import RUN_DIR, dns_query, sekisho, sekisho_json


def daemon_rss_kib(t):
    """Resident memory of all roles together."""
    total = 0
    for role in ("switchd", "gate", "names", "resolver", "desk"):
        for pid in t.daemon.role_pids(role):
            for line in open(f"/proc/{pid}/status"):
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total


def attack(t, frames, seconds=4.0):
    """One app sends these frames as fast as it can; another makes connections meanwhile; all roles are the same afterwards."""
    app, calm = t.app("attacker"), t.app("calm")
    t.rule("allow calm to 198.51.100.10 port 7/tcp")
    before = {role: t.daemon.role_pids(role) for role in ("switchd", "gate", "names", "resolver", "desk")}

    def connect():
        s = calm.socket()
        s.settimeout(20)
        began = time.monotonic()
        s.connect(("198.51.100.10", 7))
        took = time.monotonic() - began
        s.close()
        return took
    idle = sorted(connect() for _ in range(20))
    pid = os.fork()
    if pid == 0:
        try:
            app.enter()
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind(("eth0", 0))
            made = [f(app, i) for i, f in enumerate(frames * 50)] if isinstance(frames, list) else [frames(app, i) for i in range(5000)]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for frame in made:
                    try:
                        raw.send(frame)
                    except OSError:
                        pass
        finally:
            os._exit(0)
    busy = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        busy.append(connect())
        time.sleep(0.004)  # style: a rate: four seconds must not fill the app's own zone of 4,096
    os.waitpid(pid, 0)
    busy.sort()
    resident = daemon_rss_kib(t) // 1024
    t.say(f"the other app's connect(): idle p50 {idle[10] * 1000:.1f} ms, under attack p50 {busy[len(busy) // 2] * 1000:.1f} ms, "
          f"worst {busy[-1] * 1000:.0f} ms; all roles {resident} MiB")
    assert resident <= 64, f"{resident} MiB under attack"
    assert {role: t.daemon.role_pids(role) for role in before} == before, "a role died"
    assert busy[-1] < 15, f"another app waited {busy[-1]:.1f} s"
    assert sekisho("ps", check=False)[0] == 0


def frame4(app, protocol, body, dst):
    return ethernet(gateway(app), app.mac, 0x0800, ip4(app.ipv4, dst, protocol, body))


def gateway(app):
    if not hasattr(app, "gw"):
        app.gw = app.gateway_mac()
    return app.gw


def far(i):
    return f"203.0.113.{i % 250 + 1}"


def test_syn_flood(t):
    """SYNs to ever new peers."""
    attack(t, lambda app, i: frame4(app, 6, tcp(app.ipv4, far(i), 1024 + i % 60000, i % 65000 + 1, 2), far(i)))


def test_udp_flood(t):
    """Datagrams to ever new peers and ports."""
    attack(t, lambda app, i: frame4(app, 17, udp(app.ipv4, far(i), 1024 + i % 60000, i % 65000 + 1, b"x"), far(i)))


def test_dns_flood(t):
    """Lookups of ever new names."""
    attack(t, lambda app, i: frame4(app, 17, udp(app.ipv4, "203.0.113.53", 1024 + i % 60000, 53, dns_query(f"n{i}.flood.example.net")),
                                    "203.0.113.53"))


def test_arp_flood(t):
    """ARP requests for the gateway and for everybody."""
    attack(t, lambda app, i: ethernet(b"\xff" * 6, app.mac, 0x0806, arp(1, app.mac, app.ipv4, b"\0" * 6, app.gateway4 if i % 2 else far(i))))


def test_rubbish(t):
    """Random bytes of every length, as frames, as IPv4, as IPv6, as DHCP, as DNS."""
    import random
    dice = random.Random(7)

    def make(app, i):
        body = dice.randbytes(dice.randrange(0, 1400))
        kind = i % 6
        if kind == 0:
            return ethernet(gateway(app), app.mac, dice.choice((0x0800, 0x0806, 0x86dd, dice.randrange(65536))), body)
        if kind == 1:
            return ethernet(gateway(app), app.mac, 0x0800, ip4(app.ipv4, far(i), dice.randrange(256), body))
        if kind == 2:
            return ethernet(gateway(app), app.mac, 0x86dd, ip6(app.ipv6, "2001:db8:100::10", dice.randrange(256), body))
        if kind == 3:
            return ethernet(b"\xff" * 6, app.mac, 0x0800, ip4("0.0.0.0", "255.255.255.255", 17,
                                                               udp("0.0.0.0", "255.255.255.255", 68, 67, body)))
        if kind == 4:
            return frame4(app, 17, udp(app.ipv4, "203.0.113.53", 2000 + i % 1000, 53, body), "203.0.113.53")
        return ethernet(bytes.fromhex("333300000002"), app.mac, 0x86dd, ip6("fe80::2", "ff02::2", 58, body, hops=255))
    attack(t, make)


def test_question_flood(t):
    """An app that wants a thousand things: bounded questions, the rest refused, an answer to one still serves."""
    app, agent = t.app("greedy"), t.agent()
    sockets = []
    for i in range(300):
        s = app.socket()
        s.setblocking(False)
        try:
            s.connect((far(i), 1000 + i))
        except OSError:
            pass
        sockets.append(s)
    agent.question()
    seen = 1
    end = time.monotonic() + 3
    while time.monotonic() < end:
        e = agent.event(0.3)
        seen += e is not None and e["event"] == "question"
    t.say(f"{seen} questions of 300 connections")
    assert 1 <= seen <= 64, seen
    for s in sockets:
        s.close()


def test_dns_slow_clients(t):
    """Two hundred TCP connections to the name server that say nothing: lookups of another app are answered."""
    app, calm = t.app("sloth"), t.app("calm")
    sockets = []
    for _ in range(200):
        s = app.socket()
        s.setblocking(False)
        try:
            s.connect((app.given["dns"][0], 53))
        except OSError:
            pass
        sockets.append(s)
    assert calm.resolve("www.example.net")[0] == 0
    for s in sockets:
        s.close()


def test_socket_hogs(t):
    """A local user who opens many control connections and never reads: others are served."""
    t.app("web")
    hogs = []
    for _ in range(600):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(2)
        try:
            s.connect(f"{RUN_DIR}/api")
            s.send(b'{"method":"org.sekisho.Questions.Serve","more":true}\0')
        except OSError:
            s.close()
            break
        hogs.append(s)
    for s in hogs:
        s.close()
    wait_until(lambda: sekisho("ps", check=False)[0] == 0, 20, "the control socket serves")
    assert [a["app"] for a in sekisho_json("ps")] == ["web"]
