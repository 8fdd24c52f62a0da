#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Completion typed into the real shells, at a terminal of their own. usage: completion.py SEKISHO"""
import os
import pty
import re
import select
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1])
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "PS1='READY> '; . <(sekisho completion bash)\n"),
    "zsh": (["zsh", "-f", "-i"], "PS1='READY> '; autoload -U compinit; compinit -u -D; . <(sekisho completion zsh)\n"),
    "fish": (["fish", "--no-config", "-i"], "function fish_prompt; echo 'READY> '; end; sekisho completion fish | source\n"),
}
# What is typed before the tab, and what the line has then. Each is the only candidate.
CASES = [("sekisho comp", "sekisho completion"), ("sekisho allow web po", "sekisho allow web port"), ("sekisho deny web to inter", "sekisho deny web to internet"),
         ("sekisho allow web to a.example until log", "sekisho allow web to a.example until logout"), ("sekisho final dr", "sekisho final drop"),
         ("sekisho run --ask reh", "sekisho run --ask rehearse"), ("sekisho policy fm", "sekisho policy fmt")]


class Shell:
    def __init__(self, name, home):
        argv, begin = SHELLS[name]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(HOME=home, TERM="xterm", PATH=f"{home}:{os.environ['PATH']}", XDG_CONFIG_HOME=home, XDG_DATA_HOME=home, LC_ALL="C.UTF-8")
            os.chdir(home)
            os.execvp(argv[0], argv)
        self.said = ""
        os.write(self.fd, begin.encode())
        self.until("READY> .*READY> |READY> $")

    def until(self, pattern, seconds=60):
        end = time.monotonic() + seconds
        while True:
            plain = re.sub(r"\x1b\[[0-9;?>]*[A-Za-z]|\x1b[=>()][A-Z0-9]?|\x1b\][^\x07]*\x07|[\r\x08]", "", self.said)
            if re.search(pattern, plain, re.S):
                return plain
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"no {pattern!r} in {plain[-400:]!r}")
            self.said += os.read(self.fd, 65536).decode(errors="replace")

    def complete(self, typed, whole):
        self.said = ""
        os.write(self.fd, typed.encode() + b"\t")
        self.until(re.escape(whole))
        self.said = ""
        os.write(self.fd, b"\x15\n")
        self.until(r"READY> ")

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def main():
    failed = passed = 0
    with tempfile.TemporaryDirectory() as home:
        os.symlink(PROGRAM, f"{home}/sekisho")
        for name in SHELLS:
            shell = Shell(name, home)
            for typed, whole in CASES:
                try:
                    shell.complete(typed, whole)
                    passed += 1
                except AssertionError as e:
                    failed += 1
                    print(f"not ok {name}: {typed!r}: {e}")
            shell.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
