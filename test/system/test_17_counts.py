# SPDX-License-Identifier: Apache-2.0
"""How often a rule decided: connections that the switch lets in alone, and decisions nothing is shown of, count too.

The applications have names of their own: the history is that of every test of the same daemon.
"""
import re

from lab import wait_until
from product import sekisho, sekisho_json
from test_06_traps import tcp_echo

ALONE, SLACK = 20, 5


def hits(line, *options):
    """Of the rule that was made last."""
    found = [r["hits"] for r in sekisho_json("rules", *options) if r["rule"] == line]
    assert found, line
    return found[-1]


def let_in_alone(t):
    """Connections that the switch let in without gate, as far as Open vSwitch has counted: it does so twice a second."""
    rows = [row for row in t.daemon.ofctl("dump-flows", "table=48").splitlines() if "priority=200" in row]
    return sum(int(re.search(r"n_packets=(\d+)", row)[1]) for row in rows)


def test_hot_connections(t):
    """Connections by the hot path are in the rule's hits and in the history's number of connections."""
    app = t.app("often")
    line = "allow often to 198.51.100.10 port 7/tcp"
    t.rule(line)
    began, made = t.daemon.packet_ins(), 0
    def enough():
        nonlocal made
        made += 1
        assert tcp_echo(app, "198.51.100.10", 7), f"connection {made}"
        return let_in_alone(t) >= ALONE
    wait_until(enough, 60, "the hot path serves", every=0.02)
    asked = t.daemon.packet_ins() - began
    sekisho("rules", "rm", *[r["rule_id"] for r in sekisho_json("rules", "often") if r["rule"] == line])
    wait_until(lambda: [e for e in sekisho_json("log", "often") if e.get("connections")], 20, "the end is in the history")
    ends = [e["connections"] for e in sekisho_json("log", "often") if e.get("connections")]
    # The last half second may be missing; what gate was asked about just before the row stood may be the row's, too.
    assert len(ends) == 1 and max(asked, ALONE) < ends[0] <= made + SLACK, (ends, asked, made)
    assert hits(line, "--ended") == ends[0], (hits(line, "--ended"), ends)


def test_quiet_rules_count(t):
    """A quiet rule shows nothing, lookups included, and is used all the same."""
    app = t.app("muted")
    name, address = "deny muted to ads.example.org quiet", "deny muted to 198.51.100.30 port 7/tcp quiet"
    sekisho(*name.split())
    sekisho(*address.split())
    assert app.resolve("ads.example.org")[0] == 3
    assert not tcp_echo(app, "198.51.100.30", 7)
    wait_until(lambda: hits(name) >= 1 and hits(address) >= 1, 20, "both have decided")
    shown = [e for e in sekisho_json("log", "muted") if e["event"] in ("name", "connection", "refused")]
    assert not shown, shown


def test_top(t):
    """`top` shows of each application what lives, what it began and was refused in the last minute, and what waits for an answer."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 7/tcp")
    sekisho(*"deny web to 198.51.100.30".split())
    assert tcp_echo(app, "198.51.100.10", 7) and not tcp_echo(app, "198.51.100.30", 7)
    p = t.start(app, "curl", "-sS", "--max-time", "60", "http://198.51.100.20/")
    def row():
        return next(r for r in sekisho_json("top") if r["app"] == "web")
    wait_until(lambda: row()["waiting"] == 1, 20, "a question waits")
    got = row()
    assert got["state"] == "running" and got["live"] == 1 and got["connections"] >= 1 and got["refused"] >= 1, got
    words = sekisho("top", "-n", "1").splitlines()
    assert words[0].split() == ["APP", "OWNER", "STATE", "LIVE", "CONN/MIN", "REFUSED/MIN", "WAITING", "STARTED"], words
    assert any(line.split()[:3] == ["web", "root", "running"] for line in words[1:]), words
    assert sekisho("top", "-n", "0", check=False)[0] == 2
    p.kill()
    p.communicate()
