# SPDX-License-Identifier: Apache-2.0
"""Live connections follow every change of policy: cut when no rule allows them any more, untouched when another does."""
import socket
import time

import witness
from lab import wait_until
from product import Lines, sekisho
from test_01_main import udp_echo

PEER, PEER6 = "198.51.100.10", "2001:db8:100::10"
EXACT = f"allow web to {PEER} port 19/tcp"
WIDE = "allow web to 198.51.100.0/24 port 19-20/tcp"

# Reads the lab's endless stream, holds each byte against what it must be, and tells every 50 ms how far it came and how long it ever
# waited for a byte.
READER = ("import socket,sys,time\n"
          "chunk=bytes(range(32,126))*700\nlong=chunk*3\nn=len(chunk)\n"
          "s=socket.create_connection((sys.argv[1],19))\ns.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,1<<18)\ns.settimeout(20)\n"
          "at=0;worst=0.0;last=told=time.monotonic()\nprint('up',flush=True)\n"
          "try:\n"
          "  while True:\n"
          "    d=s.recv(65536)\n"
          "    now=time.monotonic();worst=max(worst,now-last);last=now\n"
          "    if not d: print('end eof',flush=True);break\n"
          "    if d!=long[at%n:at%n+len(d)]: print('end lost',at,flush=True);break\n"
          "    at+=len(d)\n"
          "    if now-told>0.05: print(at,int(worst*1000),flush=True);told=now\n"
          "    time.sleep(0.002)\n"
          "except OSError as e: print('end',e.errno,at,flush=True)\n")


class Stream:
    def __init__(self, t, app, address=PEER):
        self.process = t.start(app, "python3", "-u", "-c", READER, address)
        self.lines = Lines(self.process.stdout)
        assert self.lines.next(30) == "up"
        self.flows()

    def said(self, timeout):
        line = self.lines.next(timeout)
        assert line is not None, "the reader says nothing: the stream stalls"
        return line.split()

    def flows(self, count=4):
        """Bytes that came after this call; -> the longest wait ever, in ms."""
        while self.lines.ready or self.lines.next(0):
            self.lines.ready.clear()
        for _ in range(count):
            words = self.said(20)
            assert words[0] != "end", f"the stream ended: {words}"
        return int(words[1])

    def cut(self, within=20):
        """Ends by a reset, soon."""
        end = time.monotonic() + within
        while True:
            assert time.monotonic() < end, f"not cut within {within} s"
            words = self.said(within)
            if words[0] == "end":
                assert words[1] == "104", f"not by a reset: {words}"
                return


def goes_on(t, stream, limit_ms=5000):
    """The witness for `not a byte lost`: the content is exact and the stream does not stall."""
    worst = stream.flows(6)
    assert worst < limit_ms, f"{worst} ms without a byte"
    t.say(f"longest wait for a byte {worst} ms")


def opened(t, *rules):
    app = t.app("web")
    permits = [t.rule(r) for r in rules]
    return app, permits


def test_added_refusal_cuts(t):
    """A more specific refusal is added: cut by resets both ways; one that speaks of another port leaves the stream alone."""
    app, permits = opened(t, WIDE)
    stream = Stream(t, app)
    t.rule(f"deny web to {PEER} port 80/tcp")
    goes_on(t, stream)
    t.rule(f"deny web to {PEER} port 19/tcp")
    t.ended(permits[0])
    stream.cut()
    packed = socket.inet_aton(PEER)
    resets = [f for _t, f, _n in witness.between(t.lab.capture.frames(), t.start_mark, t.lab.mark()) if f[12:14] == b"\x08\0" and f[23] == 6 and f[30:34] == packed
              and f[36:38] == b"\0\x13" and f[47] & 4]
    assert resets, "the far end was not told"


def test_wider_allow_added(t):
    """A second allow, wider or narrower, changes nothing for what flows."""
    app, _ = opened(t, EXACT)
    stream = Stream(t, app)
    t.rule(WIDE)
    goes_on(t, stream)
    t.rule(f"allow web to {PEER} port 19")
    goes_on(t, stream)


def test_narrowed(t):
    """The rule is narrowed: around what flows it goes on, past it it is cut."""
    app, permits = opened(t, WIDE)
    stream = Stream(t, app)
    t.rule(f"allow web to {PEER} port 18-19/tcp")
    t.remove_rules("/24")
    goes_on(t, stream)
    t.rule(f"allow web to {PEER} port 20/tcp")
    t.remove_rules("18-19")
    t.ended(permits[0])
    stream.cut()


def test_replaced(t):
    """The same rule with another verb takes its place: deny and ask cut; allow with other words does not."""
    app, permits = opened(t, EXACT)
    stream = Stream(t, app)
    sekisho("allow", *f"web to {PEER} port 19/tcp log".split())
    goes_on(t, stream)
    sekisho("deny", *f"web to {PEER} port 19/tcp".split())
    t.ended(permits[0])
    stream.cut()


def test_removed(t):
    """The deciding rule is removed and another still allows: not a byte is lost; the last one's removal cuts, IPv6 as well."""
    app, permits = opened(t, EXACT, WIDE, f"allow web to {PEER6} port 19/tcp")
    stream, six = Stream(t, app), Stream(t, app, PEER6)
    t.remove_rules(f"to {PEER} ")
    t.ended(permits[0], grace=60)
    goes_on(t, stream)
    goes_on(t, six)
    t.remove_rules("/24")
    t.ended(permits[1])
    stream.cut()
    goes_on(t, six)
    t.remove_rules(PEER6)
    t.ended(permits[2])
    six.cut()


def test_expired(t):
    """A time is over: what another rule allows goes on over it, what none does is cut at that moment."""
    app, _ = opened(t, WIDE)
    t.rule(f"allow web to {PEER6} port 19/tcp for 6s")
    t.permit_rule(EXACT)
    sekisho("allow", *f"web to {PEER} port 19/tcp for 6s".split())
    began = time.monotonic()
    stream, ends = Stream(t, app), Stream(t, app, PEER6)
    ends.cut()
    took = time.monotonic() - began
    assert 4.5 < took < 20, f"cut after {took:.2f} s"
    goes_on(t, stream)


def test_taken_back(t):
    """A refusal is taken back: what it cut stays cut, a new connection passes at once; the same with the whole policy swapped."""
    app, permits = opened(t, WIDE)
    stream = Stream(t, app)
    sekisho("deny", *f"web to {PEER}".split())
    stream.cut()
    t.ended(permits[0])
    t.remove_rules(f"deny web to {PEER}")
    t.permit_rule(WIDE)
    goes_on(t, Stream(t, app))


def test_undone(t):
    """`undo` of a refusal lets new connections pass again and touches nothing that flows; `undo` of the permission cuts."""
    app, permits = opened(t, EXACT, f"allow web to {PEER6} port 19/tcp")
    six = Stream(t, app, PEER6)
    sekisho("deny", *f"web to {PEER} port 19/tcp".split())
    assert app.run("curl", "-sS", "--max-time", "2", f"telnet://{PEER}:19")[0] == 7
    sekisho("undo")
    stream = Stream(t, app)
    goes_on(t, six)
    sekisho("undo", "1")  # of the IPv6 permission, the newest change but those
    t.ended(permits[1])
    six.cut()
    goes_on(t, stream)


def test_many_at_once(t):
    """Ten streams, half of which a change forbids: those are cut, not a byte of the others is lost."""
    app, _ = opened(t, WIDE, f"allow web to {PEER6} port 19/tcp")
    four, six = [Stream(t, app) for _ in range(5)], [Stream(t, app, PEER6) for _ in range(5)]
    t.remove_rules("/24")
    for s in four:
        s.cut()
    for s in six:
        assert s.flows() < 10000


def test_udp(t):
    """A fixed 5-tuple of UDP ends with its rule and lives again with the next."""
    app, permits = opened(t, f"allow web to {PEER} port 5000/udp")
    s = app.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((app.ipv4, 40404))
    s.connect((PEER, 5000))
    count = 0

    def echoed(within=0.5):
        """An answer to this very datagram: a late one to an earlier is none."""
        nonlocal count
        count += 1
        s.settimeout(within)
        try:
            s.send(b"hello %d" % count)
            while s.recv(100) != b"hello %d" % count:
                pass
            return True
        except OSError:
            return False
    wait_until(echoed, 20, "it passes")
    t.rule(f"allow web to {PEER} port 4999-5000/udp")
    t.remove_rules("port 5000/udp")
    for _ in range(5):
        assert echoed(10), "another rule allows it"
    t.remove_rules("4999")
    t.ended(permits[0])
    wait_until(lambda: not echoed(), 20, "it ends with its rule", every=0.01)
    assert not echoed()
    t.rule(f"allow web to {PEER} port 5000/udp")
    wait_until(echoed, 20, "it lives again")
    s.close()
    assert udp_echo(app, PEER, 5000) == b"hello"
