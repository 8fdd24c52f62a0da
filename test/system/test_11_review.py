# SPDX-License-Identifier: Apache-2.0
"""What a hostile review of the whole showed, each as the input that showed it."""
import json
import os
import signal
import socket

from lab import wait_until
from product import RUN_DIR, Lines, sekisho, sekisho_json
from run import alone
from test_04_faults import STREAM, Stream, kept_stream

NOBODY = 65534
STREAM_RULE = "web to 198.51.100.10 port 1234/tcp"


class Api:
    """The control socket without the command line: a call may be under way while something else happens."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(RUN_DIR + "/api")
        self.socket.settimeout(20)

    def send(self, method, **parameters):
        self.socket.sendall(json.dumps({"method": method, "parameters": parameters}).encode() + b"\0")

    def reply(self):
        said = b""
        while b"\0" not in said:
            piece = self.socket.recv(65536)
            assert piece, "the daemon closed the connection"
            said += piece
        return json.loads(said.split(b"\0")[0])

    def call(self, method, **parameters):
        self.send(method, **parameters)
        return self.reply()


def test_many_rules_under_the_filter(t):
    """Five hundred rules at once harm no role: a larger sort asks the kernel for something its filter must allow."""
    before = {role: t.daemon.role_pids(role) for role in ("desk", "gate")}
    r = Api().call("org.sekisho.Rules.Add", rules=[f"deny a{i} to 198.51.100.10 port 80/tcp" for i in range(500)])
    assert "error" not in r and r["parameters"]["in_force"], str(r)[:300]
    assert {role: t.daemon.role_pids(role) for role in before} == before, "a role died"


@alone(users_group="nogroup")
def test_user_cannot_remove_an_admins_refusal(t):
    """A final deny that an admin wrote about a user's app cannot be taken away by that user."""
    r = Api().call("org.sekisho.Rules.Add", rules=["final deny shop", "deny shop from lan"], owner="nobody")
    for added in r["parameters"]["added"]:
        status, _, err = sekisho("rules", "rm", added["rule_id"], check=False, user=NOBODY)
        assert status == 4, (status, err)
    assert len(sekisho_json("rules", "--all")) == 2


def test_final_deny_overtakes_a_charge(t):
    """A final deny that is added before a count has become durable: the packet that waits for the count is refused, or, when it went while the new
    policy was being checked, its connection is cut by the time the deny is in force."""
    app, api = t.app("web"), Api()
    t.rule(f"allow {STREAM_RULE} once")
    api.call("org.varlink.service.GetInfo")
    desk = t.daemon.role_pids("desk")[0]
    os.kill(desk, signal.SIGSTOP)
    try:
        api.send("org.sekisho.Rules.Add", rules=["final deny web"])
        p = t.start(app, "python3", "-u", "-c", STREAM)
        wait_until(lambda: "SYN-SENT" in app.run("ss", "-tn", "state", "syn-sent")[1] or "1234" in app.run("ss", "-tn", "state", "syn-sent")[1], 10,
                   "the first packet is on its way")
    finally:
        os.kill(desk, signal.SIGCONT)
    assert api.reply()["parameters"]["in_force"]
    said, lines = [], Lines(p.stdout)
    while (line := lines.next(10)) is not None and line != "":
        said.append(line)
    assert p.wait(10) == 0 or "up" not in said, said
    assert said.count("data") <= 1, said


def test_hot_rows_do_not_outlive_gate(t):
    """A known peer that the switch admits by itself is forgotten by a new gate: what replaces its rule is counted."""
    app = t.app("web")
    plain = t.rule("allow web to 198.51.100.10 port 80/tcp")

    def page():
        return app.curl("http://198.51.100.10/", timeout=2)[0]

    def hot():
        page()
        return "nw_dst=198.51.100.10" in t.daemon.ofctl("dump-flows", "table=48")
    wait_until(hot, 20, "the peer is known")
    t.daemon.kill_role("gate")
    old = [r["rule_id"] for r in sekisho_json("rules")]
    wait_until(lambda: sekisho("allow", *"web to 198.51.100.10 port 80/tcp once".split(), check=False)[0] == 0, 20, "the rule is taken")
    sekisho("rules", "rm", *old)
    sekisho("deny", "web")
    wait_until(lambda: page() == 0, 20, "the one connection")
    assert [page() for _ in range(4)].count(0) == 0, "more than one connection"
    t.ended(plain)


def test_used_up_connection_survives_gate(t):
    """What `once` admitted runs to its own end, also when gate dies meanwhile."""
    app = t.app("web")
    t.rule(f"allow {STREAM_RULE} once")
    stream = kept_stream(t, app)
    assert stream.alive()
    before = t.daemon.role_pids("gate")
    t.daemon.kill_role("gate")
    wait_until(lambda: t.daemon.role_pids("gate") not in ([], before), 20, "gate is back")
    for _ in range(5):
        assert stream.alive(), "cut"


def test_used_up_twice(t):
    """The same counted rule, used up, written again and used up again: the second connection does not suffer from the first rule's end."""
    app = t.app("web")
    for _ in range(2):
        t.rule(f"allow {STREAM_RULE} once for 5s")
        stream = Stream(t, app)
        assert stream.alive(3), "cut before its time"
        wait_until(lambda: not stream.alive(1), 20, "the connection ends with the time of its rule")


def test_used_up_connection_ends_with_its_time(t):
    """`once for 5s`: used up or not, the connection ends after five seconds."""
    app = t.app("web")
    t.rule(f"allow {STREAM_RULE} once for 5s")
    stream = Stream(t, app)
    wait_until(lambda: not stream.alive(1), 20, "the connection ends with the time of its rule")


FILL = ("import json,socket,sys\ns=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);s.settimeout(60)\n"
        "def call(lines):\n"
        "  s.sendall(json.dumps({'method':'org.sekisho.Rules.Add','parameters':{'rules':lines}}).encode()+b'\\0')\n"
        "  got=b''\n"
        "  while not got.endswith(b'\\0'): got+=s.recv(1<<20)\n"
        "  return json.loads(got[:-1])\n"
        "for k in range(11):\n"
        "  r=call([f'deny a{k}-{i} to 198.51.100.10' for i in range(500)])\n"
        "  if 'error' in r: print(k,json.dumps(r)); break\n")


@alone(users_group="nogroup")
def test_one_user_fills_the_rule_table(t):
    """A user may have five thousand rules and no more; an admin's refusal fits all the same, and is in force."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 80/tcp")
    assert app.curl("http://198.51.100.10/")[0] == 0
    p = t.start(app, "setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--", "python3", "-c", FILL, RUN_DIR + "/api")
    out, _ = p.communicate(timeout=80)
    assert out.startswith("10 ") and "too many rules" in out, out[:300]
    sekisho("deny", "web")
    sekisho("deny", *"web to 198.51.100.10 port 80/tcp".split())
    assert app.curl("http://198.51.100.10/", timeout=3)[0] == 7
