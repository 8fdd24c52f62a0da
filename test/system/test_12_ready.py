# SPDX-License-Identifier: Apache-2.0
"""Grant numbers whose live flows stand before they are needed (gate/ready.c): how many, how long, and that they open nothing."""
import os
import re
import signal

from lab import wait_until
from test_04_faults import Stream

MARK = re.compile(r"ct_mark=(0x[0-9a-f]+)")


def live(t):
    """-> {mark: the rule half of its flows' cookies}"""
    found = {}
    for line in t.daemon.ofctl("dump-flows", "table=45").splitlines():
        mark = MARK.search(line)
        if mark and "hard_timeout" in line:
            found.setdefault(mark[1], set()).add(int(re.search(r"cookie=(0x[0-9a-f]+)", line)[1], 16) & 0xffffffff)
    return found


def test_stock(t):
    """Four for an app that connects seldom; a page with many peers gets more, up to 32; each grant takes one, in the switch before its packet."""
    app = t.app("web")
    wait_until(lambda: len(live(t)) == 4, 20, "the first four")
    assert set.union(*live(t).values()) == {0}, "an unused number names a rule"
    t.rule("allow web to 203.0.113.0/24 port 1000-4000/udp")
    for burst in range(3):
        t.start(app, "python3", "-c", "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
               f"for p in range({burst * 40 + 1000},{burst * 40 + 1040}): s.sendto(b'x',('203.0.113.67',p))").wait(10)
        wait_until(lambda n=burst: len(live(t)) >= n * 40 + 40, 20, "a grant for each")
    wait_until(lambda: len(live(t)) == 120 + 32, 20, "the stock is full")


def test_new_gate_forgets(t):
    """A new gate takes out the numbers it does not know, and has its own."""
    t.app("web")
    wait_until(lambda: len(live(t)) == 4, 20, "the first four")
    before = set(live(t))
    t.daemon.kill_role("gate")
    wait_until(lambda: len(live(t)) == 4 and not before & set(live(t)), 20, "others")


def test_short_rule_keeps_its_own_lease(t):
    """The switch itself ends a rule of five seconds while gate cannot, though a ready number's lease is a minute."""
    app = t.app("web")
    wait_until(lambda: len(live(t)) == 4, 20, "the first four")
    t.rule("allow web to 198.51.100.10 port 1234/tcp for 5s")
    stream = Stream(t, app)
    assert stream.alive()
    gate = t.daemon.role_pids("gate")[0]
    os.kill(gate, signal.SIGSTOP)
    try:
        wait_until(lambda: not stream.alive(1), 20, "the stream ends")
    finally:
        os.kill(gate, signal.SIGCONT)
