# SPDX-License-Identifier: Apache-2.0
"""Questions under every timing: agents that come and go, a desk that is killed, cards of many names, reviews, learning."""
import json
import os
import signal
import subprocess
import time

from lab import LAB, build_dir, wait_until
from product import environment, sekisho, sekisho_json
from test_04_faults import Stream
from test_11_review import Api

NOBODY = 65534
PAGE = "http://198.51.100.10/"
LINE = "allow web to 198.51.100.10 port 80/tcp until exit"


def test_ask_survives_desk(t):
    """An agent whose desk was killed is asked again, under the same id, and its answer counts."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", PAGE)
    q = agent.question(app="web")
    t.daemon.kill_role("desk")
    agent.expect("cancelled", id=q["id"], by="the daemon was restarted")
    again = agent.question(app="web", timeout=20)
    assert again["id"] == q["id"] and again["digest"] == q["digest"], (q, again)
    t.answer(agent, again, LINE)
    out, _ = p.communicate(timeout=30)
    assert p.returncode == 0, out


def test_ask_once_without_rights(t):
    """`ask --once` of somebody who may not answer fails with 4, also at the end of its input; of one who may, unanswered, with 1."""
    for options in ((), ("--json",)):
        status, _, err = sekisho("ask", "--once", *options, check=False, user=NOBODY, text="")
        assert status == 4, (options, status, err)
        status, _, err = sekisho("ask", "--once", *options, check=False, text="")
        assert status == 1, (options, status, err)


FLOOD = """
import socket, select, errno, signal, sys
refused, waiting = 0, {}
for port in range(int(sys.argv[1]), int(sys.argv[2])):
    s = socket.socket(); s.setblocking(False); s.connect_ex(('198.51.100.10', port)); waiting[s.fileno()] = s
p = select.epoll()
for fd in waiting: p.register(fd, select.EPOLLOUT)
while True:
    got = p.poll(2)
    if not got: break
    for fd, _ in got:
        refused += waiting[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
        p.unregister(fd)
print(refused, flush=True)
signal.pause()
"""


def test_question_flood(t):
    """One app asks a hundred things at once: a review is said, the overflow is refused and counted, another app's question comes at once."""
    flood, other, agent = t.app("flood"), t.app("web"), t.agent()
    p = t.start(flood, "python3", "-u", "-c", FLOOD, "2000", "2100")
    review = agent.expect("review", timeout=20)["review"]
    assert review["app"] == "flood" and review["on"], review
    refused = int(p.stdout.readline())
    assert refused == 36, f"{refused} of 100 refused, 64 places"
    began = time.monotonic()
    q = t.start(other, "curl", "-sS", "--max-time", "60", PAGE)
    asked = agent.question(app="web")
    assert time.monotonic() - began < 2 and not asked["review"], asked
    t.answer(agent, asked, LINE)
    assert q.wait(timeout=20) == 0
    api = Api()
    api.socket.sendall(b'{"method":"org.sekisho.Questions.Serve","more":true}\0')
    reviews = api.reply()["parameters"]["reviews"]
    assert [r["app"] for r in reviews] == ["flood"] and reviews[0]["refused"] == refused, reviews


def open_questions():
    return Api().call("org.sekisho.Questions.List")["parameters"]["questions"]


def test_question_rate(t):
    """Questions that are settled at once do not buy an app more than its burst and one a second."""
    flood = t.app("flood")
    t.agent()
    first = t.start(flood, "python3", "-u", "-c", FLOOD, "2000", "2040")
    wait_until(lambda: len(open_questions()) == 40, 10, "forty questions")
    t.rule("deny flood")
    ids = [r["rule_id"] for r in sekisho_json("rules")]
    assert int(first.stdout.readline()) == 40
    sekisho("rules", "rm", *ids)
    second = t.start(flood, "python3", "-u", "-c", FLOOD, "2040", "2080")
    refused = int(second.stdout.readline())
    assert 8 <= refused <= 16, f"{refused} of eighty refused, 64 and one a second allowed"


def learner(t, draft, *words):
    """`sekisho learn web`, begun."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "learn", "web", *words, "-o", draft], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment())
    t.processes.append(p)
    first = p.stderr.readline()
    assert "learning web until" in first, first
    return p


def test_learn(t):
    """While learning an unknown name and address pass and are written down; a denied one does not; at the end all is closed again."""
    draft = f"{LAB}/draft.rules"
    app, agent = t.app("web"), t.agent()
    t.rule("deny web to 198.51.100.11")
    p = learner(t, draft, "--for", "60s")
    t.permit("web", "www.example.org", 80)
    told = t.permit("web", "198.51.100.10", 80)
    assert app.curl("http://www.example.org/")[0] == 0
    assert app.curl(PAGE)[0] == 0
    assert app.curl("http://198.51.100.11/")[0] == 7, "a refusal was overridden"
    agent.quiet(0.2)
    p.send_signal(signal.SIGINT)
    assert p.wait(timeout=10) == 0
    assert "LET THROUGH" in p.stderr.read()
    t.ended(told)
    with open(draft) as f:
        lines = [line.strip() for line in f if not line.startswith("#")]
    assert lines == ["allow web to www.example.org port 80/tcp", "allow web to 198.51.100.10 port 80/tcp"], lines
    assert sekisho("policy", "check", draft) is not None
    os.unlink(draft)
    again = t.start(app, "curl", "-sS", "--max-time", "60", PAGE)
    agent.answer(agent.question(app="web"), "deny web to 198.51.100.10 port 80/tcp until exit")
    assert again.wait(timeout=20) == 7


def test_learn_ends_with_desk(t):
    """A desk that dies while an app is learnt takes what was let through with it, live connections too; the draft is kept."""
    draft = f"{LAB}/draft2.rules"
    app = t.app("web")
    permit = t.permit("web", "198.51.100.10", 1234)
    p = learner(t, draft, "--for", "60s")
    stream = Stream(t, app)
    assert stream.alive()
    t.daemon.kill_role("desk")
    assert p.wait(timeout=20) == 6
    wait_until(lambda: not stream.alive(1), 15, "the connection ends")
    t.ended(permit)
    with open(draft) as f:
        assert "allow web to 198.51.100.10 port 1234/tcp" in f.read()
    os.unlink(draft)
    assert sekisho_json("rules") == []


def test_rehearsal_lets_nothing_out(t):
    """Attached as a rehearsal nothing passes whatever an admin's final rule allows, no name is looked up, and all of it is in the log."""
    t.permit_rule = lambda line: None  # the witness is told nothing: whatever passes is a leak
    t.rule("final allow any to www.example.org port 80/tcp")
    t.rule("final allow any to 198.51.100.10 port 80/tcp")
    app = t.app("play", "--ask", "rehearse")
    for url in ("http://www.example.org/", PAGE, "http://198.51.100.10:8080/"):
        status, out, took = app.curl(url)
        assert status == 7 and took < 2, (url, status, out)
    wanted = {(e.get("name") or e["address"], e["port"]) for e in sekisho_json("log", "play") if e["event"] == "refused"}
    assert wanted == {("www.example.org", 80), ("198.51.100.10", 80), ("198.51.100.10", 8080)}, wanted
