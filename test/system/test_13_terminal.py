# SPDX-License-Identifier: Apache-2.0
"""`sekisho ask` as a person meets it: at a terminal of its own, key by key."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from lab import build_dir, wait_until
from product import environment, sekisho_json

URL = "http://198.51.100.10/"
NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x08|\x07")


class Terminal:
    def __init__(self, *options, columns=100):
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen([f"{build_dir()}/sekisho", "ask", *options], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                                        env={**environment(), "TERM": "xterm"})
        os.close(theirs)
        self.said = ""
        self.until("waiting for questions")

    def more(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            self.said += NOISE.sub("", os.read(self.fd, 65536).decode(errors="replace"))

    def until(self, pattern, seconds=30):
        """What was said since the last such call, up to what fits."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.said):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.said[-600:]!r}"
            self.more(left)
        at = re.search(pattern, self.said).end()
        seen, self.said = self.said[:at], self.said[at:]
        return seen

    def type(self, text):
        os.write(self.fd, text.encode())

    def press(self, key, wanted):
        """Again and again, as a person does until the key is taken: one pressed too early counts for nothing."""
        def taken():
            self.type(key)
            self.more(0.3)
            return re.search(wanted, self.said)
        wait_until(taken, 20, f"{wanted} after {key!r}")
        self.until(wanted)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


def asked(t, name="web", *options):
    """An app whose connection is held, and a terminal that shows the question."""
    app, terminal = t.app(name), Terminal(*options)
    p = t.start(app, "curl", "-sS", "-m", "80", "-o", "/dev/null", URL)
    terminal.until(rf"{name} wants 198\.51\.100\.10 .*80/tcp +(first time, )?held")
    terminal.press("x", "x means nothing here")  # what was typed before the question stood there is thrown away
    return app, p, terminal


def rules():
    return [r["rule"] for r in sekisho_json("rules")]


def test_allow_and_haste(t):
    """A key pressed the moment the question appears answers nothing; later `a` allows until exit."""
    terminal = Terminal()
    for name in ("web1", "web2", "web3", "web4", "web5"):  # a busy machine may press later than at once
        t.permit_rule(f"allow {name} to 198.51.100.10 port 80/tcp until exit")
        p = t.start(t.app(name), "curl", "-sS", "-m", "80", "-o", "/dev/null", URL)
        terminal.until(rf"{name} wants 198\.51\.100\.10 .*80/tcp")
        terminal.press("a", "only just appeared|→ allow")
        if not [r for r in rules() if name in r]:
            break
    else:
        raise AssertionError("what was pressed at once counted each time")
    terminal.press("a", f"→ allow {name} to 198.51.100.10 port 80/tcp until exit")
    assert p.wait(20) == 0
    terminal.close()


def test_deny_always(t):
    """`D` denies for good; Return and an arrow key answer nothing before."""
    _, p, terminal = asked(t)
    terminal.type("\r\x1b[A\n")
    terminal.press("D", r"→ deny web to 198\.51\.100\.10[^\n]*")
    assert p.wait(20) == 7
    assert rules() == ["deny web to 198.51.100.10 port 80/tcp"], rules()
    terminal.close()


def test_time_and_later(t):
    """`t` changes the time that is offered, `w` and `?` explain, `l` leaves the question and writes no rule."""
    _, p, terminal = asked(t)
    terminal.type("t")
    terminal.until("allow for 10m")
    terminal.press("s", "rule> allow web to 198.51.100.10 port 80/tcp for 10m")
    terminal.type("\x15\r")
    terminal.press("x", "x means nothing here")
    terminal.press("w", "owner root, address 198.51.100.10")
    terminal.press("?", "leave it for later")
    terminal.press("l", "→ later")
    assert rules() == [] and p.poll() is None
    terminal.close()


def test_edit(t):
    """`s` edits the suggested line: a mistake is shown where it is and nothing is sent, Tab completes, the line becomes the rule."""
    _, p, terminal = asked(t)
    terminal.press("s", "rule> allow web to 198.51.100.10 port 80/tcp until exit")
    terminal.type("\x15allow web to 198.51.100.10 prot 80\r")
    terminal.until(r"\^ .*port")
    assert rules() == []
    t.permit_rule("allow web to 198.51.100.10 port 80/tcp for 1h")
    terminal.type("\x15allow web to 198.51.100.10 po\t80/tcp fo\t1h\r")
    terminal.until("→ allow web to 198.51.100.10 port 80/tcp ")
    assert p.wait(20) == 0
    terminal.close()


def test_gone_while_edited(t):
    """The application goes while its line is edited: the editing ends and says so; the next question is answered as ever."""
    app, _, terminal = asked(t)
    terminal.press("s", "rule> allow")
    app.detach()
    terminal.until("needs no answer any more")
    other = t.app("other")
    p = t.start(other, "curl", "-sS", "-m", "80", "-o", "/dev/null", URL)
    terminal.until("other wants")
    terminal.press("d", "→ deny other")
    assert p.wait(20) == 7
    terminal.close()


def test_narrow(t):
    """Forty columns; --once ends after one answer."""
    app, terminal = t.app("web"), Terminal("--once", columns=40)
    p = t.start(app, "curl", "-sS", "-m", "80", "-o", "/dev/null", URL)
    terminal.until("web wants")
    terminal.press("d", "→ deny")
    assert p.wait(20) == 7 and terminal.process.wait(30) == 0
    terminal.close()
