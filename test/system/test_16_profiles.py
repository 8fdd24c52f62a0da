# SPDX-License-Identifier: Apache-2.0
"""apps/NAME.conf: who may start an application, and its options kept in a file."""
import os
import signal

from lab import wait_until
from product import APPS_DIR, POLICY_DIR, sekisho, status
from run import no_daemon
from test_02_names import asked
from test_07_vm import vm_state
from test_09_rights import NOT_PERMITTED, RUN_FAILED, begin, done, refused


def profile(name, text):
    os.makedirs(APPS_DIR, exist_ok=True)
    with open(f"{APPS_DIR}/{name}.conf", "w") as f:
        f.write(text)


def hangup(t):
    """The admin's files are read again; returns when they are in force or refused."""
    before, refusals = status()["policy_generation"], t.daemon.count("the policy stays as it was")
    t.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: (status()["policy_generation"] > before and status()["policy_in_force"]) or
               t.daemon.count("the policy stays as it was") > refusals, 20, "the files are read")


@no_daemon
def test_users(t):
    """A name that has a profile is started by the users it names and by admins; a profile that names none: by admins."""
    profile("payroll", "users = alice\n")
    profile("vault", "memory = 256\n")
    begin(t, "allow payroll to 198.51.100.10 port 80/tcp\n")
    assert "payroll.conf" in refused("bob", RUN_FAILED, "run", "payroll", "--", "true")
    assert "admins" in refused("alice", RUN_FAILED, "run", "vault", "--", "true")
    done("carol", "attach", "vault", "--port", t.lab.namespace("vault")[1])
    # Whether alice may is decided before the next gap shows: she has no command.
    assert "there is no command" in refused("alice", 2, "run", "payroll")
    profile("payroll", "users = bob\n")
    hangup(t)
    assert "payroll.conf" in refused("alice", RUN_FAILED, "run", "payroll", "--", "true")


@no_daemon
def test_wrong_profile(t):
    """A profile with an error is refused with its place, and everything stays as it was."""
    profile("web", "users = alice\n")
    begin(t)
    profile("web", "# the browser\nusers = bob\n memori = 512\n")
    with open(f"{POLICY_DIR}/20-more.rules", "w") as f:
        f.write("deny any to 192.0.2.0/24\n")
    hangup(t)
    assert t.daemon.count('apps/web.conf:3:2: error: unknown key "memori": did you mean "memory"?') == 1, t.daemon.tail()
    assert "192.0.2.0" not in sekisho("policy", "show")
    assert "web.conf" in refused("bob", RUN_FAILED, "run", "web", "--", "true")


@no_daemon
def test_new_names(t):
    """new_names_per_min is the application's own limit, at once when the files are read again."""
    profile("web", "new_names_per_min = 2\n")
    begin(t)
    app = t.app("web")
    names = [f"p{i}.wild.example.org" for i in range(12)]
    t.script.permit_lookup(0, *names)
    sekisho("allow", "web", "to", "*.wild.example.org", "port", "80/tcp")
    def leave(some):
        for name in some:
            assert app.resolve(name)[0] == 0, name
        t.lab.mark()
        return len(set(some) & asked(t))
    assert leave(names[:6]) == 2
    os.unlink(f"{APPS_DIR}/web.conf")
    hangup(t)
    assert leave(names[6:]) == 6


@vm_state
@no_daemon
def test_options(t):
    """`sekisho run NAME` suffices: command, memory and processors come from the profile; what the call says goes first."""
    profile("job", 'command = sh -c "echo \\"in  $(hostname)\\"; nproc; grep MemTotal /proc/meminfo"   # what it does\ncpus = 2\nmemory = 300\n')
    begin(t)
    code, out, err = sekisho("run", "job", check=False, timeout=60)
    lines = out.splitlines()
    assert code == 0 and lines[:2] == ["in  job", "2"], (code, out, err)
    assert 200_000 < int(lines[2].split()[1]) < 300 * 1024, lines
    code, out, err = sekisho("run", "--cpus", "1", "job", "--", "nproc", check=False, timeout=60)
    assert (code, out) == (0, "1\n"), (code, out, err)
    code, _out, err = sekisho("run", "other", check=False)
    assert code == 2 and "there is no command: sekisho run other -- CMD" in err, (code, err)
