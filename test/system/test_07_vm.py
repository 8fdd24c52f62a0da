# SPDX-License-Identifier: Apache-2.0
"""A program in a real virtual machine: its streams, its status, its way out."""
import os
import re
import subprocess
import threading
import time

from lab import LAB, build_dir, wait_until
from product import environment, processes_named, sekisho_json


def vm_state(function):
    """Virtual machines boot by emulation here: more time."""
    function.time_limit = 300
    return function


def run_vm(t, name, *argv, options=(), text=None, timeout=150):
    """`sekisho run`: (status, stdout, stderr, seconds)."""
    began = time.monotonic()
    p = subprocess.run([f"{build_dir()}/sekisho", "run", *options, name, "--", *argv], input=text, capture_output=True, text=True,
                       timeout=timeout, env=environment())
    t.script.app(name, *t.vm_addresses)
    return p.returncode, p.stdout, p.stderr, time.monotonic() - began


@vm_state
def test_hello(t):
    """stdout, stderr and exit status of a program in a VM are its own; our words go to stderr with our prefix."""
    status, out, err, took = run_vm(t, "hello", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (status, out) == (7, "out\n"), (status, out, err)
    assert "err\n" in err and all(line == "err" or line.startswith("sekisho:") for line in err.splitlines()), err
    t.say(f"cold run in {took:.2f} s")


@vm_state
def test_stdin(t):
    """stdin reaches the program and its end ends it; a megabyte goes through both ways unchanged."""
    data = "0123456789abcdef" * 65536
    status, out, err, _ = run_vm(t, "cat", "cat", text=data)
    assert status == 0 and out == data, (status, len(out), err)


@vm_state
def test_signal_status(t):
    """A program that dies of a signal ends with 128 + its number; one that is not there with 127."""
    assert run_vm(t, "sig", "sh", "-c", "kill -TERM $$")[0] == 143
    assert run_vm(t, "none", "no-such-program")[0] == 127


@vm_state
def test_page(t):
    """curl in a VM fetches an allowed page by name over TLS; a denied host is refused fast."""
    t.rule("allow web to www.example.org port 443/tcp")
    t.rule("deny web to evil.example.net")
    status, out, err, _ = run_vm(t, "web", "curl", "-sS", "https://www.example.org/")
    assert status == 0 and "Welcome" in out, (status, out, err)
    status, out, err, took = run_vm(t, "web", "sh", "-c", "curl -sS https://evil.example.net/; echo status $?")
    assert "status 6" in out or "status 7" in out, (out, err)


@vm_state
def test_question(t):
    """The first packet of a program in a VM is held, a question appears, its answer lets the same packet go on."""
    agent = t.agent()
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "web", "--", "curl", "-sS", "https://www.example.org/"], env=environment(),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(p)
    q = agent.question(app="web", timeout=100)
    t.script.app("web", *t.vm_addresses)
    assert q["name"] == "www.example.org" and q["port"] == 443, q
    t.answer(agent, q, "allow web to www.example.org port 443/tcp for 10s")
    out, err = p.communicate(timeout=30)
    assert p.returncode == 0 and "Welcome" in out, (p.returncode, out, err)


@vm_state
def test_read_only_root(t):
    """Root in the VM cannot write to the host's tree, sees no secrets of it, and its own /tmp is gone afterwards."""
    probe = "id -u; touch /usr/SEKISHO-WAS-HERE && echo wrote; cat /etc/shadow 2>&1; echo x >/tmp/SEKISHO-WAS-HERE && echo tmp"
    _status, out, err, _ = run_vm(t, "root", "sh", "-c", probe, options=("--user", "root"))
    assert not os.path.exists("/usr/SEKISHO-WAS-HERE") and not os.path.exists("/tmp/SEKISHO-WAS-HERE"), out
    assert "root:" not in out, "the host's shadow file was read"
    assert "tmp" in out, (out, err)


@vm_state
def test_reader_leaves(t):
    """`run … | head`: a program that nobody reads any more ends by SIGPIPE, as in any pipeline."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "head", "--", "yes"], env=environment(), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    t.processes.append(p)
    assert p.stdout.readline() == b"y\n"
    p.stdout.close()
    t.script.app("head", *t.vm_addresses)
    assert p.wait(60) == 141, p.returncode


@vm_state
def test_late_reader(t):
    """What a program said last reaches a reader who comes after the end, as in a pager, and so does its status."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "pager", "--", "sh", "-c", "seq 1 100000; seq 1 40000 >&2; exit 3"],
                         env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    t.processes.append(p)
    wanted = {name: "".join(f"{i}\n" for i in range(1, n + 1)).encode() for name, n in (("stdout", 100000), ("stderr", 40000))}
    got = {"stdout": b"", "stderr": b""}
    # All but what the streams' credit lets a program say ahead of its reader.
    while len(got["stdout"]) < len(wanted["stdout"]) - 250000:
        got["stdout"] += os.read(p.stdout.fileno(), 4096)
    t.script.app("pager", *t.vm_addresses)
    wait_until(lambda: sekisho_json("ps") == [] and t.daemon.role_pids("keeper") == [], 40, "its keeper has gone")
    errors = threading.Thread(target=lambda: got.update(stderr=p.stderr.read()))
    errors.start()
    got["stdout"] += p.stdout.read()
    errors.join(10)
    assert p.wait(10) == 3 and got == wanted, (p.returncode, {k: (len(got[k]), len(wanted[k])) for k in got})


@vm_state
def test_ctrl_c(t):
    """SIGINT of `run` reaches the program; both end, the VM with them, nothing is left."""
    # Not a shell: dash loses a SIGINT that comes while it starts a command.
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "sleepy", "--", "perl", "-e", '$| = 1; print "up\\n"; sleep 100;'],
                         env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(p)
    assert p.stdout.readline() == "up\n", p.stderr.read()
    t.script.app("sleepy", *t.vm_addresses)
    p.send_signal(2)
    p.communicate(timeout=30)
    assert p.returncode in (130, 2), p.returncode
    wait_until(lambda: sekisho_json("ps") == [] and not processes_named("qemu-system"), 20, "the VM is gone")


@vm_state
def test_client_killed(t):
    """kill -9 of the `run` client ends the program and the VM."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "orphan", "--", "sh", "-c", "echo up; sleep 100"], env=environment(),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(p)
    assert p.stdout.readline() == "up\n", p.stderr.read()
    t.script.app("orphan", *t.vm_addresses)
    p.kill()
    p.wait()
    wait_until(lambda: sekisho_json("ps") == [] and not processes_named("qemu-system"), 20, "the VM is gone")


@vm_state
def test_same_name_twice(t):
    """A second `run` of a name that runs is refused and says so."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "one", "--", "sh", "-c", "echo up; sleep 100"], env=environment(),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(p)
    assert p.stdout.readline() == "up\n", p.stderr.read()
    t.script.app("one", *t.vm_addresses)
    status, _out, err, took = run_vm(t, "one", "true")
    assert status == 125 and "one runs already" in err, (status, err)
    assert took < 10, f"refused only after {took:.2f} s"
    subprocess.run([f"{build_dir()}/sekisho", "stop", "one"], env=environment(), check=True, timeout=20)
    p.communicate(timeout=20)
    # The name is free as soon as the last client has heard of the end.
    assert run_vm(t, "one", "true")[0] == 0
    assert run_vm(t, "one", "false")[0] == 1


@vm_state
def test_jail(t):
    """QEMU runs with a uid of its own, no capabilities, and a network namespace that holds nothing of the host."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "jail", "--", "sh", "-c", "echo up; sleep 100"], env=environment(),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(p)
    assert p.stdout.readline() == "up\n", p.stderr.read()
    t.script.app("jail", *t.vm_addresses)
    pids = processes_named("qemu-system")
    assert pids
    for pid in pids:
        text = open(f"/proc/{pid}/status").read()
        uid = int(re.search(r"^Uid:\s+(\d+)", text, re.M).group(1))
        assert uid >= 1000, f"QEMU runs as uid {uid}"
        assert int(re.search(r"^CapEff:\s+(\S+)", text, re.M).group(1), 16) == 0 or \
            os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/1/ns/user"), "QEMU has capabilities on the host"
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/1/ns/net"), "QEMU shares the host's network namespace"
        assert int(re.search(r"^Seccomp:\s+(\d+)", text, re.M).group(1)) == 2, "QEMU has no system-call filter"


def held(pid):
    """{what a process holds open: how many}; sockets, event descriptors and memory by their kind."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            what = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        kind = what.split(":")[0]
        found[kind] = found.get(kind, 0) + 1
    return found


def given_up(pid, seccomp="2"):
    """Neither groups nor capabilities nor a way to more of them."""
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.rstrip("\n").split(":", 1) for line in f)
    status = {key: value.split() for key, value in status.items()}
    assert status["Groups"] == [] and status["NoNewPrivs"] == ["1"] and status["Seccomp"] == [seccomp], (pid, status)
    assert len(set(status["Uid"] + status["Gid"])) == 1, (pid, status["Uid"], status["Gid"])
    return int(status["Uid"][0]), {key: int(status[key][0], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}


@vm_state
def test_processes(t):
    """What each process between a guest and the host has left: uid, groups, capabilities, filter, descriptors."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "run", "held", "--", "sh", "-c", "echo up; sleep 100"], env=environment(),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    t.processes.append(p)
    assert p.stdout.readline() == "up\n", p.stderr.read()
    t.script.app("held", *t.vm_addresses)
    uids = []
    wait_until(lambda: len(processes_named("qemu-system")) == len(processes_named("virtiofsd")) == 1, 30, "no earlier machine is there")
    (vmm,), (share,) = processes_named("qemu-system"), processes_named("virtiofsd")
    common = {"socket", "anon_inode", "/null"}

    def is_log(what):
        return re.search(r"/vm/\d+/log$", what)
    uid, caps = given_up(vmm)
    uids.append(uid)
    has = held(vmm)
    assert not any(caps.values()), caps
    assert has.pop("/dev/net/tun") == 1 and has.pop("/memfd") == 1, "one network interface and its own memory"
    assert all(what in common or is_log(what) for what in has), has
    uid, caps = given_up(share)
    uids.append(uid)
    assert caps["CapEff"] == 1 << 3, "CAP_FOWNER, in its own user namespace"
    assert all(what in common or is_log(what) or re.match(r"/share(/|$)|/proc/1/", what) for what in held(share)), held(share)
    words = os.readlink(f"/proc/{t.daemon.process.pid}/fd/2").split(":")[0]
    for role in ("keeper", "gate", "names", "resolver", "desk", "switchd", "auth"):
        (pid,) = t.daemon.role_pids(role)
        uid, caps = given_up(pid, "0" if role == "auth" else "2")
        uids.append(uid)
        assert not any(caps.values()), (role, caps)
        has = held(pid)
        assert has.pop("anon_inode") == 1 or role == "desk", (role, "its epoll and nothing else")
        left = {what for what in has if what not in ("socket", "/dev/null", words)}
        if role == "keeper":
            left = {what for what in left if not is_log(what)}
        if role in ("desk", "gate"):  # the compiled policy
            left -= {"/memfd"}
        if role == "desk":
            left = {what for what in left if what not in ("/etc/passwd", "/etc/group") and "/store/" not in what}
        assert not left, (role, left)
    assert len(set(uids)) == len(uids), f"two processes share an uid: {uids}"


@vm_state
def test_rehearse(t):
    """`rehearse`: nothing gets out of the machine, and what the program asked for is a draft of rules; its time ends it."""
    draft = f"{LAB}/rehearsed.rules"
    t.permit_rule = lambda line: None
    t.rule("final allow any to www.example.org port 80/tcp")
    t.script.app("play", *t.vm_addresses)

    def rehearse(limit, command):
        p = subprocess.run([f"{build_dir()}/sekisho", "rehearse", "--for", limit, "-o", draft, "play", "--", "sh", "-c", command],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environment(), check=False)
        assert p.returncode == 0 and "Welcome" not in p.stdout, (p.returncode, p.stderr)
        with open(draft) as f:
            return [line.strip() for line in f if not line.startswith("#")], p.stderr
    lines, said = rehearse("2m", "curl -sS http://www.example.org/; curl -sS http://198.51.100.10:8080/")
    assert lines == ["allow play to www.example.org port 80/tcp", "allow play to 198.51.100.10 port 8080/tcp"], (lines, said)
    os.unlink(draft)
    assert rehearse("1s", "sleep 600")[0] == []
    assert sekisho_json("ps") == []
