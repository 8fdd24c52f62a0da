# SPDX-License-Identifier: Apache-2.0
"""A real guest whose first process is not ours: every field of every frame, on all its ports. The keeper lives, its terminal gets no byte
that is not escaped or the program's own, every client hears an end in time."""
import os
import subprocess
import time

from lab import LAB, build_dir, sh, wait_until
from product import STATE_DIR, environment, processes_named, sekisho, sekisho_json
from run import no_daemon
from test_07_vm import vm_state
from test_09_rights import begin

SEEDS, SESSIONS, AT_ONCE = 6, 40, 4


def hostile(function):
    """The guest's first process is test/guest/hostile.c, in a state directory of the test's own, where the kernel's files are made from it."""
    def wrapped(t):
        init = os.path.realpath(f"{build_dir()}/sekisho-init")
        sh("mount", "--bind", f"{build_dir()}/test/guest/hostile-init", init)
        sh("rm", "-rf", f"{STATE_DIR}/kernel")
        try:
            function(t)
        finally:
            t.daemon.stop()
            sh("umount", init)
            sh("rm", "-rf", f"{STATE_DIR}/kernel")
    wrapped.__name__, wrapped.__doc__ = function.__name__, function.__doc__
    wrapped.__dict__.update(function.__dict__)
    return wrapped


def ours_is_clean(err, what):
    """What we say ourselves is text."""
    for line in err.split(b"\n"):
        if line.startswith(b"sekisho:"):
            assert all(c >= 0x20 and c != 0x7f for c in line) and b"\xe2\x80\xae" not in line and b"\xc2\x9b" not in line, (what, line)


def start(t, *words):
    p = subprocess.Popen([f"{build_dir()}/sekisho", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    t.processes.append(p)
    return p


def keepers_died(t):
    return t.daemon.count("keeper of slot") + t.daemon.count("killed by signal") + t.daemon.count("without a word")


@vm_state
@no_daemon
@hostile
def test_control_port(t):
    """On its control port: each run ends, in seconds, with a status that is its program's or ours."""
    begin(t)
    for seeds in [range(s, min(s + 2, SEEDS + 1)) for s in range(1, SEEDS + 1, 2)]:
        running = [(seed, start(t, "run", f"evil{seed}", "--", str(seed))) for seed in seeds]
        for seed, p in running:
            out, err = p.communicate(timeout=60)
            assert 0 <= p.returncode <= 255, (seed, p.returncode)
            ours_is_clean(err, seed)
    wait_until(lambda: sekisho_json("ps") == [] and not processes_named("qemu-system"), 30, "all have ended")
    assert keepers_died(t) == 0, t.daemon.tail()


@vm_state
@no_daemon
@hostile
def test_further_ports(t):
    """On its further ports: each session ends, the next one begins on the same port, the machine's own program is not touched by them."""
    begin(t)
    t.script.app("lamb", *t.vm_addresses)
    sekisho("run", "--detach", "lamb", "--", "0")
    keeper = t.daemon.role_pids("keeper")
    began = time.monotonic()
    for _ in range(SESSIONS // AT_ONCE):
        for p in [start(t, "exec", "lamb", "--", "x") for _ in range(AT_ONCE)]:
            out, err = p.communicate(timeout=40)
            assert 0 <= p.returncode <= 255
            ours_is_clean(err, "exec")
    t.say(f"{SESSIONS} sessions in {time.monotonic() - began:.0f} s")
    assert t.daemon.role_pids("keeper") == keeper and [a["state"] for a in sekisho_json("ps")] == ["running"]
    assert keepers_died(t) == 0, t.daemon.tail()
    sekisho("stop", "lamb")
    wait_until(lambda: sekisho_json("ps") == [] and not processes_named("qemu-system"), 30, "it has ended")
