# SPDX-License-Identifier: Apache-2.0
"""Questions under every timing: agents that come and go, a desk that is killed, cards of many names, reviews, learning."""
import json
import os
import select
import socket
import subprocess
import time

from lab import wait_until
from product import environment, sekisho, sekisho_json
from run import alone
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
