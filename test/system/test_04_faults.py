# SPDX-License-Identifier: Apache-2.0
"""kill -9 of every part while traffic flows: nothing new passes, what flows ends within its lease, afterwards all works again.

And the table "What survives what" of the architecture page, cell by cell.
"""
import os
import signal
import socket
import time

from lab import LabError, sh, wait_until
from product import RUN_DIR, Agent, dns_answer, dns_query, sekisho, sekisho_json
from run import alone, no_daemon
from test_01_main import page, refused

STREAM = ("import socket,sys,time\ns=socket.create_connection(('198.51.100.10',1234))\ns.settimeout(80)\nprint('up',flush=True)\n"
          "try:\n  while True:\n    d=s.recv(4096)\n    if not d: break\n    print('data',flush=True)\nexcept OSError as e: print(e,flush=True)\n")


class Stream:
    """A connection that carries a line every tenth of a second; knows when the last one came."""

    def __init__(self, t, app):
        from product import Lines
        self.process = t.start(app, "python3", "-u", "-c", STREAM)
        self.lines = Lines(self.process.stdout)
        first = self.lines.next(30)
        assert first == "up", f"the stream did not come up: {first}"

    def alive(self, within=10):
        """A line that was sent after this call arrives."""
        while self.lines.ready or self.lines.next(0):
            self.lines.ready.clear()
        return self.lines.next(within) == "data"

    def silent_for(self, seconds, limit):
        """True when `seconds` pass without a line, before `limit`."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.lines.next(seconds) is None:
                return True
        return False


def kept_stream(t, app):
    """A stream that desk knows: what was admitted an instant before gate dies may be cut (switch page 2). Gate's copy at desk and the log's
    line travel together."""
    log = t.log()
    stream = Stream(t, app)
    log.find(event="connection", app=app.name, port=1234)
    return stream


def two_rules(t):
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 1234/tcp")
    t.rule("allow web to www.example.org port 443/tcp")
    t.rule("deny web to 198.51.100.11")
    return app


def works_again(app, timeout=40):
    """Allowed traffic works without the guest doing anything but try."""
    def tried():
        return app.curl("https://www.example.org/", timeout=3)[0] == 0
    wait_until(tried, timeout, "allowed traffic works again")


def kill_with_traffic(t, role):
    app = two_rules(t)
    stream = kept_stream(t, app)
    t.daemon.kill_role(role)
    refused_or_silent(app)
    works_again(app)
    refused(app, "http://198.51.100.11/")
    assert stream.alive(), f"the live connection did not survive the death of {role}"
    t.watch_port()


def refused_or_silent(app):
    status, out, _ = app.curl("http://203.0.113.66/", timeout=1)
    assert status != 0, out


def test_kill_gate(t):
    """gate killed: the live connection stays, what is allowed works again, what is not stays out."""
    kill_with_traffic(t, "gate")


def test_kill_names(t):
    """names killed: likewise."""
    kill_with_traffic(t, "names")


def test_kill_resolver(t):
    """resolver killed: likewise."""
    kill_with_traffic(t, "resolver")


def test_lookup_survives_resolver(t):
    """A name that the resolver was asked when it died is asked of the next one: the app's one query has its answer."""
    app = t.app("web")
    t.rule("allow web to orphan.wild.example.org")
    t.rule("deny web to evil.example.net")
    s = app.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(8)
    os.kill(t.daemon.role_pids("resolver")[0], signal.SIGSTOP)
    s.sendto(dns_query("orphan.wild.example.org"), (app.given["dns"][0], 53))
    assert app.resolve("evil.example.net")[0] == 3, "what is behind it on the way to gate"
    t.daemon.kill_role("resolver")
    rcode, found = dns_answer(s.recv(4096))
    s.close()
    assert rcode == 0 and found, (rcode, found)


def test_kill_desk(t):
    """desk killed: likewise; rules and the app are still there."""
    before = None
    app = two_rules(t)
    before = sekisho_json("rules")
    stream = Stream(t, app)
    t.daemon.kill_role("desk")
    works_again(app)
    wait_until(lambda: sekisho("ps", check=False)[0] == 0, 20, "desk serves again")
    assert [r["rule_id"] for r in sekisho_json("rules")] == [r["rule_id"] for r in before]
    assert [a["app"] for a in sekisho_json("ps")] == ["web"]
    assert stream.alive()


def test_kill_switchd(t):
    """switchd killed: likewise; a new app can be attached afterwards."""
    kill_with_traffic(t, "switchd")
    other = t.app("other")
    t.rule("allow other to 198.51.100.10 port 80/tcp")
    page(other, "http://198.51.100.10/")


def test_kill_gate_often(t):
    """gate killed ten times with unlawful traffic running all the while: not a frame of it passes."""
    from frames import ethernet, ip4, udp
    app = two_rules(t)
    gw, raw = app.gateway_mac(), app.raw()
    bad = ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, "203.0.113.66", 17, udp(app.ipv4, "203.0.113.66", 5, 5000, b"LIE")))
    pause = 4.0
    for _ in range(10):
        t.daemon.kill_role("gate")
        end = time.monotonic() + pause
        while time.monotonic() < end:
            raw.send(bad)
            time.sleep(0.01)  # style: a rate, not a synchronisation
    raw.close()
    works_again(app)


test_kill_gate_often.time_limit = 300


@alone()
def test_kill_main(t):
    """main killed, its roles with it: nothing new passes; after a restart the app is attached as before and its connection lives."""
    app = two_rules(t)
    stream = kept_stream(t, app)
    given = sekisho_json("ps")[0]
    rules = [r["rule_id"] for r in sekisho_json("rules")]
    t.daemon.kill_all()
    wait_until(lambda: not any(t.daemon.role_pids(r) for r in ("gate", "desk", "names")), 20, "the roles end with main")
    refused_or_silent(app)
    t.daemon.start()
    t.watch_port()
    again = sekisho_json("ps")[0]
    for key in ("app", "mac", "ipv4", "ipv6", "run", "port"):
        assert again[key] == given[key], f"{key}: {given[key]} became {again[key]}"
    assert [r["rule_id"] for r in sekisho_json("rules")] == rules
    works_again(app)
    assert stream.alive(), "the stream was cut"


@alone()
def test_main_stays_dead(t):
    """main killed for good: the live connection ends within its lease, at most 60 s, in the switch itself."""
    app = two_rules(t)
    stream = Stream(t, app)
    # Nobody answers ARP any more: the lease, not the guest's forgotten gateway, is to end the stream.
    sh(f"ip neigh replace {app.gateway4} lladdr {app.gateway_mac().hex(':')} dev eth0 nud permanent", ns=app.ns)
    began = time.monotonic()
    t.daemon.kill_all()
    assert stream.silent_for(3, 75), "the stream outlived its lease"
    t.say(f"silent {time.monotonic() - began - 3:.0f} s after the kill")


test_main_stays_dead.time_limit = 300


@alone()
def test_kill_vswitchd(t):
    """ovs-vswitchd killed: it comes back, the app's port with it, allowed traffic works, the rest stays out."""
    app = two_rules(t)
    page(app)
    old = t.daemon.ovs_pid("ovs-vswitchd")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: t.daemon.ovs_pid("ovs-vswitchd") != old, 20, "a new vswitchd")
    works_again(app)
    refused_or_silent(app)
    t.watch_port()


@alone()
def test_kill_ovsdb(t):
    """ovsdb-server killed: it comes back and allowed traffic works."""
    app = two_rules(t)
    page(app)
    old = t.daemon.ovs_pid("ovsdb-server")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: t.daemon.ovs_pid("ovsdb-server") != old, 20, "a new ovsdb-server")
    works_again(app)
    refused_or_silent(app)
    other = t.app("other")
    t.rule("allow other to 198.51.100.10 port 80/tcp")
    page(other, "http://198.51.100.10/")


@alone()
def test_sigterm(t):
    """SIGTERM: the connection is cut, nothing is left behind, rules are there at the next start, attachments are not."""
    app = two_rules(t)
    t.rule("allow web to api.example.org port 443/tcp 3 times")
    stream = Stream(t, app)
    status = t.daemon.stop()
    assert status == 0, f"status {status}: {t.daemon.tail()}"
    assert stream.silent_for(2, 20)
    left = t.daemon.left_behind()
    assert not left, left
    t.daemon.start()
    t.watch_port()
    assert len(sekisho_json("rules")) == 4
    assert sekisho_json("ps") == []
    app.attach()
    t.script.app("web", app.ipv4, f"{app.ipv6}/64")
    works_again(app)


@alone()
def test_counts_survive(t):
    """`2 times`: one used, main killed, restarted: one is left, not two."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 80/tcp 2 times")
    t.rule("deny web")
    page(app, "http://198.51.100.10/")
    t.daemon.kill_all()
    t.daemon.start()
    t.watch_port()
    page(app, "http://198.51.100.10/")
    refused(app, "http://198.51.100.10/")


@alone()
def test_deadline_survives(t):
    """`for 8s`: a restart in between does not move its end."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 80/tcp for 8s")
    t.rule("deny web")
    began = time.monotonic()
    page(app, "http://198.51.100.10/")
    ends = [r["deadline"] for r in sekisho_json("rules") if r["deadline"]]
    t.daemon.kill_all()
    t.daemon.start()
    t.watch_port()
    still = [r["deadline"] for r in sekisho_json("rules") if r["deadline"]]
    assert len(ends) == 1 and still in (ends, []), (ends, still)

    def over():
        return app.curl("http://198.51.100.10/", timeout=2)[0] == 7
    wait_until(over, 20, "the rule ends")
    assert 7 < time.monotonic() - began, time.monotonic() - began


def test_names_survive_gate(t):
    """A synthetic address the app holds still means its name after gate was killed."""
    app = t.app("web")
    t.rule("allow web to www.example.org port 80/tcp")
    address = app.resolve("www.example.org")[1][0]
    t.daemon.kill_role("gate")
    wait_until(lambda: app.curl(f"http://{address}/", timeout=3)[0] == 0, 20, "the old synthetic address serves")


def test_question_survives_gate(t):
    """A question that waits keeps its id when gate is killed, and its answer counts for the app's retry."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", "--retry", "3", "--retry-connrefused", "http://198.51.100.10/")
    q = agent.question(app="web")
    t.daemon.kill_role("gate")
    t.answer(agent, q, "allow web to 198.51.100.10 port 80/tcp until exit")
    out, _ = p.communicate(timeout=40)
    assert p.returncode == 0, out


def test_question_survives_desk(t):
    """A question that waits is asked again, with its id, when desk was killed."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", "http://198.51.100.10/")
    q = agent.question(app="web")
    t.daemon.kill_role("desk")
    wait_until(lambda: sekisho("ps", check=False)[0] == 0, 20, "desk serves again")
    again = t.agent().question(app="web", timeout=20)
    assert again["id"] == q["id"], (q, again)
    t.answer(t.agents[-1], again, "allow web to 198.51.100.10 port 80/tcp until exit")
    out, _ = p.communicate(timeout=40)
    assert p.returncode == 0, out


def test_question_survives_vswitchd(t):
    """A question that waits keeps its id when vswitchd is killed; its answer serves the retry."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", "--retry", "3", "--retry-connrefused", "http://198.51.100.10/")
    q = agent.question(app="web")
    old = t.daemon.ovs_pid("ovs-vswitchd")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: t.daemon.ovs_pid("ovs-vswitchd") != old, 20, "a new vswitchd")
    t.answer(agent, q, "allow web to 198.51.100.10 port 80/tcp until exit")
    out, _ = p.communicate(timeout=60)
    assert p.returncode == 0, out


def test_interface_vanishes(t):
    """An attached interface that vanishes has exited: the app is gone from `ps`, its `until exit` rule with it."""
    app = t.app("web")
    t.rule("allow web to www.example.org port 443/tcp until exit")
    page(app)
    sh(f"ip link del {app.port}")
    wait_until(lambda: sekisho_json("ps") == [], 20, "the app has exited")
    assert not [r for r in sekisho_json("rules") if r.get("state") == "active"]
    t.lab.remove_namespace("web")


@no_daemon
def test_start_stop_ten_times(t):
    """Ten starts and stops leave nothing behind and no descriptor, link or table more than before."""
    for _ in range(10):
        d = t.new_daemon()
        began = time.monotonic()
        d.start()
        took = time.monotonic() - began
        assert d.stop() == 0, d.tail()
        left = d.left_behind()
        assert not left, left
    t.say(f"ready in {took:.2f} s")
