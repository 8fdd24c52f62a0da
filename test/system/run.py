#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the system and attack tests: every function test_* of test_*.py, in a sandbox with the lab around it.

usage: run.py [--list] [--jobs N] [--shuffle SEED] [--artefacts DIR] [FOLDER-OR-FILE…] [-k WORD]…

A test takes one argument, the context `t` below. It passes when it returns and the witness found no unauthorised frame between its
start and its end. One line per test; the last line is `N passed, N failed`.
"""
import argparse
import glob
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "test", "lab"), HERE]
sys.dont_write_bytecode = True

import sandbox
import witness
import zones
from lab import LAB, Capture, Lab, LabError, keep, sh, wait_until
from product import Agent, App, Daemon, Log, RUN_DIR, STATE_DIR, POLICY_DIR, APPS_DIR, processes_named, sekisho, sekisho_json

# What hangs ends by the limits of its own waits; these are for machines that are many times slower.
TEST_TIMEOUT, CLOSE_TIMEOUT = 240, 90
# After a rule's end, for frames on their way. How fast an end is belongs to bench.
GRACE_S = 1.0
# What tests write into our copies of them is taken back.
ETC_FILES = ("/etc/passwd", "/etc/group", "/etc/resolv.conf")


class TimeLimit(Exception):
    pass


def alone(**settings):
    """The test gets a daemon of its own, with these settings, on empty state; it is thrown away afterwards."""
    def mark(function):
        function.settings = settings
        return function
    return mark


def no_daemon(function):
    """The test starts what it needs by itself (t.new_daemon)."""
    function.bare = True
    return function


class Shared:
    """What lives from test to test in one worker."""

    def __init__(self, artefacts):
        self.lab = Lab().up()
        self.artefacts = artefacts
        self.etc = {path: read(path) for path in ETC_FILES}
        self.daemon = None
        self.dirty = False
        self.tuples, self.strict_tuples = {}, {}

    def drop_daemon(self):
        """Ends the daemon and whatever it or a test left, and its state."""
        if self.daemon is not None and self.daemon.running():
            try:
                self.daemon.stop()
            except LabError:
                pass
        self.daemon = None
        for pid in processes_of_product():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        wait_until(lambda: not processes_of_product(), 30, "the product's processes end")
        for line in sh("ip -o link").splitlines():
            name = line.split(":")[1].strip().split("@")[0]
            if name not in ("lo", "up0", "up1"):
                sh(f"ip link del {name}", check=False)
        sh("nft delete table inet sekisho", check=False)
        # A daemon that was killed has not put it back; the next one would take a host that forwards anyway for granted.
        sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        for folder in (RUN_DIR, STATE_DIR, POLICY_DIR, APPS_DIR):
            sh("rm", "-rf", folder)
        self.dirty = False


def read(path):
    with open(path) as f:
        return f.read()


def self_test(p):
    """The daemon's own packet, from the last guest address of the pool to the last synthetic one: it never gets beyond the host."""
    ends = (("100.64.15.254", "198.18.255.255"), ("fd73:6b69:7368:3ff::2", "fd73:6b69:7368:ffff::ffff"))
    return p.protocol == 17 and (str(p.src), str(p.dst)) in ends and (p.sport, p.dport) == (4242, 4242)


def processes_of_product():
    return [p for name in ("sekishod", "sekisho", "ovs-vswitchd", "ovsdb-server", "virtiofsd", "qemu-system", "firecracker", "sekisho-bridge") for p in processes_named(name)]


class Context:
    """What a test holds. Everything it makes through `t` is taken back at its end."""

    def __init__(self, shared, settings, bare):
        self.shared, self.lab, self.zones = shared, shared.lab, zones
        self.settings = settings
        self.script = self.lab.script()
        self.apps, self.agents, self.processes, self.strict = [], [], [], None
        self.leak_wanted = 0
        self.masqueraded = True
        self.measured = []
        # Any address of the guests' pools: a VM's own addresses are known only while it runs.
        self.vm_addresses = ("100.64.0.0/20", "fd73:6b69:7368::/48")
        # First: the last frames of another test's daemon are not this one's.
        if settings is not None or bare:
            shared.drop_daemon()
        self.start_mark, self.start_time = self.lab.mark(), time.time()
        if not bare:
            self.need_daemon()

    # --- the daemon ---
    @property
    def daemon(self):
        return self.shared.daemon

    def need_daemon(self):
        if self.shared.daemon is None or not self.shared.daemon.running():
            self.shared.drop_daemon()
            self.new_daemon(**(self.settings or {})).start()
        self.watch_port()

    def new_daemon(self, **settings):
        self.shared.daemon = Daemon(**settings)
        if settings:
            self.shared.dirty = True
        return self.shared.daemon

    def watch_port(self):
        """The second capture: what leaves the bridge for the host, where each app still has its own address."""
        if self.daemon.settings.get("uplink") != "nat":
            self.strict = self.strict or Capture("rt-up1", f"{LAB}/rt-up1.pcap", ns="net")
            return
        if self.strict is not None and self.strict.process.poll() is None:
            return
        earlier = self.strict.frames() if self.strict else []
        self.strict = Capture("sk-up0", f"{LAB}/sk-up0.pcap")
        self.strict.taken = list(earlier)

    # --- apps, agents, programs ---
    def app(self, name, *options):
        a = App(self.lab, name, options)
        self.apps.append(a)
        self.script.app(name, a.ipv4, f"{a.ipv6}/64")
        return a

    def agent(self, *options):
        a = Agent(*options)
        self.agents.append(a)
        return a

    def log(self):
        self.agents.append(Log())
        return self.agents[-1]

    def start(self, inside, *argv, **keywords):
        p = inside.start(list(argv), **keywords)
        self.processes.append(p)
        return p

    # --- rules, told to the daemon and to the witness ---
    def permit(self, app, to, port=None, protocol="tcp", direction="out"):
        """Tells the witness alone."""
        now = time.time()
        if re.search("[a-z]", to) and ":" not in to:
            self.script.permit_lookup(now, *zones.chain(to))
            where = zones.addresses(to)
        else:
            where = [to]
        ports = None
        if port is not None:
            low, _, high = str(port).partition("-")
            ports = [(int(low), int(high or low))]
        return self.script.permit(now, app, where, protocol, ports, direction)

    def permit_rule(self, line):
        """Reads the few forms of `allow` that tests use; None for other verbs."""
        m = re.match(r"allow (\S+)(?: (to|from) (\S+))?(?: port (\S+))?", line)
        if m is None or (m.group(3) or "").startswith("app:"):
            return None  # between apps nothing ever reaches the uplink
        port, protocol = None, "tcp"
        if m.group(4):
            port, _, protocol = m.group(4).partition("/")
            protocol, port = protocol or "tcp", port or None
        return self.permit(m.group(1), m.group(3), port, protocol, "in" if m.group(2) == "from" else "out")

    def rule(self, line):
        """`sekisho allow|deny|drop|ask-rule …`; the witness's permit, ended at the right time when the rule has `for`."""
        permit = self.permit_rule(line)
        verb, rest = line.split(" ", 1)
        sekisho("ask-rule" if verb == "ask" else verb, *rest.split())
        self.limit(permit, line)
        return permit

    def answer(self, agent, question, line):
        permit = self.permit_rule(line)
        agent.answer(question, line)
        self.limit(permit, line)
        return permit

    def limit(self, permit, line):
        m = re.search(r" for (\d+)s", line)
        if m and permit:
            self.script.end(permit, time.time() + int(m.group(1)), GRACE_S)

    def ended(self, permit, grace=GRACE_S):
        self.script.end(permit, time.time(), grace)

    def remove_rules(self, *words):
        """Removes every rule of ours that the list shows (or those whose line holds all the words)."""
        ids = [r["rule_id"] for r in sekisho_json("rules") if r.get("state", "active") == "active" and r.get("rule_id")
               and r.get("origin") == "answer" and all(w in r["rule"] for w in words)]
        if ids:
            sekisho("rules", "rm", *ids)
        return ids

    def say(self, text):
        self.measured.append(text)

    # --- the end ---
    def close(self):
        for p in self.processes:
            if p.poll() is None:
                p.kill()
            p.wait()
        for a in self.agents:
            a.close()
        up = self.daemon is not None and self.daemon.running()
        kept = up and not self.shared.dirty and self.settings is None
        for a in self.apps:
            if kept:
                a.detach()
        for namespace in self.lab.namespaces():  # also those that no app of ours was attached with
            self.lab.remove_namespace(namespace)
        # What a dead daemon cut stands on the far side for hours, and answers a later SYN from the same port as it would its own peer.
        sh("ss -tnK state connected", ns="net", check=False)
        for path, text in self.shared.etc.items():
            if read(path) != text:
                with open(path, "w") as f:
                    f.write(text)
        if kept:
            self.remove_rules()
            # Machines whose client was killed just now take their time.
            wait_until(lambda: sekisho_json("ps") == [], 30, "the applications of this test have ended")

    def verdict_of_witness(self):
        end = self.lab.mark()
        frames = witness.between(self.lab.capture.frames(), self.start_mark, end)
        bad, self.classes = witness.judge(frames, self.script, self.masqueraded, self.shared.tuples)
        problems = [f"uplink: {p}" for p in bad]
        if self.strict is not None:
            now = time.time()
            mine = [f for f in self.strict.frames() if self.start_time <= f[0] <= now]
            strict_bad, _ = witness.judge(mine, self.script, False, self.shared.strict_tuples)
            ours = self.strict.interface == "sk-up0"  # there the host's neighbour entries are permanent, but its kernel may speak
            problems += [f"{self.strict.interface}: {p}" for p in strict_bad
                         if not (ours and (p.kind == "arp" or p.icmp in (133, 135, 136, 143) or self_test(p)))]
            self.strict.process.kill()
            self.strict.process.wait()
        if self.leak_wanted:
            if len(bad) < self.leak_wanted:
                return [f"the witness missed the deliberate leak: {len(bad)} of {self.leak_wanted} frames"]
            return []
        return problems


def load(paths):
    tests = []
    for path in paths:
        name = os.path.basename(path)[:-3]
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["run"] = sys.modules[__name__]
        spec.loader.exec_module(module)
        for key, value in vars(module).items():
            if key.startswith("test_") and callable(value) and value.__module__ == name:
                if not value.__doc__:
                    raise SystemExit(f"{path}: {key} does not say what it proves")
                tests.append((f"{name[5:]}.{key[5:]}", value))
    return tests


def select_tests(options):
    paths = []
    for what in options.what or [HERE]:
        paths += sorted(glob.glob(os.path.join(what, "test_*.py"))) if os.path.isdir(what) else [what]
    tests = load(paths)
    tests = [t for t in tests if not options.k or any(w in t[0] for w in options.k)]
    if options.shuffle is not None:
        random.Random(options.shuffle).shuffle(tests)
    return tests


def alarm(_number, _frame):
    raise TimeLimit(f"no end within {TEST_TIMEOUT} s")


def run_test(shared, name, function):
    """-> list of problems."""
    problems, t = [], None
    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(getattr(function, "time_limit", TEST_TIMEOUT))
    try:
        t = Context(shared, getattr(function, "settings", None), getattr(function, "bare", False))
        function(t)
    except KeyboardInterrupt:
        raise
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)
        at = next((f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(where) if "/test_" in f.filename), "")
        problems.append(f"{at}: {type(e).__name__}: {e}")
    signal.alarm(CLOSE_TIMEOUT)
    try:
        if t is not None:
            t.close()
            problems += t.verdict_of_witness()[:20]
    except Exception as e:
        problems.append(f"afterwards: {type(e).__name__}: {e}")
    signal.alarm(0)
    if problems:
        keep(shared.artefacts, name)
    if problems or shared.dirty or getattr(function, "settings", None) is not None or getattr(function, "bare", False):
        try:
            shared.drop_daemon()
        except Exception as e:
            problems.append(f"cleaning up: {type(e).__name__}: {e}")
    return problems, t.measured if t else []


def worker(options, tests):
    sandbox.enter()
    shared = Shared(options.artefacts)
    passed = failed = 0
    try:
        for name, function in tests:
            began = time.monotonic()
            problems, measured = run_test(shared, name, function)
            took = time.monotonic() - began
            notes = f"  ({'; '.join(measured)})" if measured else ""
            print(f"{'not ok' if problems else 'ok'} {name} {took:.1f}s{notes}", flush=True)
            for p in problems:
                print("\n".join("    " + line for line in str(p).splitlines()[:25]), flush=True)
            passed, failed = passed + (not problems), failed + bool(problems)
        shared.drop_daemon()
        shared.lab.down()
    except LabError as e:
        print(f"not ok lab: {e}", flush=True)
        failed += 1
    print(f"{passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


def parallel(options):
    """Several sandboxes at once; each takes every n-th test."""
    workers = []
    for i in range(options.jobs):
        argv = [sys.executable, "-B", os.path.abspath(__file__), *sys.argv[1:], "--share", f"{i}/{options.jobs}"]
        workers.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, bufsize=1))
    import selectors
    selector, totals = selectors.DefaultSelector(), [0, 0]
    for w in workers:
        selector.register(w.stdout, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            line = key.fileobj.readline()
            if not line:
                selector.unregister(key.fileobj)
                continue
            m = re.match(r"(\d+) passed, (\d+) failed$", line)
            if m:
                totals = [totals[0] + int(m.group(1)), totals[1] + int(m.group(2))]
            else:
                print(line, end="", flush=True)
    broken = sum(1 for w in workers if w.wait() not in (0, 1))
    totals[1] += broken
    print(f"{totals[0]} passed, {totals[1]} failed", flush=True)
    return 0 if totals[1] == 0 and totals[0] > 0 else 1


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--list", action="store_true", help="what each test proves; runs none")
    p.add_argument("--jobs", type=int, default=1, metavar="N", help="this many sandboxes at once; each takes every N-th test")
    p.add_argument("--shuffle", type=int, metavar="SEED",
                   help="run in the random order of this number instead of by name; the same number and the same --jobs give the same order")
    p.add_argument("--share", default="0/1", help=argparse.SUPPRESS)
    p.add_argument("--artefacts", default=os.path.join(ROOT, "test-artefacts"), metavar="DIR", help="where a failed test's logs go")
    p.add_argument("-k", action="append", default=[], metavar="WORD", help="only tests whose name has this word")
    p.add_argument("what", nargs="*", metavar="FOLDER-OR-FILE")
    options = p.parse_args()
    tests = select_tests(options)
    if options.shuffle is not None and options.share == "0/1" and os.environ.get(sandbox.INSIDE) != "1":
        print(f"order: --shuffle {options.shuffle} --jobs {options.jobs}", flush=True)
    if options.list:
        for name, function in tests:
            print(f"{name}: {function.__doc__.splitlines()[0]}")
        return 0
    if options.jobs > 1 and options.share == "0/1":
        if os.geteuid() != 0:
            sys.exit("run.py needs root: namespaces, interfaces, a switch of its own; run it with sudo")
        return parallel(options)
    share, of = map(int, options.share.split("/"))
    return worker(options, tests[share::of])


if __name__ == "__main__":
    sys.exit(main())
