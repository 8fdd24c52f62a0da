# SPDX-License-Identifier: Apache-2.0
"""Programs without a terminal: run --detach, logs, console."""
import os
import pty
import select
import subprocess
import time

from lab import build_dir, wait_until
from product import environment, processes_named, sekisho, sekisho_json
from test_07_vm import vm_state


def detach(t, name, *argv, options=()):
    t.script.app(name, *t.vm_addresses)
    began = time.monotonic()
    status, out, err = sekisho("run", "--detach", *options, name, "--", *argv, check=False, timeout=120)
    t.say(f"{name} detached in {time.monotonic() - began:.2f} s")
    return status, out, err


def names():
    return [a["app"] for a in sekisho_json("ps")]


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, t, *words):
        ours, theirs = pty.openpty()
        self.fd, self.seen = ours, b""
        self.process = subprocess.Popen([f"{build_dir()}/sekisho", *words], env=environment(), stdin=theirs, stdout=theirs, stderr=theirs,
                                        start_new_session=True)
        t.processes.append(self.process)
        os.close(theirs)

    def says(self, word, within=40):
        def there():
            while select.select([self.fd], [], [], 0)[0]:
                try:
                    self.seen += os.read(self.fd, 4096)
                except OSError:
                    break
            return word in self.seen
        wait_until(there, within, f"{word} on the terminal, which shows {self.seen[-300:]}")

    def type(self, data):
        os.write(self.fd, data)


@vm_state
def test_detach_logs_console(t):
    """run --detach returns once the program runs; logs shows what it wrote, console goes on with it and ends with its status."""
    program = "echo out; echo err >&2; printf '\\033[31mred\\n'; cat; while ! [ -e /tmp/go ]; do sleep 0.2; done; echo late; exit 4"
    status, out, err = detach(t, "calm", "sh", "-c", program)
    assert (status, out, err) == (0, "", ""), (status, out, err)
    assert names() == ["calm"]
    wait_until(lambda: "red" in sekisho("logs", "calm"), 20, "its output")
    wait_until(lambda: {"out", "err"} <= set(sekisho("logs", "calm").split("\n")), 20, "both streams")
    shown = Terminal(t, "logs", "calm")
    shown.says(b"\\x1b[31mred")
    console = subprocess.Popen([f"{build_dir()}/sekisho", "console", "calm"], env=environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(console)
    assert sekisho("exec", "calm", "--", "touch", "/tmp/go") == ""
    out, err = console.communicate(timeout=40)
    assert (console.returncode, out) == (4, "late\n"), (console.returncode, out, err)
    wait_until(lambda: names() == [] and not processes_named("qemu-system"), 20, "the machine is gone")
    for command in ("logs", "console"):
        assert sekisho(command, "calm", check=False)[0] == 3


@vm_state
def test_detach_fails(t):
    """A program that is not there: run --detach says so with 127 and leaves nothing."""
    status, _out, err = detach(t, "none", "no-such-program")
    assert status == 127 and "no-such-program" in err, (status, err)
    wait_until(lambda: names() == [] and not processes_named("qemu-system"), 20, "the machine is gone")


@vm_state
def test_console_terminal(t):
    """A shell detached with a terminal: consoles come and go, one at a time, also after its keeper died; Ctrl-] leaves it running."""
    assert detach(t, "shell", "sh", options=("-t",))[0] == 0
    for number in range(2):
        console = Terminal(t, "console", "shell")
        console.says(b"Ctrl-]")
        console.type(b"echo sum$((%d+40))\n" % number)
        console.says(b"sum%d" % (number + 40))
        status, _out, err = sekisho("console", "shell", check=False)
        assert status == 125 and "already" in err, (status, err)
        console.type(b"\x1d")
        assert console.process.wait(20) == 0
        assert names() == ["shell"]
        t.daemon.kill_role("keeper")
    sekisho("stop", "shell")
    wait_until(lambda: names() == [] and not processes_named("qemu-system"), 20, "the machine is gone")


@vm_state
def test_console_of_others(t):
    """Another user sees neither output nor console, and learns nothing from the refusal; an interface that is attached has none."""
    assert detach(t, "mine", "sh", "-c", "echo secret; sleep 100")[0] == 0
    for command in ("logs", "console"):
        status, out, err = sekisho(command, "mine", check=False, user=65534)
        assert status in (3, 4) and "secret" not in out + err, (status, out, err)
        status, out, err = sekisho("--owner", "root", command, "mine", check=False, user=65534)
        assert status == 4 and "secret" not in out + err, (status, out, err)
    t.app("other")
    assert sekisho("logs", "other", check=False)[0] == 1
    sekisho("stop", "mine")
