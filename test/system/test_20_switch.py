# SPDX-License-Identifier: Apache-2.0
"""The life of the switch: vswitchd frozen or dead, what the daemon chooses at start, what `doctor` says of it."""
import os
import signal
import socket

from lab import sh, wait_until
from product import sekisho, sekisho_json
from test_01_main import refused
from test_04_faults import Stream, two_rules, works_again


def is_up(port):
    return ",UP" in sh(f"ip -o link show {port}").split(">")[0]


def test_frozen_vswitchd(t):
    """vswitchd stopped: after two silent seconds the app's interface is down; when it answers again all is as before."""
    app = two_rules(t)
    stream, log = Stream(t, app), t.log()
    assert is_up(app.port)
    pid = t.daemon.ovs_pid("ovs-vswitchd")
    os.kill(pid, signal.SIGSTOP)
    try:
        log.find(lambda e: "does not answer" in str(e), timeout=10, event="switch")
        wait_until(lambda: not is_up(app.port), 5, "the app's interface goes down")
        assert app.curl("http://198.51.100.11/", timeout=1)[0] != 0
    finally:
        os.kill(pid, signal.SIGCONT)
    log.find(lambda e: "answers again" in str(e), timeout=10, event="switch")
    wait_until(lambda: is_up(app.port), 10, "the app's interface comes up again")
    works_again(app)
    refused(app, "http://198.51.100.11/")
    assert stream.alive(10), "the live connection did not survive"
    assert t.daemon.ovs_pid("ovs-vswitchd") == pid


def note_of(words):
    return next((r.get("note") for r in sekisho_json("rules") if words in r["rule"]), None)


def test_forward_of_a_port_in_use(t):
    """A port that the host listens on, or that another app holds, is not passed on: `rules` and the log say so, the holder keeps it."""
    t.script.host_answers = True
    mine = socket.create_server(("", 8080))
    game, other, log = t.app("game"), t.app("other"), t.log()
    for app in ("game", "other"):
        t.permit(app, "192.0.2.0/24", 27015, "tcp", "in")
    sekisho("allow", "game", "from", "lan", "port", "8080/tcp")
    log.find(lambda e: "8080/tcp" in str(e) and "listens" in str(e), event="refused", app="game")
    wait_until(lambda: "listens on it" in (note_of("8080") or ""), 5, "the note beside the rule")
    sekisho("allow", "game", "from", "lan", "port", "27015/tcp")
    sekisho("allow", "other", "from", "lan", "port", "27015/tcp")
    log.find(lambda e: "27015/tcp" in str(e) and "game" in e["text"], event="refused", app="other")
    assert note_of("allow game from lan port 27015") is None
    assert "game holds it" in sekisho("rules")
    ruleset = sh("nft list table inet sekisho")
    assert "8080" not in ruleset and ruleset.count("27015") == 2, ruleset
    mine.close()
    other.detach()
    game.detach()
    wait_until(lambda: "27015" not in sh("nft list table inet sekisho"), 5, "the forward ends with its app")
