# SPDX-License-Identifier: Apache-2.0
"""Questions under every timing: agents that come and go, a desk that is killed, cards of many names, reviews, learning."""
import json
import os
import random
import select
import signal
import socket
import subprocess
import time

from lab import LAB, build_dir, wait_until
from product import dns_answer, dns_query, environment, sekisho, sekisho_json
from run import alone
from test_04_faults import Stream
from test_11_review import Api

NOBODY = 65534
PAGE = "http://198.51.100.10/"
LINE = "allow web to 198.51.100.10 port 80/tcp until exit"


def test_ask_survives_desk(t):
    """An agent whose desk was killed is asked again, under the same id, and its answer counts."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", PAGE)
    q = agent.question(app="web")
    t.daemon.kill_role("desk")
    agent.expect("cancelled", id=q["id"], by="the daemon was restarted")
    again = agent.question(app="web", timeout=20)
    assert again["id"] == q["id"] and again["digest"] == q["digest"], (q, again)
    t.answer(agent, again, LINE)
    out, _ = p.communicate(timeout=30)
    assert p.returncode == 0, out


def test_first_time(t):
    """A card says that the application never wanted to go there before: of this address, of this application, and only once."""
    agent, first = t.agent(), []
    apps = {name: t.app(name) for name in ("newcomer", "latecomer")}
    for name, port in (("newcomer", 80), ("newcomer", 81), ("latecomer", 80)):
        p = t.start(apps[name], "curl", "-sS", "-o", "/dev/null", "--max-time", "60", f"http://198.51.100.11:{port}/")
        q = agent.question(app=name)
        first.append(q["first"])
        t.answer(agent, q, f"deny {name} to 198.51.100.11 port {port}/tcp until exit")
        p.wait(30)
    assert first == [True, False, True], first


def test_ask_once_without_rights(t):
    """`ask --once` of somebody who may not answer fails with 4, also at the end of its input; of one who may, unanswered, with 1."""
    for options in ((), ("--json",)):
        status, _, err = sekisho("ask", "--once", *options, check=False, user=NOBODY, text="")
        assert status == 4, (options, status, err)
        status, _, err = sekisho("ask", "--once", *options, check=False, text="")
        assert status == 1, (options, status, err)


FLOOD = """
import socket, select, errno, signal, sys
refused, waiting = 0, {}
for port in range(int(sys.argv[1]), int(sys.argv[2])):
    s = socket.socket(); s.setblocking(False); s.connect_ex(('198.51.100.10', port)); waiting[s.fileno()] = s
p = select.epoll()
for fd in waiting: p.register(fd, select.EPOLLOUT)
while True:
    got = p.poll(4)
    if not got: break
    for fd, _ in got:
        refused += waiting[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
        p.unregister(fd)
print(refused, flush=True)
signal.pause()
"""


def test_question_flood(t):
    """One app asks a hundred things at once: a review is said, the overflow is refused and counted, another app's question comes at once."""
    flood, other, agent = t.app("flood"), t.app("web"), t.agent()
    p = t.start(flood, "python3", "-u", "-c", FLOOD, "2000", "2100")
    review = agent.expect("review", timeout=20)["review"]
    assert review["app"] == "flood" and review["on"], review
    refused = int(p.stdout.readline())
    assert refused == 36, f"{refused} of 100 refused, 64 places"
    q = t.start(other, "curl", "-sS", "--max-time", "60", PAGE)
    asked = agent.question(app="web")
    assert not asked["review"], asked
    t.answer(agent, asked, LINE)
    assert q.wait(timeout=20) == 0
    api = Api()
    api.socket.sendall(b'{"method":"org.sekisho.Questions.Serve","more":true}\0')
    reviews = api.reply()["parameters"]["reviews"]
    assert [r["app"] for r in reviews] == ["flood"] and reviews[0]["refused"] == refused, reviews


def open_questions(app="web"):
    """Of this app: others may have left theirs in the inbox."""
    return [q for q in Api().call("org.sekisho.Questions.List")["parameters"]["questions"] if q["app"] == app]


def test_question_rate(t):
    """Questions that are settled at once do not buy an app more than its burst and one a second."""
    flood = t.app("rapid")
    t.agent()
    began = time.monotonic()
    first = t.start(flood, "python3", "-u", "-c", FLOOD, "2000", "2040")
    wait_until(lambda: len(open_questions("rapid")) == 40, 20, "forty questions")
    t.rule("deny rapid")
    ids = [r["rule_id"] for r in sekisho_json("rules")]
    assert int(first.stdout.readline()) == 40
    sekisho("rules", "rm", *ids)
    second = t.start(flood, "python3", "-u", "-c", FLOOD, "2040", "2080")
    refused = int(second.stdout.readline())
    took = time.monotonic() - began
    assert 16 - took - 1 <= refused <= 16 and took < 12, f"{refused} of eighty refused in {took:.1f} s, 64 and one a second allowed"


def learner(t, draft, *words):
    """`sekisho learn web`, begun."""
    p = subprocess.Popen([f"{build_dir()}/sekisho", "learn", "web", *words, "-o", draft], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env=environment())
    t.processes.append(p)
    first = p.stderr.readline()
    assert "learning web until" in first, first
    return p


def test_learn(t):
    """While learning an unknown name and address pass and are written down; a denied one does not; at the end all is closed again."""
    draft = f"{LAB}/draft.rules"
    app, agent = t.app("web"), t.agent()
    t.rule("deny web to 198.51.100.11")
    p = learner(t, draft, "--for", "60s")
    t.permit("web", "www.example.org", 80)
    told = t.permit("web", "198.51.100.10", 80)
    assert app.curl("http://www.example.org/")[0] == 0
    assert app.curl(PAGE)[0] == 0
    assert app.curl("http://198.51.100.11/")[0] == 7, "a refusal was overridden"
    agent.quiet(0.2)
    p.send_signal(signal.SIGINT)
    assert p.wait(timeout=30) == 0
    assert "LET THROUGH" in p.stderr.read()
    t.ended(told)
    with open(draft) as f:
        lines = [line.strip() for line in f if not line.startswith("#")]
    assert lines == ["allow web to www.example.org port 80/tcp", "allow web to 198.51.100.10 port 80/tcp"], lines
    assert sekisho("policy", "check", draft) is not None
    os.unlink(draft)
    again = t.start(app, "curl", "-sS", "--max-time", "60", PAGE)
    agent.answer(agent.question(app="web"), "deny web to 198.51.100.10 port 80/tcp until exit")
    assert again.wait(timeout=20) == 7


def test_learn_ends_with_desk(t):
    """A desk that dies while an app is learnt takes what was let through with it, live connections too; the draft is kept."""
    draft = f"{LAB}/draft2.rules"
    app = t.app("web")
    permit = t.permit("web", "198.51.100.10", 1234)
    p = learner(t, draft, "--for", "60s")
    stream = Stream(t, app)
    assert stream.alive()
    t.daemon.kill_role("desk")
    assert p.wait(timeout=20) == 6
    wait_until(lambda: not stream.alive(1), 20, "the connection ends")
    t.ended(permit)
    with open(draft) as f:
        assert "allow web to 198.51.100.10 port 1234/tcp" in f.read()
    os.unlink(draft)
    assert sekisho_json("rules") == []


def test_rehearsal_lets_nothing_out(t):
    """Attached as a rehearsal nothing passes whatever an admin's final rule allows, no name is looked up, and all of it is in the log."""
    t.permit_rule = lambda line: None  # the witness is told nothing: whatever passes is a leak
    t.rule("final allow any to www.example.org port 80/tcp")
    t.rule("final allow any to 198.51.100.10 port 80/tcp")
    app = t.app("stage", "--ask", "rehearse")
    for url in ("http://www.example.org/", PAGE, "http://198.51.100.10:8080/"):
        status, out, took = app.curl(url)
        assert status == 7 and took < 15, (url, status, took, out)
    wait_until(lambda: {(e.get("name") or e["address"], e["port"]) for e in sekisho_json("log", "stage") if e["event"] == "refused"}
               == {("www.example.org", 80), ("198.51.100.10", 80), ("198.51.100.10", 8080)}, 20, "all three are in the log")


class Crowd:
    """Three agents that know what they were asked; any of them may die with a question on its screen."""

    def __init__(self, t, rng):
        self.t, self.rng = t, rng
        self.agents = [t.agent() for _ in range(3)]
        self.known = [{} for _ in range(3)]
        self.good, self.asked, self.died = {}, {}, 0

    def hear(self, i):
        a = self.agents[i]
        a.lines.fill(0)
        while a.lines.ready:
            e = json.loads(a.lines.ready.pop(0))
            if e["event"] == "question":
                self.known[i][e["id"]] = self.asked[e["id"]] = e
            elif e["event"] == "cancelled":
                self.known[i].pop(e["id"], None)
            elif e["event"] == "result":
                self.known[i].pop(e["id"], None)
                if e["ok"]:
                    self.good.setdefault(e["id"], []).append(e["rule"])

    def answer_one(self, rule_of):
        """Every agent that knows one question answers it at the same time; now and then one of them dies of it."""
        ids = sorted({q for known in self.known for q in known})
        if not ids:
            return
        chosen = self.rng.choice(ids)
        those = [i for i in range(3) if chosen in self.known[i]]
        self.rng.shuffle(those)
        for i in those:
            q = self.known[i].pop(chosen)
            self.agents[i].send(id=q["id"], digest=q["digest"], rule=rule_of(q))
        if self.rng.random() < 0.15:
            i = self.rng.choice(those)
            self.agents[i].process.kill()
            self.agents[i].process.wait()
            self.died += 1
            self.agents[i], self.known[i] = self.t.agent(), {}


def test_fifty_questions(t):
    """50 questions of 10 apps, three agents at once in random order with deaths: each is answered exactly once, each for its app."""
    seed = random.randrange(1 << 32)
    t.say(f"seed {seed}")
    crowd = Crowd(t, random.Random(seed))
    hosts = [f"198.51.100.{n}" for n in (10, 11, 12, 13, 17)]

    def allowed(app, host):
        return (int(app[3:]) + hosts.index(host)) % 2 == 0

    def rule_of(q):
        verb = "allow" if allowed(q["app"], q["address"]) else "deny"
        return f"{verb} {q['app']} to {q['address']} port 80/tcp until exit"
    running = {}
    for n in range(10):
        app = t.app(f"one{n}")
        for host in hosts:
            if allowed(app.name, host):
                t.permit(app.name, host, 80)
            running[app.name, host] = t.start(app, "curl", "-sS", "--max-time", "100", f"http://{host}/")
    end = time.monotonic() + 100
    while any(p.poll() is None for p in running.values()) and time.monotonic() < end:
        select.select([a.lines.fd for a in crowd.agents], [], [], 0.2)
        for i in range(3):
            crowd.hear(i)
        crowd.answer_one(rule_of)
    got = {key: p.wait(timeout=5) for key, p in running.items()}
    assert got == {(app, host): 0 if allowed(app, host) else 7 for app, host in running}, (seed, got)
    assert all(len(rules) == 1 for rules in crowd.good.values()), (seed, crowd.good)
    for one, (rule,) in crowd.good.items():
        assert rule == rule_of(crowd.asked[one]), (seed, crowd.asked[one], rule)
    rules = sorted(r["rule"] for r in sekisho_json("rules"))
    assert rules == sorted(rule_of({"app": app, "address": host}) for app, host in running), (seed, rules)
    answers = [e["id"] for e in sekisho_json("log", "-n", "2500") if e["event"] == "answer" and e["app"].startswith("one")]
    assert len(answers) == len(set(answers)) == 50, (seed, len(answers))
    t.say(f"{crowd.died} agents died")


HOSTILE = (b"\x1b[2J\x1b]0;owned\x07", b"a\x00b", "\u202eevil\u2066".encode(), b"dot.inside", b"\\\"<b>", b"x" * 63, b"\xff\xfe\x80")


def lookup(app, labels):
    """A query for these very bytes, as a guest that is not ours would send it."""
    query = dns_query("x.example.org").replace(b"\x01x\x07example\x03org\x00", b"".join(bytes([len(x)]) + x for x in labels) + b"\0")

    def send():
        s = socket.socket(socket.AF_INET6 if ":" in app.given["dns"][0] else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(5)
        s.sendto(query, (app.given["dns"][0], 53))
        try:
            return dns_answer(s.recv(4096))
        finally:
            s.close()
    return app.visit(send)


def printable(text, where):
    """No byte that a terminal obeys, no character that turns or hides text."""
    bad = [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 or c in "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"]
    assert not bad, f"{where}: {bad[:5]!r} in {text[:300]!r}"


def test_hostile_names(t):
    """Names of escapes, NULs, bidi marks, dots in labels and 63-byte labels: refused or asked about, and escaped wherever they are shown."""
    app, agent = t.app("web"), t.agent()
    for label in HOSTILE:
        rcode, found = lookup(app, [label, b"example", b"org"])
        assert (rcode, found) == (3, []) or label == b"x" * 63, (label, rcode, found)
    long_name = "x" * 63 + "." + "y" * 63 + ".example.org"
    rcode, found = lookup(app, [b"X" * 63, b"y" * 63, b"example", b"org"])
    assert rcode == 0 and found, (rcode, found)
    p = t.start(app, "curl", "-sS", "--max-time", "60", f"http://{found[0]}/")
    q = agent.question(app="web")
    assert q["name"] == long_name and f"allow web to {long_name} port 80/tcp" in q["suggestions"], q
    agent.answer(q, f"deny web to {long_name} port 80/tcp until exit")
    assert p.wait(timeout=20) == 7
    for words in (("log", "web"), ("log", "--json"), ("rules",), ("rules", "--json"), ("why", "web", f"{long_name}:80"), ("ps",)):
        printable(sekisho(*words), " ".join(words))
    shown = [e.get("name") or "" for e in sekisho_json("log", "web")]
    for part in ("\\027[2j\\027]0;owned\\007", "a\\000b", "dot\\046inside", "\\226\\128\\174evil\\226\\129\\166", "\\255\\254\\128"):
        assert f"{part}.example.org" in shown, (part, shown)
    with open(f"{LAB}/sekishod.log", errors="surrogateescape") as f:
        printable(f.read().replace("\t", " "), "the daemon's log")
    for words in (("rules", "rm", "\x1b[31mzzzz"), ("stop", "\x1b[31m"), ("allow", "web", "to", "\u202ea.example.org"),
                  ("why", "web", "\x1b[31m.example.org"), ("attach", "web", "--port", "\x1b]0;x\x07")):
        _, out, err = sekisho(*words, check=False)
        printable(out + err, repr(words))


@alone(ask_expires="3s")
def test_inbox_outlives_the_daemon(t):
    """A question nobody answered is in the inbox, also of the next daemon, and its answer counts for the next try without another question."""
    app = t.app("web")
    assert app.curl(PAGE, timeout=20)[0] == 7
    first = open_questions()
    assert [(q["address"], q["waiting"]) for q in first] == [("198.51.100.10", False)], first
    t.daemon.stop()
    t.daemon.start()
    kept = open_questions()
    assert [(q["id"], q["digest"]) for q in kept] == [(q["id"], q["digest"]) for q in first], (first, kept)
    assert t.agent("--inbox").question(app="web")["id"] == kept[0]["id"]
    t.permit("web", "198.51.100.10", 80)
    reply = Api().call("org.sekisho.Questions.Answer", id=kept[0]["id"], digest=kept[0]["digest"], rule="allow web to 198.51.100.10 port 80/tcp")
    assert "error" not in reply and open_questions() == [], reply
    app.attach()
    t.script.app("web", app.ipv4, f"{app.ipv6}/64")
    assert app.curl(PAGE, timeout=20)[0] == 0
    again = Api().call("org.sekisho.Questions.Answer", id=kept[0]["id"], digest=kept[0]["digest"], rule="deny web")
    assert again["error"] == "org.sekisho.Changed", again


def test_one_card_for_a_domain(t):
    """Three names of one domain at once are one question; one answer for the domain lets all three go on."""
    app, names = t.app("web"), ("www.example.org", "api.example.org", "files.example.org")
    for name in names:
        t.permit("web", name, 80)
    running = [t.start(app, "curl", "-sS", "-4", "--max-time", "60", f"http://{name}/") for name in names]
    wait_until(lambda: app.run("ss", "-Htn", "state", "syn-sent")[1].count("\n") >= 3, 20, "three connections wait")
    agent = t.agent()
    q = agent.question(app="web")
    assert sorted([q["name"], *q["names"]]) == sorted(names) and q["more"] == 2, q
    domain = next(s for s in q["suggestions"] if s == "allow web to .example.org port 80/tcp until exit")
    agent.answer(q, domain)
    assert [p.wait(timeout=20) for p in running] == [0, 0, 0]
    agent.quiet(0.2)


def test_what_would_not_win(t):
    """An answer that would not change the verdict is refused and names the rule that outranks it; it is not among the suggestions."""
    app, agent = t.app("web"), t.agent()
    t.rule("ask web to 198.51.100.10 port 80/tcp until reboot")
    p = t.start(app, "curl", "-sS", "--max-time", "60", PAGE)
    q = agent.question(app="web")
    assert "allow web to 198.51.100.10 port 80/tcp" not in q["suggestions"], q
    assert "allow web to 198.51.100.10 port 80/tcp until exit" in q["suggestions"], q
    agent.send(id=q["id"], digest=q["digest"], rule="allow web to 198.51.100.0/24")
    said = agent.expect("result", id=q["id"])
    assert not said["ok"] and "ask web to 198.51.100.10 port 80/tcp until reboot" in said["error"], said
    agent.answer(q, "deny web to 198.51.100.10 port 80/tcp until exit")
    assert p.wait(timeout=20) == 7
