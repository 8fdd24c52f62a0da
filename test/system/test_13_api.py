# SPDX-License-Identifier: Apache-2.0
"""The control socket as others see it: polkit and logind, a hostile local user, the public varlink client."""
import json
import os
import shutil
import signal
import socket
import subprocess

import sandbox
from lab import LAB, Lab, build_dir, sh, wait_until
from product import RUN_DIR, environment, sekisho, sekisho_json
from run import no_daemon
from test_04_faults import Stream
from test_11_review import Api
from test_09_rights import NOT_PERMITTED, USERS, as_user, begin, done, refused

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ACTIONS = "/usr/share/polkit-1/actions"


def start_polkit(t, rules):
    """A system bus and polkitd of the sandbox's own; what our policy file says, and these rules of its administrator."""
    os.makedirs("/run/dbus", exist_ok=True)
    shutil.copytree(ACTIONS, "/run/lab/actions", dirs_exist_ok=True)
    shutil.copy(f"{ROOT}/data/org.sekisho.policy", "/run/lab/actions/")
    sandbox.mount("/run/lab/actions", ACTIONS, flags=sandbox.MS_BIND)
    os.makedirs("/etc/polkit-1/rules.d", exist_ok=True)
    with open("/etc/polkit-1/rules.d/10-test.rules", "w") as f:
        f.write(rules)
    os.chmod("/etc/polkit-1/rules.d", 0o755)
    os.chmod("/etc/polkit-1/rules.d/10-test.rules", 0o644)
    t.start(Host(), "dbus-daemon", "--system", "--nofork", "--nopidfile", "--nosyslog")
    wait_until(lambda: os.path.exists("/run/dbus/system_bus_socket"), 5, "the bus")
    t.start(Host(), "/usr/lib/polkit-1/polkitd", "--no-debug")
    wait_until(lambda: subprocess.run(["pkcheck", "--process", str(os.getpid()), "--action-id", "org.sekisho.run"],
                                      capture_output=True, check=False).returncode == 0, 10, "polkitd answers root")


class Host:
    """Programs of this computer, not of an app."""

    def start(self, argv, **_keywords):
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(f"{LAB}/host.log", "a"))


POLKIT_RULES = """
polkit.addRule(function(action, subject) {
    if (action.id == "org.sekisho.admin" && subject.user == "alice") return polkit.Result.YES;
    if (action.id == "org.sekisho.view-own" && subject.user == "dave") return polkit.Result.YES;
    return polkit.Result.NOT_HANDLED;
});
"""


@no_daemon
def test_polkit(t):
    """What the groups do not give polkit may: real polkitd, real pkcheck; the process is the caller's, for one call."""
    start_polkit(t, POLKIT_RULES)
    try:
        begin(t)
        done("alice", "final", "deny", "web")
        refused("bob", NOT_PERMITTED, "final", "deny", "web")
        done("dave", "ps")
        refused("dave", NOT_PERMITTED, "allow", "web", "to", "a.example.org")
        t.daemon.kill_role("auth")
        done("alice", "final", "deny", "web")
    finally:
        sh("umount", ACTIONS)
        for p in t.processes:
            p.kill()
            p.wait()
    refused("alice", NOT_PERMITTED, "final", "deny", "shop")


def login(name, sessions=1):
    """What logind keeps about a person, in its own files."""
    uid = USERS[name]
    for folder in ("seats", "users", "sessions", "machines"):
        os.makedirs(f"/run/systemd/{folder}", exist_ok=True)
    for n in range(sessions):
        with open(f"/run/systemd/sessions/{uid}{n}", "w") as f:
            f.write(f"UID={uid}\nUSER={name}\nACTIVE=1\nSTATE=active\nTYPE=tty\nCLASS=user\n")
    names = " ".join(f"{uid}{n}" for n in range(sessions))
    with open(f"/run/systemd/users/{uid}.new", "w") as f:
        f.write(f"NAME={name}\nSTATE=active\nSESSIONS={names}\nACTIVE_SESSIONS={names}\nONLINE_SESSIONS={names}\n")
    os.rename(f"/run/systemd/users/{uid}.new", f"/run/systemd/users/{uid}")


def logout(name, n):
    uid = USERS[name]
    os.unlink(f"/run/systemd/sessions/{uid}{n}")
    if n == 0:
        os.unlink(f"/run/systemd/users/{uid}")
    else:
        left = " ".join(f"{uid}{k}" for k in range(n))
        with open(f"/run/systemd/users/{uid}.new", "w") as f:
            f.write(f"NAME={name}\nSTATE=active\nSESSIONS={left}\nACTIVE_SESSIONS={left}\nONLINE_SESSIONS={left}\n")
        os.rename(f"/run/systemd/users/{uid}.new", f"/run/systemd/users/{uid}")


@no_daemon
def test_until_logout(t):
    """`until logout` lasts to the end of the owner's last session; where logind does not run it is refused with the reason."""
    rule = ("web", "to", "a.example.org", "until", "logout")
    begin(t)
    status, text = as_user("alice", "allow", *rule)
    assert status == 1 and "logind" in text, (status, text)
    login("alice", sessions=2)
    try:
        t.daemon.kill_role("auth")
        wait_until(lambda: as_user("alice", "allow", *rule)[0] == 0, 10, "logind is seen")
        status, text = as_user("bob", "allow", *rule)
        assert status == 1 and "session" in text, (status, text)
        logout("alice", 1)
        t.daemon.kill_role("desk")
        wait_until(lambda: "until logout" in as_user("alice", "rules")[1], 10, "the rule outlives one of two sessions, and the desk")
        logout("alice", 0)
        wait_until(lambda: "until logout" not in done("alice", "rules"), 10, "the rule ends with the last session")
    finally:
        sh("rm", "-rf", "/run/systemd")


def test_cut(t):
    """A live connection is listed, is cut by its number, and what its rule allows may be opened again."""
    app, api = t.app("web"), Api()
    t.rule("allow web to 198.51.100.10 port 1234/tcp")
    stream = Stream(t, app)
    assert stream.alive()
    live = wait_until(lambda: api.call("org.sekisho.Connections.List")["parameters"]["connections"], 5, "the desk knows it")
    assert len(live) == 1 and live[0]["address"] == "198.51.100.10" and live[0]["app"] == "web", live
    assert api.call("org.sekisho.Connections.Cut", grants=[live[0]["grant"]])["parameters"]["cut"] == [live[0]["grant"]]
    wait_until(lambda: not stream.alive(1), 5, "the connection is cut")
    assert Stream(t, app).alive()
    wait_until(lambda: [c["grant"] for c in api.call("org.sekisho.Connections.List")["parameters"]["connections"]
                        if c["grant"] != live[0]["grant"]], 5, "another connection under another number")
