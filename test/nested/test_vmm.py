# SPDX-License-Identifier: Apache-2.0
"""The main job in a virtual machine on KVM, over the kernel's datapath."""
import os
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

import images
from lab import LAB, build_dir, wait_until
from product import Lines, environment, processes_named, sekisho
from run import alone
from test_23_images import PLACE, with_images

EVERY = 'echo up; while read -r c; do eval "$c"; echo "end $?"; done'


def layer_with_nc():
    return images.busybox_layer().add("bin/nc", tarfile.SYMTYPE, link="busybox").done()


class Shell:
    """A shell in a machine, told line by line."""

    def __init__(self, t):
        source = "docker-archive:" + images.docker_archive(f"{PLACE}/nested.tar", [layer_with_nc()], Cmd=["/bin/sh"], Env=["PATH=/bin"])
        began = time.monotonic()
        sekisho("image", "prepare", "--space", "64", source, timeout=120)
        prepared = time.monotonic()
        self.process = subprocess.Popen([f"{build_dir()}/sekisho", "run", "--image", source, "--ephemeral", "vm", "--", "sh", "-c", EVERY],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(f"{LAB}/vm.err", "w"), env=environment())
        t.processes.append(self.process)
        t.script.app("vm", *t.vm_addresses)
        self.lines = Lines(self.process.stdout)
        first = self.lines.next(100)
        assert first == "up", (first, open(f"{LAB}/vm.err").read(), t.daemon.tail())
        t.say(f"image in {prepared - began:.1f} s, run to first output in {time.monotonic() - prepared:.1f} s")

    def tell(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def end(self, within):
        """What was said until the command's end, and its status."""
        said, until = [], time.monotonic() + within
        while time.monotonic() < until:
            line = self.lines.next(until - time.monotonic())
            if line is not None and line.startswith("end "):
                return said, int(line.split()[1])
            said.append(line)
        raise AssertionError(f"no end within {within} s: {said[-5:]}")


def story(t, program):
    """Question, allow, deny, an end that cuts, a machine that outlives the daemon, a second program, hold and go on, stop."""
    agent = t.agent()
    shell = Shell(t)
    assert processes_named(program), f"{program} does not run it"
    shell.tell("wget -qO- http://198.51.100.10/ | wc -c")
    q = agent.question(60, app="vm", address="198.51.100.10")
    t.answer(agent, q, "allow vm to 198.51.100.10 port 80/tcp until exit")
    said, status = shell.end(60)
    assert status == 0 and int(said[0]) > 10, said
    t.rule("deny vm to 198.51.100.11")
    shell.tell("wget -qO- http://198.51.100.11/")
    assert shell.end(50)[1] != 0
    t.rule("allow vm to 198.51.100.10 port 1234/tcp for 30s")
    shell.tell("nc 198.51.100.10 1234 </dev/zero | head -n 1000000 | wc -l")
    said, status = shell.end(100)
    assert 1 < int(said[0]) < 900, said
    t.rule("allow vm to www.example.org port 80/tcp")
    t.daemon.kill_all()
    t.daemon.start()
    t.watch_port()

    def fetched():
        return sekisho("exec", "vm", "--", "wget", "-qO-", "http://www.example.org/", check=False, timeout=60)[0] == 0
    wait_until(fetched, 100, "the machine's allowed traffic goes on under the next daemon")
    assert processes_named(program)
    sekisho("freeze", "vm", timeout=60)
    sekisho("thaw", "vm", timeout=60)
    assert sekisho("exec", "vm", "--", "echo", "on", timeout=60) == "on\n"
    sekisho("stop", "vm", timeout=60)
    wait_until(lambda: not processes_named(program), 60, "nothing of the machine is left")


@alone(vmm="firecracker")
@with_images
def test_firecracker(t):
    """Firecracker on KVM, its NIC a port of the kernel's datapath."""
    story(t, "firecracker")


test_firecracker.time_limit = 500
test_firecracker.__module__ = __name__  # not its decorator's
