# SPDX-License-Identifier: Apache-2.0
"""Counted rules under parallel attempts of several apps through the switch: exactly N pass, with the daemon killed in between never more."""
import os
import resource
import select
import socket
import struct
import time

from lab import wait_until
from product import POLICY_DIR, sekisho, sekisho_json
from run import alone

PEER, PORT = "198.51.100.10", 7
TIMES, ATTEMPTS, APPS = 300, 5000, 4


def begin(app, count):
    """A child in the app's namespace that begins `count` connections at once and keeps those that stand."""
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        app.enter()
        resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
        poll, sockets = select.epoll(), {}
        for _ in range(count):
            s = socket.socket()
            s.setblocking(False)
            try:
                s.connect((PEER, PORT))
            except OSError:
                pass
            sockets[s.fileno()] = s
            poll.register(s, select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP)
        end = time.monotonic() + 10
        while sockets and time.monotonic() < end:
            for fd, _events in poll.poll(0.2):
                poll.unregister(fd)
                s = sockets.pop(fd)
                if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
    finally:
        os._exit(0)


def admitted(t):
    """Connections whose SYN left towards the peer, as the uplink's capture has them: each once, however often it was sent."""
    t.lab.mark()
    peer, seen = socket.inet_aton(PEER), set()
    for when, f, _n in t.strict.frames():
        if when >= t.start_time and f[12:14] == b"\x08\0" and f[23] == 6 and f[30:34] == peer and f[36:38] == struct.pack("!H", PORT) \
                and f[47] & 0x12 == 2:
            seen.add((f[26:30], f[34:36]))
    return len(seen)


def prepare(t):
    apps = [t.app(f"many{i}") for i in range(APPS)]
    with open(f"{POLICY_DIR}/count.rules", "w") as f:
        f.write(f"allow any to {PEER} port {PORT}/tcp {TIMES} times\ndeny any\n")
    t.daemon.process.send_signal(1)
    wait_until(lambda: len(sekisho_json("rules", "--all")) >= 2, 20, "the rules are read")
    for a in apps:
        t.permit(a.name, PEER, PORT)
    return apps


def storm(apps):
    for pid in [begin(a, ATTEMPTS // APPS) for a in apps]:
        os.waitpid(pid, 0)


def exhaust(t, apps):
    """One after the other until nothing passes: what is left of the count is used up."""
    for a in apps:
        for _ in range(TIMES):
            s = a.socket()
            s.settimeout(15)
            try:
                s.connect((PEER, PORT))
            except OSError:
                break
            finally:
                s.close()


@alone()
def test_exact_in_parallel(t):
    """Five thousand attempts at once from four apps at one counted rule: exactly three hundred connections leave."""
    apps = prepare(t)
    storm(apps)
    stormed = admitted(t)
    exhaust(t, apps)
    total = admitted(t)
    t.say(f"{stormed} of {ATTEMPTS} attempts at once, {total} in all, {TIMES} allowed")
    assert total == TIMES, total


def killed(t, kill):
    apps = prepare(t)
    children = [begin(a, ATTEMPTS // APPS) for a in apps]
    wait_until(lambda: admitted(t) > 3, 20, "some have passed")
    kill()
    for pid in children:
        os.waitpid(pid, 0)
    wait_until(lambda: len(sekisho("ps", "--json", check=False)[1].splitlines()) == APPS, 20, "the daemon is back")
    exhaust(t, apps)
    total = admitted(t)
    t.say(f"{total} in all, {TIMES} allowed")
    assert 0 < total <= TIMES, total
    # A lost answer costs a count; more than what was under way at once cannot be lost.
    assert total >= TIMES - APPS * 64 - 1, total


@alone()
def test_gate_killed(t):
    """gate killed in the middle: never more than the count."""
    killed(t, lambda: t.daemon.kill_role("gate"))


@alone()
def test_desk_killed(t):
    """desk killed in the middle, while counts are becoming durable: never more than the count."""
    killed(t, lambda: t.daemon.kill_role("desk"))


@alone()
def test_all_killed(t):
    """main killed in the middle and started again: never more than the count."""
    def kill():
        t.daemon.kill_all()
        wait_until(lambda: not t.daemon.role_pids("gate"), 20, "the roles end")
        t.daemon.start()
    killed(t, kill)
