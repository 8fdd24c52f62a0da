# SPDX-License-Identifier: Apache-2.0
"""`sekisho policy`: files formed and compared, what is in force shown, answers carried away and back."""
from lab import LAB, wait_until
from product import POLICY_DIR, sekisho, sekisho_json, status
import json
from run import alone, no_daemon
import os
import signal


def write(name, text):
    path = f"{LAB}/{name}"
    with open(path, "w") as f:
        f.write(text)
    return path


@no_daemon
def test_fmt_and_diff(t):
    """`fmt` keeps comments and is its own fixed point; `diff` ignores order and spelling: 0 the same, 1 other, 2 unreadable."""
    messy = write("messy.rules", "# ours\nallow  web to WWW.example.org port https   # shop\ndeny any to 192.0.2.0/24\n")
    formed = sekisho("policy", "fmt", messy)
    assert formed == "# ours\nallow web to www.example.org port 443  # shop\ndeny any to 192.0.2.0/24\n", formed
    tidy = write("tidy.rules", formed)
    assert sekisho("policy", "fmt", tidy) == formed
    other = write("other.rules", "deny any to 192.0.2.0/24\nallow web to www.example.org port 443\n")
    assert sekisho("policy", "diff", messy, other, check=False)[:2] == (0, "")
    more = write("more.rules", "deny any to 192.0.2.0/24\nallow web to www.example.org port 80\n")
    code, out, _err = sekisho("policy", "diff", messy, more, check=False)
    assert code == 1 and out.splitlines() == ["-allow web to www.example.org port 443",
                                              "+allow web to www.example.org port 80"], (code, out)
    assert sekisho("policy", "diff", messy, f"{LAB}/none.rules", check=False)[0] == 2
    short = sekisho_json("why", "--policy", messy, "web", "www.example.org:443")[0]["rule_id"]
    assert len(short) == 4, short


@alone()
def test_export_and_import(t):
    """What export says holds as long as what it was taken from: ends are ends, counts what is left; a bad line imports nothing."""
    sekisho("allow", *"web to www.example.org port 443/tcp for 1h".split())
    sekisho("allow", *"web to 192.0.2.7 port 22/tcp 3 times log".split())
    lines = sekisho("policy", "export").splitlines()
    assert len(lines) == 2 and " for " not in "".join(lines), lines
    assert any(" until 2" in line for line in lines) and any(line.endswith(" 3 times log") for line in lines), lines
    path = write("answers.rules", "\n".join(lines) + "\n")
    before = {r["rule"].split(" until ")[0]: r["deadline"] for r in sekisho_json("rules")}
    sekisho("rules", "rm", *[r["rule_id"] for r in sekisho_json("rules")])
    sekisho("policy", "import", path)
    after = {r["rule"].split(" until ")[0]: r["deadline"] for r in sekisho_json("rules")}
    assert len(after) == 2 and sorted(filter(None, after.values()))[0] <= sorted(filter(None, before.values()))[0], (before, after)
    bad = write("bad.rules", "allow web to www.example.net\nallow web too www.example.net\n")
    assert sekisho("policy", "import", bad, check=False)[0] == 2
    assert sekisho("policy", "import", write("defs.rules", "group g = { web }\nallow @g\n"), check=False)[0] == 2
    assert len(sekisho_json("rules")) == 2


@alone()
def test_show_and_diff_with_the_daemon(t):
    """`show` says of each rule where it comes from; `diff FILE` compares with what the daemon has from a file of that name."""
    with open(f"{POLICY_DIR}/shop.rules", "w") as f:
        f.write("deny any to 192.0.2.0/24\n")
    before = status()["policy_generation"]
    t.daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: status()["policy_generation"] > before and status()["policy_in_force"], 20, "the policy is in force")
    assert "admin" in sekisho("policy", "show") and "shop.rules:1" in sekisho("policy", "show")
    same = write("shop.rules", "deny any to 192.0.2.0/24   # as before\n")
    assert sekisho("policy", "diff", same, check=False)[0] == 0
    write("shop.rules", "deny any to 192.0.2.0/25\n")
    code, out, _err = sekisho("policy", "diff", same, check=False)
    assert code == 1 and out == "-deny any to 192.0.2.0/24\n+deny any to 192.0.2.0/25\n", (code, out)


@alone()
def test_many_rules(t):
    """20,000 rules of a file are compiled beside; an answer decides at once, is still there when they are read again, and the log says when and what."""
    lines = [f"deny app{i % 50} to host{i}.example.net\n" for i in range(20000)]

    def read(said, *more):
        before = t.daemon.count(said)
        with open(f"{POLICY_DIR}/many.rules", "w") as f:
            f.writelines([*lines, *more])
        t.daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: t.daemon.count(said) > before, 60, said)

    def verdict(name):
        return sekisho_json("why", "app7", f"{name}:443")[0]["verdict"]

    read("the policy files are in force: 20000 rules (20000 added, 0 removed)")
    assert verdict("host7.example.net") == "deny" and verdict("www.example.org") == "ask"
    sekisho(*"allow app7 to host7.example.net port 443/tcp".split())
    assert verdict("host7.example.net") == "allow"
    read("the policy files are in force: 20001 rules (1 added, 0 removed)", "deny any to www.example.org\n")
    assert verdict("host7.example.net") == "allow" and verdict("www.example.org") == "deny"
    assert len(sekisho("rules").splitlines()) == 1 + 20002
    sekisho("undo")
    assert verdict("host7.example.net") == "deny"


@alone()
def test_apply(t):
    """`apply` checks a file with all others, says what changes, puts it in force; what is refused, by itself or by the daemon, changes nothing."""
    shop = f"{POLICY_DIR}/shop.rules"
    with open(f"{POLICY_DIR}/base.rules", "w") as f:
        f.write("group office = { web, mail }\n")
    new = write("shop.rules", "deny @office to 192.0.2.0/24\n")
    code, out, _err = sekisho("policy", "apply", "--dry-run", new, check=False)
    assert code == 0 and out == "+deny @office to 192.0.2.0/24\n" and not os.path.exists(shop), (code, out)
    code, out, err = sekisho("policy", "apply", new, check=False)
    assert code == 0 and out.startswith("+deny @office") and "in force: 1 rules (1 added, 0 removed)" in out, (code, out, err)
    assert [r["rule"] for r in sekisho_json("rules")] == ["deny @office to 192.0.2.0/24"]
    write("shop.rules", "deny @ofice to 192.0.2.0/25\n")
    code, _out, err = sekisho("policy", "apply", new, check=False)
    assert code == 7 and f"{new}:1:6: error" in err and "office" in err, (code, err)
    # Only the daemon knows that this source cannot be followed.
    write("shop.rules", 'list ads from "http://192.0.2.1/ads"\ndeny any to list:ads\n')
    code, _out, err = sekisho("policy", "apply", new, check=False)
    assert code == 1 and "shop.rules:1:1: error: list ads" in err and "as they were" in err, (code, err)
    with open(shop) as f:
        assert f.read() == "deny @office to 192.0.2.0/24\n"
    assert sorted(os.listdir(POLICY_DIR)) == ["base.rules", "shop.rules"]
    assert [r["rule"] for r in sekisho_json("rules")] == ["deny @office to 192.0.2.0/24"]
    write("shop.rules", "deny @office to 192.0.2.0/25\n")
    code, out, _err = sekisho("policy", "apply", new, check=False)
    assert code == 0 and out.startswith("-deny @office to 192.0.2.0/24\n+deny @office to 192.0.2.0/25\n"), (code, out)
    assert sekisho("policy", "apply", write("shop.txt", ""), check=False)[0] == 2


@no_daemon
def test_check_places(t):
    """What only several lines together show is wrong has its file, line and column, what was expected, a near miss and a caret."""
    a = write("a.rules", "group office = { web }\nset s = { lan }\nallow web to set:s\n")
    b = write("b.rules", "# é\n  allow @ofice to host\nset t = {\n  set:u }\nset office = { lan }\nallow web to set:s\n")
    code, out, _err = sekisho("policy", "check", a, b, "--json", check=False)
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 7 and all(f["file"] == b and f["severity"] == "error" for f in found), (code, found)
    places = {(f["line"], f["column"]): f for f in found}
    assert set(places) == {(2, 9), (4, 3), (5, 5), (6, 1)}, found
    assert places[2, 9]["expected"] == "the name of a group" and places[2, 9]["near"] == "office", found
    _code, _out, err = sekisho("policy", "check", a, b, check=False)
    assert "b.rules:2:9: error: no group \"ofice\" is defined; did you mean \"office\"?\n    allow @ofice to host\n          ^\n" in err, err
    never = write("never.rules", "allow web to lan port 80\n final deny any to lan\n")
    code, _out, err = sekisho("policy", "check", never, check=False)
    assert code == 7 and "never.rules:1:1: warning: " in err and "\n  ^\n" in err, (code, err)


def test_rule_with_an_unknown_name(t):
    """A rule that names a group nobody defines is wrong usage, with a caret; in a file that is imported it has its line."""
    code, _out, err = sekisho("allow", "@nogroup", "to", "host", check=False)
    assert code == 2 and "no group \"nogroup\"" in err and "  allow @nogroup to host\n        ^\n" in err, (code, err)
    code, _out, err = sekisho("policy", "import", write("in.rules", "allow web to host\n\nallow web to set:q\n"), check=False)
    assert code == 2 and "in.rules:3: " in err and "no set \"q\"" in err, (code, err)


def test_why_between_apps(t):
    """`why APP app:OTHER` asks the other application's rules, too, and says which side refuses."""
    t.app("web")
    t.app("db")
    sekisho("allow", *"web to app:db port 5432/tcp".split())
    first = sekisho_json("why", "web", "app:db:5432")[0]
    assert first["verdict"] == "allow" and first["receiver"]["app"] == "db" and first["receiver"]["origin"] == "default", first
    sekisho("drop", *"db from app:web port 5432/tcp".split())
    then = sekisho_json("why", "web", "app:db:5432")[0]
    assert then["verdict"] == "drop" and then["rule"].startswith("drop db from") and len(then["matched"]) == 1, then
    assert then["receiver"]["matched"][0]["rule"] == then["rule"], then
    assert "at db: drop" in sekisho("why", "web", "app:db:5432")


@alone()
def test_reload_says_every_place(t):
    """Files that do not fit together are refused on SIGHUP with every error and its place, answers that would lose a group too."""
    def files(**texts):
        for name, text in texts.items():
            with open(f"{POLICY_DIR}/{name}.rules", "w") as f:
                f.write(text)
    def hangup(refused):
        before, refusals = status()["policy_generation"], t.daemon.count("the policy stays as it was")
        t.daemon.process.send_signal(signal.SIGHUP)
        if refused:
            wait_until(lambda: t.daemon.count("the policy stays as it was") > refusals, 10, "the files are refused")
        else:
            wait_until(lambda: status()["policy_generation"] > before and status()["policy_in_force"], 10, "the files are in force")
    files(a="group office = { web }\nallow @office to 192.0.2.1\n")
    hangup(False)
    sekisho("allow", "@office", "to", "192.0.2.2")
    files(a="group offic = { web }\n  allow @office to 192.0.2.1\nset s = { set:q }\n", b="deny web to 192.0.2.9 until logout\n")
    hangup(True)
    assert t.daemon.count("b.rules:1:23: error: \"until logout\"") == 1, t.daemon.tail()
    files(b="\n deny web to set:s\nset offic = { lan }\n")
    hangup(True)
    for words in ('a.rules:2:9: error: no group "office" is defined; did you mean "offic"?', 'a.rules:3:11: error: no set "q" is defined',
                  'b.rules:3:5: error: "offic" is defined already, as a group in a.rules line 1',
                  'the answer "allow @office to 192.0.2.2": no group "office" is defined'):
        assert t.daemon.count(words) == 1, (words, t.daemon.tail())
    assert "allow @office to 192.0.2.1" in sekisho("policy", "show")
