# SPDX-License-Identifier: Apache-2.0
"""From one app to another: both sides' rules, both families, one permission, and no frame without it."""
import hashlib
import signal
import socket
import time

import zones
from frames import ethernet, ip4, ip6, tcp, udp
from lab import wait_until
from product import POLICY_DIR, Lines, sekisho, sekisho_json, status
from run import alone

PORT, OTHER = 5432, 5433
OWN = "allow web to app:db port 5432/tcp"


class Server:
    """In an app: accepts on PORT and OTHER, TCP and UDP, both families; says where each came from and echoes."""

    PROGRAM = ("import socket,threading\n"
               "def serve(c):\n"
               "  try:\n"
               "    while True:\n"
               "      d=c.recv(65536)\n"
               "      if not d: break\n"
               "      c.sendall(d)\n"
               "    print('closed',flush=True)\n"
               "  except OSError as e: print('reset' if e.errno==104 else e,flush=True)\n"
               "def listen(port):\n"
               "  s=socket.create_server(('',port),family=socket.AF_INET6,dualstack_ipv6=True,backlog=64)\n"
               "  while True: threading.Thread(target=serve,args=(s.accept()[0],),daemon=True).start()\n"
               "def datagrams(port):\n"
               "  s=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM);s.setsockopt(41,26,0);s.bind(('',port))\n"
               "  while True:\n"
               "    d,a=s.recvfrom(4096);s.sendto(d,a)\n"
               f"for p in ({PORT},{OTHER}):\n"
               "  for f in (listen,datagrams): threading.Thread(target=f,args=(p,),daemon=True).start()\n"
               "print('up',flush=True)\nthreading.Event().wait()\n")

    def __init__(self, t, app):
        self.process = t.start(app, "python3", "-u", "-c", self.PROGRAM)
        self.lines = Lines(self.process.stdout)
        assert self.lines.next(30) == "up"


def connect(app, address, port=PORT, timeout=10):
    """-> a connected socket, or the error's number (None: nothing came)."""
    s = app.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.settimeout(timeout)
    try:
        s.connect((address, port))
        return s
    except TimeoutError:
        s.close()
        return None
    except OSError as e:
        s.close()
        return e.errno


def echoes(s, data=b"hello"):
    """What was sent comes back; False when the connection is dead."""
    try:
        s.sendall(data)
        got = b""
        while len(got) < len(data):
            piece = s.recv(65536)
            if not piece:
                return False
            got += piece
        return got == data
    except OSError:
        return False


def dead(s, within=10):
    """The connection carries nothing any more; the switch may take some milliseconds to forget it."""
    end = time.monotonic() + within
    while echoes(s):
        assert time.monotonic() < end, f"still alive after {within} s"


def reaches(app, address, port=PORT, timeout=10):
    s = connect(app, address, port, timeout)
    if not isinstance(s, socket.socket):
        return False
    good = echoes(s)
    s.close()
    return good


def datagram(app, address, port=PORT, timeout=5):
    s = app.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(timeout)
    try:
        s.sendto(b"hello", (address, port))
        return s.recv(100) == b"hello"
    except OSError:
        return False
    finally:
        s.close()


class Ear:
    """Every frame that an app's interface receives."""

    def __init__(self, app):
        self.socket = app.raw()
        self.socket.setblocking(False)

    def heard(self, address):
        """IP frames from this address so far."""
        packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        found = []
        while True:
            try:
                frame = self.socket.recv(65536)
            except BlockingIOError:
                return found
            if packed in (frame[26:30], frame[22:38]):
                found.append(frame)


def pair(t, *rules):
    web, db = t.app("web"), t.app("db")
    server = Server(t, db)
    for r in rules:
        t.rule(r)
    return web, db, server


def policy(t, *lines):
    """The admin's file holds these lines, and the daemon has read it."""
    with open(f"{POLICY_DIR}/peers.rules", "w") as f:
        f.write("".join(f"{line}\n" for line in lines))
    before = status()["policy_generation"]
    t.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: status()["policy_generation"] > before and status()["policy_in_force"], 20, "the policy is in force")


def open_or_none(app, address):
    s = connect(app, address, timeout=0.5)
    return s if isinstance(s, socket.socket) else None


def test_by_address(t):
    """`allow web to app:db port 5432/tcp` lets that port through, IPv4 and IPv6; no other port, no UDP, and nothing the other way."""
    web, db, _server = pair(t, OWN)
    Server(t, web)
    ear = Ear(web)
    for mine, theirs in ((web.ipv4, db.ipv4), (web.ipv6, db.ipv6)):
        assert reaches(web, theirs), theirs
        ear.heard(theirs)
        assert connect(web, theirs, OTHER) == 111, "the other port is not refused"
        assert not datagram(web, theirs, timeout=0.5)
        assert connect(db, mine) == 111, "db may not call back"
        assert not [f for f in ear.heard(theirs) if f[23] == 6 and f[47] & 2], "a SYN of db's reached web"


def test_by_name(t):
    """db.app.internal is answered to the app that has the rule, in both families, and to no other; the connection arrives."""
    web, db, _server = pair(t, OWN)
    third = t.app("third")
    for family in ("A", "AAAA"):
        rcode, found = web.resolve("db.app.internal", family)
        assert rcode == 0 and len(found) == 1, (family, rcode, found)
        assert found[0] not in (db.ipv4, db.ipv6), "a real address"
        assert reaches(web, found[0]), family
        assert third.resolve("db.app.internal", family) == (3, [])
    assert web.resolve("nobody.app.internal") == (3, [])
    assert db.resolve("web.app.internal") == (3, [])


def test_udp(t):
    """UDP between apps, by address and by name, both families."""
    web, db, _server = pair(t, "allow web to app:db port 5432/udp")
    for address in (db.ipv4, db.ipv6, *web.resolve("db.app.internal")[1], *web.resolve("db.app.internal", "AAAA")[1]):
        assert datagram(web, address), address
        assert not datagram(web, address, OTHER, timeout=0.5), address


def test_no_rule_no_frame(t):
    """Without a rule of the sender nothing of another app arrives: no frame, whatever is tried."""
    web, db = t.app("web"), t.app("db")
    third = t.app("third")
    Server(t, db)
    t.rule(OWN)
    ear, raw, gw = Ear(db), third.raw(), third.gateway_mac()
    lies = []
    for flags in (0x02, 0x10, 0x12, 0x04, 0x11, 0x18):
        lies.append(ethernet(gw, third.mac, 0x0800, ip4(third.ipv4, db.ipv4, 6, tcp(third.ipv4, db.ipv4, 4000, PORT, flags))))
        lies.append(ethernet(gw, third.mac, 0x86dd, ip6(third.ipv6, db.ipv6, 6, tcp(third.ipv6, db.ipv6, 4000, PORT, flags))))
        # As if it were web, which may; straight to db's MAC; as an answer of the one that was never asked.
        lies.append(ethernet(gw, third.mac, 0x0800, ip4(web.ipv4, db.ipv4, 6, tcp(web.ipv4, db.ipv4, 4000, PORT, flags))))
        lies.append(ethernet(gw, web.mac, 0x0800, ip4(web.ipv4, db.ipv4, 6, tcp(web.ipv4, db.ipv4, 4000, PORT, flags))))
        lies.append(ethernet(db.mac, third.mac, 0x0800, ip4(third.ipv4, db.ipv4, 6, tcp(third.ipv4, db.ipv4, 4000, PORT, flags))))
        lies.append(ethernet(gw, third.mac, 0x86dd, ip6(web.ipv6, db.ipv6, 6, tcp(web.ipv6, db.ipv6, 4000, PORT, flags))))
    lies.append(ethernet(gw, third.mac, 0x0800, ip4(third.ipv4, db.ipv4, 17, udp(third.ipv4, db.ipv4, 4000, PORT, b"LIE"))))
    lies.append(ethernet(gw, third.mac, 0x0800, ip4(third.ipv4, third.ipv4, 17, udp(third.ipv4, third.ipv4, 4000, PORT, b"LIE"))))
    lies.append(ethernet(db.mac, third.mac, 0x0800, ip4(third.ipv4, db.ipv4, 1, b"\x08\0\xf7\xff\0\0\0\0")))
    for _ in range(3):
        for lie in lies:
            raw.send(lie)
    assert reaches(web, db.ipv4), "what is allowed does not pass"
    heard = ear.heard(web.ipv4)
    assert heard, "the ear hears nothing at all"
    assert all(b"\x0f\xa0\x15\x38" not in f[:60] for f in heard), "a spoofed frame arrived"
    ear = Ear(db)
    for lie in lies:
        raw.send(lie)
    assert reaches(web, db.ipv6)
    for address in (third.ipv4, third.ipv6):
        assert not ear.heard(address), f"a frame of {address}"
    raw.close()


def test_removal_cuts_both(t):
    """The rule removed: both ends of the live connection get RST, at once, and a stream of either family is dead."""
    web, db, server = pair(t, OWN)
    name4 = web.resolve("db.app.internal")[1][0]
    for address in (db.ipv4, db.ipv6, name4):
        if address != db.ipv4:
            t.rule(OWN)
        s = connect(web, address)
        assert echoes(s)
        t.remove_rules("app:db")
        dead(s)
        said = server.lines.next(20)
        assert said == "reset", f"db was told: {said}"
        s.close()
        assert connect(web, address) == 111


def test_either_end_stops(t):
    """Either app's going ends the connection: the one that stays gets RST, and the next run of the other inherits nothing."""
    web, db, server = pair(t, OWN)
    s = connect(web, db.ipv4)
    assert echoes(s)
    web.detach()
    wait_until(lambda: not sekisho_json("ps") or [a["app"] for a in sekisho_json("ps")] == ["db"], 20, "web is gone")
    # db speaks first: only then can anybody tell it.
    web.attach()
    t.script.app("web", web.ipv4, f"{web.ipv6}/64")
    s.close()
    s = connect(web, db.ipv4)
    assert isinstance(s, socket.socket) and echoes(s), f"the next run of web is not connected: {s}"
    db.detach()
    s.settimeout(5)
    assert not echoes(s), "a connection outlives its other end"
    s.close()
    db.attach()
    t.script.app("db", db.ipv4, f"{db.ipv6}/64")
    wait_until(lambda: reaches(web, db.ipv4), 20, "a new connection to the next run")


def test_known_peer(t):
    """Further connections go by the switch alone, and the removal of the rule ends that, too."""
    web, db, _server = pair(t, OWN)

    def hot():
        assert reaches(web, db.ipv4)
        return f"nw_dst={db.ipv4}" in t.daemon.ofctl("dump-flows", "table=48")
    wait_until(hot, 20, "the peer is known")
    s = connect(web, db.ipv4)
    assert echoes(s)
    t.remove_rules("app:db")
    dead(s)
    s.close()
    assert connect(web, db.ipv4) == 111


def test_counted(t):
    """`2 times` admits two connections and no third; a name so allowed is answered in one family."""
    web, db, _server = pair(t, OWN + " 2 times")
    assert web.resolve("db.app.internal", "AAAA") == (0, [])
    kept = [connect(web, db.ipv4), connect(web, db.ipv6)]
    assert all(echoes(s) for s in kept)
    assert connect(web, db.ipv4) == 111
    assert all(echoes(s) for s in kept), "a used-up count cut what it had admitted"
    for s in kept:
        s.close()


def test_inbound_side(t):
    """db's own rules count: its deny refuses, its ask asks db's person, and an answer lets the packet go on."""
    web, db, _server = pair(t, OWN)
    sekisho("deny", *"db from app:web".split())
    assert connect(web, db.ipv4) == 111
    t.remove_rules("db", "from")
    sekisho("ask-rule", *"db from app:web port 5432/tcp".split())
    agent = t.agent()
    s = web.socket()
    s.setblocking(False)
    try:
        s.connect((db.ipv4, PORT))
    except BlockingIOError:
        pass
    q = agent.question(app="db")
    assert q["direction"] == "in" and q["peer_app"] == "web" and q["port"] == PORT, q
    agent.answer(q, "allow db from app:web port 5432/tcp until exit")
    s.settimeout(10)
    s.setblocking(True)
    assert echoes(s), "the packet did not go on with the answer"
    s.close()


@alone()
def test_other_owner(t):
    """Another user's app: web's rule alone does not reach it, silently; with db's own `from app:web` it does, and that rule's end cuts."""
    web, db = t.app("web"), t.app("db", "--owner", "nobody")
    server = Server(t, db)
    policy(t, OWN)
    ear = Ear(db)
    for address in (db.ipv4, db.ipv6):
        assert connect(web, address, timeout=1) is None
    assert not ear.heard(web.ipv4) and not ear.heard(web.ipv6)
    policy(t, OWN, "allow db from app:web port 5432/tcp")
    s = wait_until(lambda: open_or_none(web, db.ipv4), 20, "db lets web in")
    assert echoes(s)
    assert reaches(web, web.resolve("db.app.internal")[1][0])
    policy(t, OWN)
    dead(s)
    assert "reset" in (server.lines.next(20), server.lines.next(20)), "db was not told"
    s.close()


@alone()
def test_counts_of_both(t):
    """A count on either side is exact: five of web's, three of db's, three pass; what passed stays when both are used up."""
    web, db = t.app("web"), t.app("db", "--owner", "nobody")
    Server(t, db)
    policy(t, OWN + " 5 times", "allow db from app:web port 5432/tcp 3 times")
    wait_until(lambda: web.resolve("db.app.internal")[0] == 0, 20, "the rule is there")
    kept = [connect(web, db.ipv4, timeout=10 if i < 3 else 1) for i in range(8)]
    good = [s for s in kept if isinstance(s, socket.socket)]
    assert len(good) == 3, kept
    t.daemon.kill_role("gate")
    assert all(echoes(s) for s in good), "a used-up count cut what it had admitted"
    for s in good:
        s.close()


@alone(**zones.PORT_SETTINGS)
def test_on_the_lan(t):
    """With `uplink = port:IFACE` apps reach each other by their LAN addresses in the same way, and nothing of it is on the LAN."""
    web, db, _server = pair(t, OWN)
    for address in (db.ipv4, db.ipv6, web.resolve("db.app.internal")[1][0]):
        assert reaches(web, address), address
        assert connect(web, address, OTHER) == 111, address
    assert connect(db, web.ipv4) == 111


def test_gate_dies(t):
    """A new gate knows a connection between apps again: not a byte is lost, and the rule's removal still cuts it."""
    web, db, _server = pair(t, OWN)
    log = t.log()
    s = connect(web, db.ipv4)
    s.settimeout(20)
    assert echoes(s)
    # Gate's copy at desk and the log's line travel together; without the copy the connection may be cut.
    log.find(lambda e: e.get("app") == "web" and e.get("port") == PORT)
    t.daemon.kill_role("gate")
    wait_until(lambda: reaches(web, db.ipv6), 20, "gate decides again")
    data = hashlib.sha256(b"x").digest() * 30000
    assert echoes(s, data[:60000]), "the live connection did not survive"
    t.remove_rules("app:db")
    dead(s)
    s.close()
