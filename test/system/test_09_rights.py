# SPDX-License-Identifier: Apache-2.0
"""People without root: who may run, see, answer and write what; and what a uid nobody knows gets.

The users live in the sandbox's own copy of /etc.
"""
import json
import socket
import subprocess

from lab import LAB, LabError, build_dir, wait_until
from product import Agent, Lines, POLICY_DIR, RUN_DIR, environment, sekisho
from run import no_daemon

USERS = {"alice": 60001, "bob": 60002, "carol": 60003, "dave": 60004}
NOBODY = 60099
NOT_PERMITTED, NO_SUCH, RUN_FAILED = 4, 3, 125  # `run` keeps the other statuses for its program


class UserAgent(Agent):
    """`sekisho ask --json` of somebody else."""

    def __init__(self, name):
        self.errors = open(f"{LAB}/agent.log", "a")
        uid = str(USERS[name])
        self.process = subprocess.Popen(["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--", f"{build_dir()}/sekisho", "ask",
                                         "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=environment())
        self.lines, self.waiting = Lines(self.process.stdout), []


def agent_of(t, name):
    before = status()["agents"]
    t.agents.append(UserAgent(name))
    wait_until(lambda: status()["agents"] > before, 20, f"{name}'s agent serves")
    return t.agents[-1]


def status():
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{RUN_DIR}/api")
        s.sendall(b'{"method":"org.sekisho.Admin.Status"}\0')
        data = b""
        while not data.endswith(b"\0"):
            data += s.recv(65536)
    return json.loads(data[:-1])["parameters"]


def as_user(name, *words):
    """-> (status, what it said)."""
    code, out, err = sekisho(*words, check=False, user=USERS.get(name, NOBODY))
    return code, out + err


def refused(name, code, *words):
    got, text = as_user(name, *words)
    assert got == code, (name, words, got, text)
    return text


def done(name, *words):
    got, text = as_user(name, *words)
    assert got == 0, (name, words, got, text)
    return text


def begin(t, rules=""):
    with open("/etc/passwd") as f:
        known = f.read()
    if "alice:" not in known:
        # In place: alice by her own group, bob and carol by being named in one.
        with open("/etc/passwd", "a") as f:
            f.writelines(f"{n}:x:{u}:{60900 if n == 'alice' else u}::/:/bin/sh\n" for n, u in USERS.items())
        with open("/etc/group", "a") as f:
            f.write("sekisho:x:60900:bob\nsekisho-admin:x:60901:carol\n")
    d = t.new_daemon()
    if rules:
        subprocess.run(["mkdir", "-p", POLICY_DIR], check=True)
        with open(f"{POLICY_DIR}/10-rights.rules", "w") as f:
            f.write(rules)
    d.start()
    t.watch_port()


@no_daemon
def test_groups(t):
    """users_group may run and see its own; others may ask for the version and the doctor; an uid without an entry nothing."""
    begin(t)
    for line in ("ps", "rules", "allow web to a.example.org", "run web -- true", "log", "why web a.example.org", "stop web",
                 "rules rm abcd", "attach web --port lo", "detach web"):
        words = line.split()
        text = refused("dave", RUN_FAILED if words[0] == "run" else NOT_PERMITTED, *words)
        assert "adduser dave sekisho" in text, (words, text)
    assert "sekishod" in as_user("dave", "doctor")[1]
    got, text = as_user("nobody", "ps")
    assert got != 0 and "/etc/passwd" in text, (got, text)
    done("alice", "ps")
    done("bob", "ps")
    done("carol", "ps")
    refused("alice", NOT_PERMITTED, "attach", "web", "--port", "lo")


@no_daemon
def test_own_rules(t):
    """Without admin rights a rule is for one's own app, outbound, not final, not to the host or peers; nobody sees another's."""
    begin(t)
    done("alice", "allow", "web", "to", "a.example.org")
    for line in ("any to a.example.org", "web from internet port 80", "web to host port 22/tcp", "web to peers"):
        refused("alice", NOT_PERMITTED, "allow", *line.split())
    refused("alice", NOT_PERMITTED, "allow", "--owner", "bob", "web", "to", "a.example.org")
    mine = json.loads(done("alice", "rules", "--json").splitlines()[0])
    assert mine["owner"] == "alice" and "a.example.org" in mine["rule"], mine
    assert "a.example.org" not in done("bob", "rules", "--json")
    refused("bob", NO_SUCH, "rules", "rm", mine["rule_id"])
    done("carol", "rules", "rm", mine["rule_id"])


@no_daemon
def test_names_of_admins(t):
    """An app name that an admin's rule mentions is started by admins alone."""
    begin(t, "allow payroll to 198.51.100.10 port 80/tcp\n")
    text = refused("alice", RUN_FAILED, "run", "payroll", "--", "true")
    assert "payroll" in text and "admin" in text, text


@no_daemon
def test_whose_question(t):
    """A question goes to its owner; nobody else sees or answers it; admins are asked after 3 s; the answer is the owner's."""
    begin(t)
    app = t.app("web", "--owner", "alice")
    alice, bob = agent_of(t, "alice"), agent_of(t, "bob")
    carol = agent_of(t, "carol")
    p = t.start(app, "curl", "-sS", "--max-time", "60", "http://198.51.100.10/")
    q = alice.question(app="web")
    assert q["owner"] == "alice", q
    later = carol.question(app="web")
    assert later["id"] == q["id"] and later["held_ms"] >= 2900, later
    line = "allow web to 198.51.100.10 port 80/tcp until exit"
    try:
        bob.answer(q, line)
        raise AssertionError("bob answered alice's question")
    except LabError as e:
        assert "answer refused" in str(e), e
    t.answer(carol, later, line)
    out, _ = p.communicate(timeout=30)
    assert p.returncode == 0, out
    bob.quiet(0.5)
    assert line in done("alice", "rules"), "the rule belongs to the owner"
    assert line not in done("bob", "rules")
