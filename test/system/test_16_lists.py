# SPDX-License-Identifier: Apache-2.0
"""Lists: fetched from a file or over https, in force at once, their last good members kept."""
import json
import os
import signal
import time

import zones
from lab import LAB, wait_until
from product import POLICY_DIR, STATE_DIR, sekisho, sekisho_json
from run import alone
from test_01_main import page, refused
from test_15_changes import Stream

WWW = f"{LAB}/www"
LIST = f"{WWW}/list"
HOST = "files.example.org"


def copies(t):
    return sorted(name for name in os.listdir(f"{STATE_DIR}/store") if "list." in name)


def put(text, path=LIST):
    """As whole and at once as a server's owner does it; with a new date, so that it is not unchanged."""
    with open(path + ".new", "w") as f:
        f.write(text)
    put.seconds += 1
    os.utime(path + ".new", (1700000000 + put.seconds,) * 2)
    os.rename(path + ".new", path)


put.seconds = 0


def define(t, source, *rules):
    with open(f"{POLICY_DIR}/lists.rules", "w") as f:
        f.write("\n".join([f'list ads from "{source}"', *rules]) + "\n")
    t.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [x["source"] for x in sekisho_json("list")] == [source], 20, "the list is defined")


def state(name="ads"):
    return next(x for x in sekisho_json("list") if x["name"] == name)


def is_good():
    wait_until(lambda: state()["state"] == "good", 30, "the list is fetched")


def update():
    """The exit status and what is said of it."""
    return sekisho("list", "update", "ads", check=False)[0], state()["said"] or ""


def may_fetch(t, *names):
    for name in names or (HOST, "www.example.org"):
        t.permit("fetch", name, 443)


@alone()
def test_file(t):
    """A list in a file in every form: names, patterns, networks are refused, the rest is not; `why` names the rule, `list` the members."""
    put("# a comment\nwww.example.net\n0.0.0.0 evil.example.net\n||api.example.org^\n198.51.100.20/32\n@@||www.example.org^\n", f"{LAB}/ads.txt")
    define(t, f"{LAB}/ads.txt", "deny any to list:ads", "allow any to internet")
    is_good()
    app = t.app("web")
    t.permit("web", "www.example.org", 443)
    t.permit("web", "198.51.100.10")
    page(app)
    for name in ("www.example.net", "api.example.org"):
        refused(app, f"https://{name}/")
    refused(app, "http://198.51.100.20/")
    why = sekisho_json("why", "web", "www.example.net:443")[0]
    assert why["verdict"] == "deny" and why["rule"] == "deny any to list:ads", why
    shown = state()
    assert (shown["names"], shown["networks"], shown["left_out"]) == (3, 1, 1), shown
    # An update is a change of policy: what it no longer allows is cut, what it allows again works.
    stream = Stream(t, app)
    t.permit("web", "www.example.net", 443)
    put("198.51.100.10\n", f"{LAB}/ads.txt")
    assert update()[0] == 0
    stream.cut()
    page(app, "https://www.example.net/")
    # What is no list at all changes nothing.
    put("<html>\n<body>404</body>\n</html>\n", f"{LAB}/ads.txt")
    code, said = update()
    assert code == 1 and "this is no list" in said and state()["names"] == 0 and state()["networks"] == 1, (code, said)
    refused(app, "http://198.51.100.10/")
    os.chmod(f"{LAB}/ads.txt", 0o600)
    assert "everybody may read" in update()[1]


@alone()
def test_https(t):
    """Over https: fetched with the host's certificates, unchanged is not fetched again, what fails leaves the members as they were."""
    may_fetch(t)
    put("www.example.net\n")
    define(t, f"https://{HOST}/list", "deny any to list:ads", "allow any to internet")
    is_good()
    app = t.app("web")
    refused(app, "https://www.example.net/")
    assert update()[0] == 0
    with open(f"{LAB}/nginx.access") as f:
        assert [line.split('"')[2].split()[0] for line in f if "GET /list " in line][-2:] == ["200", "304"]
    put("evil.example.net\n")
    assert update()[0] == 0
    t.permit("web", "www.example.net", 443)
    page(app, "https://www.example.net/")
    refused(app, "https://evil.example.net/")
    put("no list at all!\n")
    assert update()[0] == 1
    os.rename(LIST, f"{LIST}.gone")
    code, said = update()
    assert code == 1 and "status 404" in said, (code, said)
    refused(app, "https://evil.example.net/")
    # A restart without the server: the members are there before the first packet.
    t.daemon.stop()
    for name in ("web",):
        app.detach()
    t.daemon.start()
    assert state()["loaded"] and sekisho_json("why", "web", "evil.example.net:443")[0]["verdict"] == "deny"


@alone()
def test_slow_server(t):
    """A server that lets bytes drip is left after a while; another list is fetched after it; the last good members stay, over a restart too."""
    may_fetch(t)
    put("www.example.net\n")
    put("www.example.net\n" * 4000, f"{WWW}/drip")
    define(t, f"https://{HOST}/list", "deny any to list:ads")
    is_good()
    with open(f"{POLICY_DIR}/slow.rules", "w") as f:
        f.write(f'list drip from "https://{HOST}/drip"\ndeny web to list:drip\n')
    began = time.monotonic()
    t.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(sekisho_json("list")) == 2, 20, "the list is defined")
    wait_until(lambda: state("drip")["state"] == "failed", 90, "the slow server is left")
    t.say(f"left after {time.monotonic() - began:.0f} s")
    said = state("drip")["said"]
    assert "too slow" in said, said
    code, out, _ = sekisho("--json", "doctor", check=False)
    checks = sorted((c["check"], c["ok"]) for c in map(json.loads, out.splitlines()) if c["check"].startswith("list "))
    assert checks == [("list ads", True), ("list drip", False)] and code == 1, out
    # The other one is still fetched, and "unchanged" is remembered over a restart.
    before = state()["fetched"]
    assert update()[0] == 0
    fetched = state()["fetched"]
    assert fetched > before, (before, fetched)
    t.daemon.stop()
    os.unlink(f"{POLICY_DIR}/slow.rules")
    t.daemon.start()
    assert state()["fetched"] == fetched, (state(), fetched)
    assert copies(t) == ["list.ads"], copies(t)


@alone()
def test_add_and_rm(t):
    """`list add` defines a list in a file of its own and puts it in force; `why` names the entry; `rm` refuses while a rule needs it, then takes it and its copy away."""
    put("evil.example.net\n||example.org^\n198.51.100.0/28\n", f"{LAB}/ads.txt")
    assert sekisho("list", "add", "ads", f"{LAB}/ads.txt", "every", "90m").splitlines()[0] == f'+list ads from "{LAB}/ads.txt" every 1h30m'
    for words in (["Ads", "/x"], ["ads"], ["ads", "ftp://x.example.org/x"], ["ads", "/x", "every"], ["ads", "/x", "every", "fast"], ["ads", 'a"b']):
        assert sekisho("list", "add", *words, check=False)[0] != 0, words
    assert sekisho_json("list")[0]["every_s"] == 5400
    t.rule("deny web to list:ads")
    is_good()
    for peer, entry in (("evil.example.net", "evil.example.net"), ("a.b.example.org", "*.example.org"), ("198.51.100.3", "198.51.100.0/28")):
        why = sekisho_json("why", "web", f"{peer}:443")[0]
        assert [m["entry"] for m in why["matched"]] == [entry], why
        assert f"its entry {entry}" in sekisho("why", "web", f"{peer}:443")
    assert copies(t) == ["list.ads"]
    code, _, err = sekisho("list", "rm", "ads", check=False)
    assert code != 0 and "ads" in err, (code, err)
    assert sekisho_json("list") != []
    t.remove_rules("list:ads")
    assert "-list ads" in sekisho("list", "rm", "ads")
    assert sekisho_json("list") == [] and copies(t) == []
    assert sekisho("list", "rm", "ads", check=False)[0] == 3


@alone()
def test_hostile_servers(t):
    """Redirects to another place are followed, to another scheme or in circles not; another's certificate, too much and no list are refused."""
    may_fetch(t)
    t.permit("fetch", "198.51.100.13", 443)
    put("www.example.net\n")
    for source, wanted in ((f"https://{HOST}/moved", None), (f"https://{HOST}/plain", "only https"), (f"https://{HOST}/round", "too often"),
                           (f"https://{zones.addresses(HOST)[0]}/list", "certificate"), (f"https://{HOST}/big", "more than 64 MiB")):
        define(t, source, "deny any to list:ads")
        wait_until(lambda: state()["state"] != "waiting", 60, f"{source} is tried")
        shown = state()
        assert (shown["state"] == "good") == (wanted is None) and (wanted or "") in (shown["said"] or ""), (source, shown)
    assert not shown["loaded"]


@alone()
def test_never_fetched(t):
    """Until a list has members for the first time, what refuses it refuses everything, and what allows it allows nothing."""
    t.script.permit_lookup(time.time(), "void.example.org")
    t.permit("fetch", "203.0.113.99", 443)
    define(t, "https://void.example.org/list", "deny web to list:ads", "allow any to list:ads", "allow any to internet")
    app, other = t.app("web"), t.app("other")
    refused(app, "http://198.51.100.10/")
    t.permit("other", "198.51.100.10")
    page(other, "http://198.51.100.10/")
    assert state()["state"] in ("waiting", "failed") and not state()["loaded"]
    assert "refuses everything" in sekisho("list", "show", "ads")
    # Another source is not kept waiting by the one that does not answer.
    may_fetch(t)
    put("www.example.net\n")
    define(t, f"https://{HOST}/list", "deny web to list:ads", "allow any to internet")
    wait_until(lambda: state()["state"] == "good", 10, "the list is fetched from elsewhere")
