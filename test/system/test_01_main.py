# SPDX-License-Identifier: Apache-2.0
"""What a person sees: allow, deny, drop, ask; lives and counts; two families, two apps."""
import json
import time

import zones
from lab import Inside, LabError, build_dir, wait_until
from product import Lines, environment, sekisho, sekisho_json
from run import alone

WEB = "https://www.example.org/"


def page(app, url=WEB, *more, **keywords):
    status, out, took = app.curl(url, *more, **keywords)
    assert status == 0 and "Welcome" in out, f"curl {url}: status {status}: {out.strip()}"
    return took


def refused(app, url, within=2.0):
    """Refused, and at once: the quickest of three is meant, since what is slow by itself is slow each time."""
    best = None
    for _ in range(3):
        status, out, took = app.curl(url)
        assert status in (6, 7), f"curl {url}: status {status}, not refused: {out.strip()}"
        best = took if best is None else min(best, took)
        if best < within:
            return best
    raise AssertionError(f"refused only after {best:.2f} s")


def test_allowed_name_ipv4(t):
    """A rule that allows a name and port lets a TLS page arrive over IPv4."""
    app = t.app("web")
    t.rule("allow web to www.example.org port 443/tcp")
    page(app, WEB, "-4")


def test_allowed_name_ipv6(t):
    """The same over IPv6."""
    app = t.app("web")
    t.rule("allow web to www.example.org port 443/tcp")
    page(app, WEB, "-6")


def test_allowed_address(t):
    """A rule on an address serves a connection to that address, and its neighbour address stays refused."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 80/tcp")
    t.rule("deny web to 198.51.100.11")
    page(app, "http://198.51.100.10/")
    refused(app, "http://198.51.100.11/")


def test_allowed_address_ipv6(t):
    """A rule on an IPv6 address."""
    app = t.app("web")
    t.rule("allow web to 2001:db8:100::10 port 80/tcp")
    page(app, "http://[2001:db8:100::10]/")


def test_denied_name(t):
    """A denied name fails fast with NXDOMAIN, and not one byte about it leaves the computer."""
    app = t.app("web")
    t.rule("deny web to secret.example.net")
    took = refused(app, "https://secret.example.net/")
    rcode, found = app.resolve("secret.example.net")
    assert rcode == 3 and not found, (rcode, found)
    t.say(f"refused in {took * 1000:.0f} ms")


def test_denied_address(t):
    """A denied address answers with a reset in milliseconds, in both families."""
    app = t.app("web")
    t.rule("deny web")
    took = refused(app, "http://203.0.113.66/", within=1.0)
    refused(app, "http://[2001:db8:100::10]/", within=1.0)
    t.say(f"refused in {took * 1000:.0f} ms")


def test_drop_is_silence(t):
    """`drop` answers nothing: the connection attempt runs into its own time limit."""
    app = t.app("web")
    t.rule("drop web to 203.0.113.66")
    status, out, took = app.curl("http://203.0.113.66/", timeout=2)
    assert status == 28 and took >= 1.9, (status, out, took)


def test_ask_and_answer(t):
    """An unknown name is asked about at connect time, the held packet goes on with the answer, the next connection needs no question."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "30", WEB)
    q = agent.question(app="web")
    assert q["name"] == "www.example.org" and q["port"] == 443 and q["protocol"] == "tcp" and q["direction"] == "out", q
    assert q["suggestions"], q
    t.answer(agent, q, "allow web to www.example.org port 443/tcp until exit")
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 0 and "Welcome" in out, (p.returncode, out)
    page(app)
    agent.quiet(0.5)


def test_ask_and_deny(t):
    """A question answered with deny refuses the held connection at once."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "30", WEB)
    q = agent.question(app="web")
    began = time.monotonic()
    t.answer(agent, q, "deny web to www.example.org port 443/tcp until exit")
    out, _ = p.communicate(timeout=20)
    took = time.monotonic() - began
    assert p.returncode == 7 and took < 10, (p.returncode, out, took)


def test_answer_for_one_port(t):
    """An answer that names one port opens that port alone; another port is another question."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "30", WEB)
    t.answer(agent, agent.question(app="web"), "allow web to www.example.org port 443/tcp")
    p.communicate(timeout=20)
    p = t.start(app, "curl", "-sS", "--max-time", "30", "http://www.example.org/")
    q = agent.question(app="web", port=80)
    agent.answer(q, "deny web to www.example.org port 80/tcp")
    p.communicate(timeout=20)
    assert p.returncode == 7, p.returncode


def test_question_about_an_address(t):
    """An address used without a lookup is asked about as an address."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "30", "http://198.51.100.12/")
    q = agent.question(app="web")
    assert q["name"] is None and q["address"] == "198.51.100.12", q
    t.answer(agent, q, "allow web to 198.51.100.12 port 80/tcp")
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 0, out


def test_once(t):
    """`once` admits one connection and no second."""
    app = t.app("web")
    t.rule("allow web to www.example.org port 443/tcp once")
    t.rule("deny web")
    page(app)
    refused(app, WEB)


def test_three_times_in_parallel(t):
    """`3 times` admits exactly three of twelve connections attempted at once."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 80/tcp 3 times")
    t.rule("deny web")
    running = [t.start(app, "curl", "-sS", "--max-time", "10", "http://198.51.100.10/") for _ in range(12)]
    good = sum(1 for p in running if "Welcome" in p.communicate(timeout=20)[0])
    assert good == 3, f"{good} of 12 passed"


def test_for_ends_a_download(t):
    """`for 3s` ends: the download that runs is cut then, and curl says so."""
    app = t.app("web")
    t.rule("deny web")
    t.rule("allow web to www.example.org port 80/tcp for 3s")
    began = time.monotonic()
    status, out, took = app.curl("http://www.example.org/slow", "-o", "/dev/null", timeout=30)
    took = time.monotonic() - began
    assert status in (18, 56), f"curl ended with {status}: {out}"
    assert 2.0 < took < 15, f"cut after {took:.2f} s"
    refused(app, "http://www.example.org/")
    t.say(f"cut {took:.2f} s after the rule began")


def test_removal_cuts(t):
    """Removing a rule cuts its live connection: soon nothing of it is on the wire any more."""
    app = t.app("web")
    permit = t.rule("allow web to 198.51.100.10 port 19/tcp")
    t.rule("deny web to 198.51.100.11")
    p = t.start(app, "python3", "-c", "import socket\ns=socket.create_connection(('198.51.100.10',19))\nprint('up',flush=True)\n"
                "try:\n  while s.recv(65536): pass\nexcept OSError as e: print(e)\n")
    assert p.stdout.readline() == "up\n"
    t.remove_rules("198.51.100.10")
    t.ended(permit)
    p.communicate(timeout=15)
    assert p.returncode == 0


def test_until_exit(t):
    """`until exit` holds while the app runs and is gone for its next run."""
    app, agent = t.app("web"), t.agent()
    t.rule("allow web to www.example.org port 443/tcp until exit")
    page(app)
    app.detach()
    app.attach()
    t.script.app("web", app.ipv4, f"{app.ipv6}/64")
    p = t.start(app, "curl", "-sS", "--max-time", "30", WEB)
    q = agent.question(app="web")
    agent.answer(q, "deny web to www.example.org until exit")
    p.communicate(timeout=20)
    assert p.returncode in (6, 7), p.returncode


def test_two_apps(t):
    """Two apps at once with different policies: a rule of one never serves the other."""
    one, two = t.app("one"), t.app("two")
    t.rule("allow one to www.example.org port 443/tcp")
    t.rule("allow two to www.example.net port 443/tcp")
    t.rule("deny one to www.example.net")
    t.rule("deny two to www.example.org")
    page(one)
    page(two, "https://www.example.net/")
    refused(one, "https://www.example.net/")
    refused(two, WEB)


def test_udp(t):
    """UDP passes where a rule says so, in both families; another port does not."""
    app = t.app("dgram")
    t.rule("allow dgram to 198.51.100.10 port 5000/udp")
    t.rule("allow dgram to 2001:db8:100::10 port 5000/udp")
    t.rule("deny dgram")
    for address in ("198.51.100.10", "2001:db8:100::10"):
        assert udp_echo(app, address, 5000) == b"hello"
        assert udp_echo(app, address, 7, timeout=1) is None


def udp_echo(app, address, port, data=b"hello", timeout=5):
    import socket
    s = app.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(timeout)
    try:
        s.connect((address, port))
        s.send(data)
        return s.recv(4096)
    except OSError:
        return None
    finally:
        s.close()


def test_udp_large(t):
    """A datagram as large as the link's MTU comes back whole; offload has not spoilt its checksum."""
    app = t.app("dgram")
    t.rule("allow dgram to 198.51.100.10 port 5000/udp")
    data = bytes(range(256)) * 5
    assert udp_echo(app, "198.51.100.10", 5000, data) == data


def test_echo_request(t):
    """`port /icmp` lets an echo request and its answer pass, and no other app's."""
    import socket
    from frames import echo
    app = t.app("pinger")
    t.rule("allow pinger to 198.51.100.10 port /icmp")
    t.rule("deny pinger")
    for address, good in (("198.51.100.10", True), ("198.51.100.11", False)):
        s = app.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        s.settimeout(3 if good else 1)
        s.connect((address, 0))
        s.send(echo(4, app.ipv4, address))
        try:
            got = s.recv(1000)[20]
        except OSError:
            got = None
        s.close()
        assert (got == 0) is good, f"{address}: type {got}"


def test_large_transfer(t):
    """100 MB arrive whole through an allowed connection."""
    app = t.app("web")
    t.rule("allow web to www.example.org port 80/tcp")
    status, out, took = app.curl("http://www.example.org/big", "-r", "0-99999999", "-o", "/dev/null", "-w", "%{size_download}", timeout=60)
    assert status == 0 and out.strip().endswith("100000000"), (status, out)
    t.say(f"100 MB in {took:.2f} s")


def test_unanswered_question(t):
    """A question nobody answers: the connection is refused in time and no rule is written."""
    app, agent = t.app("web"), t.agent()
    before = sekisho_json("rules")
    p = t.start(app, "curl", "-sS", "--max-time", "60", WEB)
    q = agent.question(app="web")
    agent.expect("cancelled", timeout=20, id=q["id"])
    p.communicate(timeout=10)
    assert p.returncode == 7, p.returncode
    assert sekisho_json("rules") == before


test_unanswered_question.settings = {"ask_expires": "3s"}


def test_client_gone_mid_question(t):
    """An agent that dies with a question on its screen leaves it to another, which answers."""
    app, first = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", WEB)
    q = first.question(app="web")
    first.process.kill()
    first.process.wait()
    second = t.agent()
    again = second.question(app="web")
    assert again["id"] == q["id"] and again["digest"] == q["digest"], (q, again)
    t.answer(second, again, "allow web to www.example.org port 443/tcp until exit")
    out, _ = p.communicate(timeout=30)
    assert p.returncode == 0, out


def test_two_agents(t):
    """Two agents see one question; the first answer wins, the other is told."""
    app, one, two = t.app("web"), t.agent(), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", WEB)
    q1, q2 = one.question(app="web"), two.question(app="web")
    assert q1["id"] == q2["id"]
    t.answer(one, q1, "allow web to www.example.org port 443/tcp until exit")
    two.expect("cancelled", id=q2["id"])
    two.send(id=q2["id"], digest=q2["digest"], rule="deny web to www.example.org port 443/tcp")
    assert not two.expect("result", id=q2["id"])["ok"]
    p.communicate(timeout=20)
    assert p.returncode == 0


def test_answer_with_a_wrong_digest(t):
    """An answer whose digest is not that of the question changes nothing."""
    app, agent = t.app("web"), t.agent()
    p = t.start(app, "curl", "-sS", "--max-time", "60", WEB)
    q = agent.question(app="web")
    agent.send(id=q["id"], digest="0" * len(q["digest"]), rule="allow web to www.example.org port 443/tcp")
    assert not agent.expect("result", id=q["id"])["ok"]
    agent.answer(q, "deny web to www.example.org until exit")
    p.communicate(timeout=20)
    assert p.returncode == 7


def test_inbound(t):
    """A `from` rule opens exactly one port to the segment; another port and another sender find nothing."""
    app = t.app("game")
    t.script.host_answers = True
    t.rule("allow game from lan port 27015/tcp")
    t.permit("game", "192.0.2.0/24", 27015, "tcp", "in")
    t.permit("game", "2001:db8:0:2::/64", 27015, "tcp", "in")
    server = t.start(app, "python3", "-c", "import socket\ns=socket.create_server(('',27015))\nprint('up',flush=True)\n"
                     "c,a=s.accept()\nc.send(b'hello from the app')\nc.close()\n")
    assert server.stdout.readline() == "up\n"
    outside = Inside("net")

    def dial(source, port):
        return outside.run("curl", "-sS", "--http0.9", "--interface", source, "--max-time", "3", f"http://{zones.HOST4}:{port}/")
    status, out, _ = dial("203.0.113.66", 27015)
    assert "hello" not in out
    status, out, _ = dial(zones.LAN4, 27016)
    assert "hello" not in out

    def arrived():
        return "hello from the app" in dial(zones.LAN4, 27015)[1]
    wait_until(arrived, 20, "the forward follows from the rule")


def test_nothing_unasked_comes_in(t):
    """No SYN, no entry: whatever the internet sends to a guest's address or to the host finds no way to an app."""
    import socket
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 7/tcp")
    t.script.host_answers = True
    listener = app.raw()
    outside = Inside("net")

    def send():
        from frames import ip4, tcp, udp
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        for target in (app.ipv4, zones.HOST4):
            for flags in (0x02, 0x10, 0x12, 0x04, 0x11, 0x00, 0x29):
                s.sendto(ip4("198.51.100.10", target, 6, tcp("198.51.100.10", target, 7, 40000, flags)), (target, 0))
            s.sendto(ip4("198.51.100.10", target, 17, udp("198.51.100.10", target, 53, 40000, b"x")), (target, 0))
        s.close()
    outside.visit(lambda: __import__("lab").sh(f"ip route replace {app.ipv4}/32 via {zones.HOST4}"))
    try:
        outside.visit(send)
        t.lab.mark()
        listener.settimeout(0.5)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                frame = listener.recv(2000)
            except OSError:
                break
            assert b"\xc6\x33\x64\x0a" not in frame[26:34], f"a frame came in: {frame.hex()}"
    finally:
        outside.visit(lambda: __import__("lab").sh(f"ip route del {app.ipv4}/32", check=False))
    listener.close()


def test_why_rules_log(t):
    """`why`, `rules` and `log` tell what decided and what happened."""
    app, log = t.app("web"), t.log()
    t.rule("allow web to www.example.org port 443/tcp for 1h")
    t.rule("deny web to evil.example.net")
    page(app)
    refused(app, "https://evil.example.net/")
    why = sekisho_json("why", "web", "evil.example.net:443")[0]
    assert why["verdict"] == "deny" and why["matched"], why
    why = sekisho_json("why", "web", "www.example.org:443")[0]
    assert why["verdict"] == "allow" and why["rule_id"], why
    rules = sekisho_json("rules")
    assert any(r["rule"].startswith("allow web to www.example.org port 443/tcp") for r in rules), rules
    e = log.find(None, 20, event="connection", app="web", rule_id=why["rule_id"])
    assert e["verdict"] == "allow" and e["name"] == "www.example.org" and e["port"] == 443 and e["protocol"] == "tcp", e


def test_log_filters(t):
    """`log` takes a verdict, an event, a part of the destination; `--as-rules` prints lines to paste; `watch` shows what comes."""
    app = t.app("sieve")
    t.rule("allow sieve to 198.51.100.10 port 80/tcp")
    t.rule("deny sieve to 198.51.100.11")
    watch = Lines(t.start(Inside(None), f"{build_dir()}/sekisho", "--json", "watch", "sieve", "deny", env=environment()).stdout)
    seen = []

    def watched():
        page(app, "http://198.51.100.10/")
        refused(app, "http://198.51.100.11/")
        seen.append(watch.next(1))
        return seen[-1] is not None
    wait_until(watched, 20, "something to watch")
    assert json.loads(seen[-1])["address"] == "198.51.100.11"
    assert {e["address"] for e in sekisho_json("log", "sieve", "deny")} == {"198.51.100.11"}
    assert {e["event"] for e in sekisho_json("log", "connection")} == {"connection"}
    # A limit counts what is shown, whatever came after it.
    t.rule("allow sieve to 198.51.100.13")
    assert [e["address"] for e in sekisho_json("log", "sieve", "deny", "-n", "1")] == ["198.51.100.11"]
    assert sekisho_json("log", "sieve", "100.12") == []
    lines = sekisho("log", "deny", "sieve", "--as-rules").splitlines()
    assert lines == ["allow sieve to 198.51.100.11 port 80/tcp"], lines
    assert sekisho("log", "sieve", "other", check=False)[0] == 2


def test_ps(t):
    """`ps` lists the apps that run, and only those."""
    t.app("web")
    assert [a["app"] for a in sekisho_json("ps")] == ["web"]
    t.apps[0].detach()
    assert sekisho_json("ps") == []


@alone()
def test_sighup_reads_policy_files(t):
    """A rule written to policy_dir is in force after SIGHUP; a bad file changes nothing and says where."""
    import os
    import signal
    app = t.app("web")
    t.permit("web", "www.example.org", 443)
    path = f"{t.daemon.settings['policy_dir']}/a.rules"
    with open(path, "w") as f:
        f.write("allow web to www.example.org port 443/tcp\ndeny any\n")
    os.kill(t.daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: [r for r in sekisho_json("rules") if r["origin"] == "admin"], 20, "the file's rules are listed")
    page(app)
    with open(path, "w") as f:
        f.write("alow web to www.example.org\n")
    os.kill(t.daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: "a.rules:1:" in t.daemon.tail(50), 20, "the log names file and line")
    page(app)
    with open(path, "w") as f:
        f.write('deny any\nlist ads from "http://www.example.org/ads"\ndeny any to list:ads\n')
    os.kill(t.daemon.process.pid, signal.SIGHUP)
    wait_until(lambda: "a.rules:2:1: error: list ads" in t.daemon.tail(50), 20, "a list that cannot be fetched is refused")
    page(app)
