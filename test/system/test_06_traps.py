# SPDX-License-Identifier: Apache-2.0
"""The measured traps of the switch page. Each test fails without its cure."""
import json
import re
import socket
import struct
import time

import zones
from frames import ethernet, ip4, tcp, udp
from lab import sh, wait_until
from test_01_main import page, refused, udp_echo
from test_03_spoof import assert_works


SOL_PACKET, PACKET_VNET_HDR = 263, 15


def giants(app):
    """A raw socket of the app whose frames may be as large as segmentation offload makes them; send(frame) or an error."""
    raw = app.raw()
    raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    # flags NEEDS_CSUM, GSO for TCP over IPv4, 54 bytes of headers, segments of 1448, checksum at 34 + 16.
    head = struct.pack("=BBHHHH", 1, 1, 54, 1448, 34, 16)
    return raw, lambda frame: raw.send(head + frame)


def test_payload_read_as_openflow(t):
    """Giant SYNs, by way of segmentation offload, whose payload is OpenFlow messages: none reaches the controller's connection."""
    app = t.app("jumbo")
    t.rule("allow jumbo to 198.51.100.10 port 5000/udp")
    assert_works(app)
    gate, in_step = t.daemon.role_pids("gate"), t.daemon.count("in step")
    seen = t.daemon.packet_ins()
    # A packet-in of 65,4xx bytes has a length field that wraps, and what follows is read as the next message: an echo request here.
    evil = bytes.fromhex("0602000800000001") * 8192
    raw, send = giants(app)
    for i, size in enumerate([*range(65300, 65536, 4), 2100, 9000, 32000]):
        body = tcp(app.ipv4, "203.0.113.67", 7000 + i, 80, 2)[:20] + evil[:size - 40]
        send(ethernet(app.gateway_mac(), app.mac, 0x0800, ip4(app.ipv4, "203.0.113.67", 6, body)))
    # A SYN of ordinary size behind them is seen, so they have been.
    body = tcp(app.ipv4, "203.0.113.67", 6999, 80, 2)[:20] + evil[:1000]
    send(ethernet(app.gateway_mac(), app.mac, 0x0800, ip4(app.ipv4, "203.0.113.67", 6, body)))
    raw.close()
    wait_until(lambda: t.daemon.packet_ins() > seen, 20, "the ordinary SYN at the controller")
    assert_works(app)
    assert t.daemon.role_pids("gate") == gate, "gate died"
    assert t.daemon.count("in step") == in_step, f"the connection to the switch was lost: {t.daemon.tail()}"
    assert "actions=NORMAL" not in t.daemon.ofctl("dump-flows")


def test_fixed_tuple_after_its_grant(t):
    """A fixed 5-tuple whose grant ended is not dead for ever: allowed again, the same ports work."""
    app = t.app("ntp")

    def ask(timeout):
        s = app.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((app.ipv4, 123))
        s.connect(("198.51.100.10", 123))
        s.settimeout(timeout)
        try:
            s.send(b"time?")
            return s.recv(100) == b"time?"
        except OSError:
            return False
        finally:
            s.close()
    permit = t.rule("allow ntp to 198.51.100.10 port 123/udp")
    assert ask(5)
    t.remove_rules("port 123")
    t.ended(permit)
    t.rule("deny ntp to 198.51.100.11")
    t.rule("drop ntp to 198.51.100.10")
    assert not ask(0.5)
    t.remove_rules("drop ntp")
    t.rule("allow ntp to 198.51.100.10 port 123/udp")
    wait_until(lambda: ask(1), 20, "the same 5-tuple works again", every=0.2)


def test_neighbour_table(t):
    """A guest with fifty IPv6 sources fills nothing in the host's neighbour table."""
    app = t.app("many")
    t.rule("allow many to 2001:db8:100::10 port 5000/udp")
    prefix = app.ipv6.rsplit(":", 1)[0] + ":"
    before = len(sh("ip neigh").splitlines())
    for i in range(16, 66):
        sh(f"ip addr add {prefix}{i:x}/64 dev eth0 nodad", ns=app.ns)
    served = 0
    for i in range(16, 66):
        if i - 16 - served > 5:
            break
        s = app.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.settimeout(5)
        s.bind((f"{prefix}{i:x}", 0))
        s.connect(("2001:db8:100::10", 5000))
        try:
            s.send(b"x")
            served += s.recv(10) == b"x"
        except OSError:
            pass
        s.close()
    after = len(sh("ip neigh").splitlines())
    assert served >= 45, f"{served} of 50 sources inside the app's /64 were served"
    assert after - before <= 2, f"the host's neighbour table grew from {before} to {after}"


def test_names_zone_full(t):
    """The zone of an app's lookups full: not one query gets out to the server it was meant for."""
    app = t.app("dnsflood")
    gw, raw = app.gateway_mac(), app.raw()
    from product import dns_query
    since = len(t.lab.capture.frames())
    query = dns_query("leak.example.net")
    for i in range(2000):
        sport = 1024 + i
        raw.send(ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, "203.0.113.66", 17, udp(app.ipv4, "203.0.113.66", sport, 53, query))))
    raw.close()
    t.lab.mark()
    assert not any(b"\x04leak" in f[1] for f in t.lab.capture.frames()[since:]), "a query left"
    other = t.app("calm")
    assert other.resolve("www.example.net")[0] == 0, "another app's lookups suffer"


def test_zone_full(t):
    """An app's conntrack zone full: no frame of a connection that found no room, a clear event, and another app is served."""
    app, other = t.app("greedy"), t.app("calm")
    t.rule("allow greedy to 198.51.100.10 port 5000-5999/udp")
    t.permit("greedy", "198.51.100.10", "1024-65535", "udp")
    t.rule("allow calm to 198.51.100.10 port 80/tcp")
    gw, raw, log = app.gateway_mac(), app.raw(), t.log()
    for i in range(6000):
        sport, dport = 1024 + i, 5000 + i % 1000
        raw.send(ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, "198.51.100.10", 17, udp(app.ipv4, "198.51.100.10", sport, dport, b"fill"))))
        if i % 50 == 49:
            t.lab.mark()
    raw.close()
    page(other, "http://198.51.100.10/")
    log.find(lambda e: e["event"] != "connection" and any(w in json.dumps(e) for w in ("zone", "full", "conntrack")), timeout=15)


def zone_limits(t):
    """zone -> limit of every zone the daemon limited."""
    out = t.daemon.appctl("dpctl/ct-get-limits")
    return {int(z): int(n) for z, n in re.findall(r"zone=(\d+),limit=(\d+)", out)}


def limited_to(t, limit, protocol, address, one):
    """With every zone of the app limited to what it holds, a new connection leaves no frame; with room again it works."""
    app = t.app("tight")
    port = {"tcp": 7, "udp": 5000}[protocol]
    t.rule(f"allow tight to {address} port {port}/{protocol}")
    assert one(app, address, port), "the first connection"
    limits = zone_limits(t)
    assert limits, "no zone has a limit"
    base = 40000
    mine = [z for z in limits if z >= base]
    for z in mine:
        t.daemon.appctl("dpctl/ct-set-limits", f"zone={z},limit=1")
    since = time.time()  # by the frames' own time: the capture's file may be behind
    for _ in range(3):
        one(app, address, port, 0.3)
    calm = t.app("calm")
    t.rule(f"allow calm to {address} port {port}/{protocol}")
    assert one(calm, address, port), "another app's zone is full, too"

    def after(who):
        import witness
        seen = [witness.Packet(*f) for f in t.strict.frames() if f[0] >= since]  # before the host masquerades
        return [p for p in seen if str(p.src) in (who.ipv4, who.ipv6)]
    wait_until(lambda: after(calm), 20, "the capture holds what came behind")
    strays = after(app)
    assert not strays, f"frames left without an entry: {strays[0]}"
    for z in mine:
        t.daemon.appctl("dpctl/ct-set-limits", f"zone={z},limit={limits[z]}")
    wait_until(lambda: one(app, address, port), 20, "with room again it works", every=0.5)


def tcp_echo(app, address, port, timeout=10):
    s = app.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.settimeout(timeout)
    try:
        s.connect((address, port))
        s.send(b"hello")
        return s.recv(100) == b"hello"
    except OSError:
        return False
    finally:
        s.close()


def udp_once(app, address, port, timeout=5):
    return udp_echo(app, address, port, timeout=timeout) == b"hello"


def test_full_udp4(t):
    """Zone at its limit, UDP over IPv4: no frame passes uncommitted."""
    limited_to(t, 1, "udp", "198.51.100.10", udp_once)


def test_full_udp6(t):
    """Zone at its limit, UDP over IPv6."""
    limited_to(t, 1, "udp", "2001:db8:100::10", udp_once)


def test_full_tcp4(t):
    """Zone at its limit, TCP over IPv4."""
    limited_to(t, 1, "tcp", "198.51.100.10", tcp_echo)


def test_full_tcp6(t):
    """Zone at its limit, TCP over IPv6."""
    limited_to(t, 1, "tcp", "2001:db8:100::10", tcp_echo)


def test_table_full(t):
    """The datapath's whole conntrack table full: no frame, an event, and room again serves."""
    app = t.app("tight")
    t.rule("allow tight to 198.51.100.10 port 5000/udp")
    assert udp_once(app, "198.51.100.10", 5000)
    had = t.daemon.appctl("dpctl/ct-get-maxconns").strip()
    t.daemon.appctl("dpctl/ct-set-maxconns", "1")
    for _ in range(5):
        udp_once(app, "198.51.100.10", 5000, 0.3)
    t.daemon.appctl("dpctl/ct-set-maxconns", had)
    wait_until(lambda: udp_once(app, "198.51.100.10", 5000), 20, "with room again it works", every=0.5)


def test_foreign_flow_is_mended(t):
    """A flow somebody else adds or deletes is noticed and put right."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 80/tcp")
    page(app, "http://198.51.100.10/")
    t.daemon.ofctl("del-flows", "table=10", check=False)
    wait_until(lambda: app.curl("http://198.51.100.10/", timeout=2)[0] == 0, 30, "the deleted table is put back")


def test_foreign_port_is_noticed(t):
    """A port somebody plugs into our bridge carries nothing."""
    app = t.app("web")
    sh("ip link add intruder0 type veth peer name intruder1")
    try:
        sh("ip link set intruder0 up")
        sh("ip link set intruder1 up")
        sh("ovs-vsctl", f"--db=unix:/run/sekisho/ovs/db.sock", "--no-wait", "add-port", "sekisho0", "intruder0")
        raw = app.raw()
        listener = app.__class__.raw(type("Host", (), {"visit": lambda self, f: f()})(), "intruder1")
        raw.send(ethernet(b"\xff" * 6, app.mac, 0x0800, ip4(app.ipv4, "198.51.100.11", 17, udp(app.ipv4, "198.51.100.11", 1, 2, b"LIE"))))
        listener.settimeout(0.5)
        try:
            while True:
                assert b"LIE" not in listener.recv(2000)
        except TimeoutError:
            pass
        raw.close()
        listener.close()
    finally:
        sh("ovs-vsctl", "--db=unix:/run/sekisho/ovs/db.sock", "--no-wait", "--if-exists", "del-port", "sekisho0", "intruder0", check=False)
        sh("ip link del intruder0", check=False)


def test_many_connections(t):
    """Three hundred connections in a row through one rule: each passes, and the hot path serves the later ones."""
    app = t.app("busy")
    t.rule("allow busy to 198.51.100.10 port 7/tcp")
    began = time.monotonic()
    for i in range(300):
        assert tcp_echo(app, "198.51.100.10", 7), f"connection {i}"
    t.say(f"{300 / (time.monotonic() - began):.0f} connections/s in a row")


def test_scan_does_not_explode(t):
    """A scan over 3,000 destinations: few megaflows, nothing at the uplink, another app served meanwhile."""
    app, other = t.app("scanner"), t.app("calm")
    t.rule("allow calm to 198.51.100.10 port 80/tcp")
    gw, raw = app.gateway_mac(), app.raw()
    for i in range(3000):
        dst = f"203.0.{100 + i // 250}.{i % 250 + 1}"
        raw.send(ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, dst, 6, tcp(app.ipv4, dst, 1024 + i, i % 1000 + 1, 2))))
    took = page(other, "http://198.51.100.10/")
    raw.close()
    flows = len(t.daemon.appctl("dpctl/dump-flows").splitlines())
    t.say(f"{flows} megaflows, the other app's page in {took * 1000:.0f} ms")
    assert flows < 200, flows
