# SPDX-License-Identifier: Apache-2.0
"""exec and shell: further programs in a machine that runs, each with streams of its own."""
import hashlib
import os
import subprocess

from lab import build_dir, wait_until
from product import environment, processes_named, sekisho, sekisho_json
from test_07_vm import vm_state
from test_13_console import Terminal, detach

COUNT = 4  # AGENT_EXTRAS


def run(*words, text=None, timeout=60):
    p = subprocess.run([f"{build_dir()}/sekisho", "exec", *words], input=text, stdin=None if text is not None else subprocess.DEVNULL,
                       capture_output=True, timeout=timeout, env=environment())
    return p.returncode, p.stdout, p.stderr


def start(t, *words):
    p = subprocess.Popen([f"{build_dir()}/sekisho", "exec", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=environment())
    t.processes.append(p)
    return p


def processes(name):
    """How many of that command run in the machine."""
    return int(run("box", "--", "sh", "-c", f"pgrep -cx {name} || true")[1])


@vm_state
def test_streams(t):
    """Status, streams, user, directory, environment, a terminal with its size; what is not there or not text is said."""
    assert detach(t, "box", "sleep", "600")[0] == 0
    assert run("box", "--", "sh", "-c", "cat; echo err >&2; exit 7", text=b"in\0\xff") == (7, b"in\0\xff", b"err\n")
    assert run("box", "--", "sh", "-c", "kill -TERM $$")[0] == 143
    status, _, err = run("box", "--", "no-such-program")
    assert status == 127 and b"no-such-program" in err, (status, err)
    assert run("-w", "/usr", "-e", "A=b c", "box", "--", "sh", "-c", "pwd; echo $A; id -u")[1] == b"/usr\nb c\n0\n"
    assert run("--user", "nobody", "box", "--", "id", "-un")[1] == b"nobody\n"
    status, _, err = run("--user", "who", "box", "--", "true")
    assert status == 125 and b'no user or group "who"' in err, (status, err)
    assert run("nothing", "--", "true")[0] == 125
    assert run("box")[0] == 2 and run("--what", "box", "--", "true")[0] == 2
    # It is the application's network: what it wants is asked as the application.
    t.rule("deny box to www.example.org")
    assert run("box", "--", "curl", "-sS", "https://www.example.org/")[0] == 6
    shell = Terminal(t, "shell", "box")
    shell.type(b"stty size; echo up-$((40+2))\n")
    shell.says(b"up-42")
    shell.type(b"echo sl$((1))eeps; sleep 50\n")
    shell.says(b"sl1eeps")
    shell.type(b"\x03")
    shell.says(b"^C")
    shell.type(b"echo still-$?\n")
    shell.says(b"still-130")
    shell.type(b"exit 3\n")
    assert shell.process.wait(20) == 3
    # The application's own program ends: its own status, and everybody hears of it.
    p = start(t, "box", "--", "sh", "-c", "echo up; sleep 100")
    assert p.stdout.readline() == b"up\n"
    assert sekisho("stop", "box") == ""
    assert p.wait(30) == 125 and b"has ended" in p.stderr.read()
    wait_until(lambda: not processes_named("qemu-system"), 20, "the machine is gone")


@vm_state
def test_many(t):
    """Four at once and no fifth; one that nobody reads stops no other; who goes takes his program with him; a new keeper, a new start."""
    assert detach(t, "box", "sleep", "600")[0] == 0
    busy = [start(t, "box", "--", "sh", "-c", "echo up; exec cat") for _ in range(COUNT - 1)]
    for p in busy:
        assert p.stdout.readline() == b"up\n"
    flood = start(t, "box", "--", "sh", "-c", "echo up; exec yes")
    assert flood.stdout.readline() == b"up\n"
    status, _, err = run("box", "--", "true")
    assert status == 125 and b"as many programs" in err, (status, err)
    for i, p in enumerate(busy):
        p.stdin.write(b"%d\n" % i)
        p.stdin.flush()
        assert p.stdout.readline() == b"%d\n" % i
    # Its program hears that nobody is there; what does not listen is killed.
    flood.kill()
    wait_until(lambda: run("box", "--", "true")[0] == 0, 20, "a place is free again")
    deaf = start(t, "box", "--", "sh", "-c", "trap '' HUP; echo up; while :; do sleep 0.1; done")
    assert deaf.stdout.readline() == b"up\n"
    busy.pop().kill()
    deaf.kill()
    wait_until(lambda: run("box", "--", "pgrep", "-cf", "trap .. HUP")[1].strip() in (b"0", b"1"), 20, "the deaf one is killed")
    data = os.urandom(3 << 20) * 2
    status, out, _ = run("box", "--", "cat", text=data)
    assert status == 0 and hashlib.sha256(out).digest() == hashlib.sha256(data).digest(), (status, len(out), len(data))
    t.daemon.kill_role("keeper")
    for p in busy:
        assert p.wait(20) == 125, p.returncode
    wait_until(lambda: run("box", "--", "echo", "back")[1] == b"back\n", 30, "programs start under the new keeper")
    wait_until(lambda: processes("cat") == 0, 20, "those of the old one ended")
    assert [a["app"] for a in sekisho_json("ps")] == ["box"]
    sekisho("stop", "box")
