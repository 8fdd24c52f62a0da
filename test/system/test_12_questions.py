# SPDX-License-Identifier: Apache-2.0
"""Questions under every timing: agents that come and go, a desk that is killed, cards of many names, reviews, learning."""
import json
import os
import subprocess

from lab import wait_until
from product import environment, sekisho, sekisho_json
from run import alone

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
