# SPDX-License-Identifier: Apache-2.0
"""The life of the switch: vswitchd frozen or dead, what the daemon chooses at start, what `doctor` says of it."""
import os
import signal

from lab import sh, wait_until
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
