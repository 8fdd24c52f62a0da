# SPDX-License-Identifier: Apache-2.0
"""The main job over the kernel's Open vSwitch datapath, inside the nested machine (machine.py), where everything is ten times slower: one
daemon, one test per story, generous limits on time, none on frames (the witness judges as everywhere)."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from lab import LabError, wait_until
from product import sekisho
from test_04_faults import Stream, works_again

PAGE, OTHER = "http://198.51.100.10/", "http://198.51.100.11/"


def status(app, url, timeout=30, *more):
    return app.curl(url, *more, timeout=timeout)[0]


def test_a_question_allow_deny(t):
    """Held, asked, allowed; denied with a refusal; a name over IPv6; the datapath is the kernel's."""
    assert "system@" in t.daemon.appctl("dpctl/dump-dps"), "not the kernel's datapath"
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "-m", "60", "-o", "/dev/null", PAGE)
    q = agent.question(60, app="web", address="198.51.100.10")
    rule = "allow web to 198.51.100.10 port 80/tcp until exit"
    t.permit_rule(rule)
    assert agent.answer(q, rule)["ok"]
    assert p.wait(60) == 0
    t.rule("deny web to 198.51.100.11")
    assert status(app, OTHER) == 7, "not refused"
    t.rule("allow web to www.example.org port 443/tcp")
    assert status(app, "https://www.example.org/", 60, "-6") == 0


def test_b_expiry_cuts(t):
    """A rule of a few seconds ends a live stream, also one whose packets the kernel forwards alone."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 1234/tcp for 40s")
    stream = Stream(t, app)
    assert stream.alive(30)
    assert stream.silent_for(5, 100), "the stream outlived its rule"


def test_c_gate_and_all_killed(t):
    """kill -9 of gate, then of everything: nothing new passes, allowed traffic works again by itself."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 80/tcp")
    t.rule("allow web to www.example.org port 443/tcp")
    t.rule("deny web to 198.51.100.11")
    assert status(app, PAGE) == 0
    t.daemon.kill_role("gate")
    assert status(app, "http://203.0.113.66/", 2) != 0
    works_again(app, 60)
    t.daemon.kill_all()
    assert status(app, "http://203.0.113.66/", 2) != 0
    t.daemon.start()
    t.watch_port()
    works_again(app, 60)
    assert status(app, OTHER) != 0


def test_d_frozen_vswitchd(t):
    """A vswitchd that does not run leaves the kernel's megaflows forwarding past every lease: the daemon takes the app's interface down."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 1234/tcp")
    stream = Stream(t, app)
    assert stream.alive(30)
    vswitchd = t.daemon.ovs_pid("ovs-vswitchd")
    os.kill(vswitchd, signal.SIGSTOP)
    try:
        assert stream.silent_for(4, 30), "the kernel forwards on"
    finally:
        os.kill(vswitchd, signal.SIGCONT)
    wait_until(lambda: stream.alive(5), 60, "the stream goes on")


def test_e_udp_and_zone(t):
    """UDP over the kernel's conntrack, where an unanswered flow stays new: allowed once is one flow, not one datagram."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 7/udp once")
    t.rule("deny web to 198.51.100.10 port 9/udp")
    code = ("import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(20)\ns.connect(('198.51.100.10',7))\n"
            "for i in range(5):\n  s.send(b'%d'%i)\n  print(s.recv(99),flush=True)\n")
    p = t.start(app, "python3", "-c", code)
    out, _ = p.communicate(timeout=60)
    assert out.count("b'") == 5, out


for test in (test_a_question_allow_deny, test_b_expiry_cuts, test_c_gate_and_all_killed, test_d_frozen_vswitchd, test_e_udp_and_zone):
    test.time_limit = 400
