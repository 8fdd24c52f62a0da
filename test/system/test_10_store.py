# SPDX-License-Identifier: Apache-2.0
"""A store that is damaged, gone or old: nothing passes until a person has decided."""
import os
import signal
import subprocess

from lab import wait_until
from product import POLICY_DIR, STATE_DIR, sekisho
from run import no_daemon

DB = f"{STATE_DIR}/store/store.db"
PAGE = ["curl", "-sS", "-o", "/dev/null", "--max-time", "8", "http://198.51.100.10/"]


def overwrite():
    with open(DB, "r+b") as f:
        f.write(b"no database at all")


def doctor(word):
    code, out, err = sekisho("doctor", check=False)
    return next(line for line in (out + err).splitlines() if word in line and "store" in line)


def begin(t):
    os.makedirs(POLICY_DIR, exist_ok=True)
    with open(f"{POLICY_DIR}/10-all.rules", "w") as f:
        f.write("allow web to 198.51.100.10 port 80/tcp\n")
    t.new_daemon().start()
    t.watch_port()
    t.permit("web", "198.51.100.10", 80)
    app = t.app("web")
    sekisho("deny", "web", "to", "198.51.100.11")
    assert t.start(app, *PAGE).wait(30) == 0
    return app


def held(t):
    line = doctor("nothing passes")
    assert "damaged-1" in line or "gone" in line, line
    code, out, err = sekisho("allow", "web", "to", "198.51.100.12", check=False)
    assert code == 1 and "store.db.accept" in out + err, (code, out, err)


def decide(t):
    """As the doctor says: accept and reload."""
    open(f"{DB}.accept", "x").close()
    os.kill(t.daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: sekisho("allow", "other", "to", "198.51.100.12", check=False)[0] == 0, 20, "the daemon takes changes again")


@no_daemon
def test_damaged_at_start(t):
    """A database damaged while the daemon was down is set aside; nothing passes although files allow; a decision is enough."""
    begin(t)
    assert t.daemon.stop() == 0
    overwrite()
    t.daemon.start()
    held(t)
    assert os.path.exists(f"{DB}.damaged-1") and not os.path.exists(DB)
    assert "nothing passes" in t.daemon.tail(40)
    decide(t)
    assert "whole" in doctor("whole")


@no_daemon
def test_damaged_under_way(t):
    """desk killed and its database damaged: what was allowed ends too, nothing new passes, until a decision."""
    app = begin(t)
    before = t.daemon.role_pids("desk")
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    overwrite()
    subprocess.run(["rm", "-f", f"{DB}-wal"], check=True)
    t.daemon.kill_role("desk")
    wait_until(lambda: "nothing passes" in sekisho("doctor", check=False)[1], 20, "the doctor says it")
    held(t)
    assert t.start(app, *PAGE).wait(30) != 0, "a page came although nothing may pass"
    decide(t)
