# SPDX-License-Identifier: Apache-2.0
"""What a program says, in bulk."""
import hashlib
import os
import subprocess
import time

from lab import build_dir
from product import environment
from test_07_vm import vm_state

BLOCK, TIMES = 16 << 20, 64
PROGRAM = "cat >/tmp/block; i=0; while [ $i -lt %d ]; do echo $i; cat /tmp/block; i=$((i+1)); done" % TIMES
KEEPER_MIB, CLIENT_MIB = 24, 16


def peak_mib(pid):
    """The most memory that a process ever had."""
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


@vm_state
def test_gibibyte(t):
    """1 GiB through stdout arrives whole and in order; keeper and client stay small."""
    block = os.urandom(BLOCK)
    t.script.app("bulk", *t.vm_addresses)
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "bulk", "--", "sh", "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, env=environment())
    t.processes.append(p)
    p.stdin.write(block)
    p.stdin.close()
    want, got, left = hashlib.sha256(), hashlib.sha256(), 0
    for i in range(TIMES):
        want.update(b"%d\n" % i)
        want.update(block)
        left += len(b"%d\n" % i) + BLOCK
    began = time.monotonic()
    first = p.stdout.read(2)
    got.update(first)
    left -= len(first)
    began = time.monotonic()
    while left > 0:
        data = p.stdout.read1(1 << 20)
        assert data, f"{left} bytes are missing"
        got.update(data)
        left -= len(data)
    took = time.monotonic() - began
    peaks = [peak_mib(t.daemon.role_pids("keeper")[0]), peak_mib(p.pid)]
    assert p.stdout.read() == b"" and p.wait(30) == 0
    assert got.digest() == want.digest()
    assert peaks[0] < KEEPER_MIB and peaks[1] < CLIENT_MIB, peaks
    t.say(f"{TIMES * BLOCK / took / 1e6:.0f} MB/s; at most {peaks[0]:.0f} and {peaks[1]:.0f} MiB")
