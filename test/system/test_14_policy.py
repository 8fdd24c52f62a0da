# SPDX-License-Identifier: Apache-2.0
"""`sekisho policy`: files formed and compared, what is in force shown, answers carried away and back."""
from lab import LAB, wait_until
from product import POLICY_DIR, sekisho, sekisho_json, status
from run import alone, no_daemon
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
    wait_until(lambda: status()["policy_generation"] > before and status()["policy_in_force"], 10, "the policy is in force")
    assert "admin" in sekisho("policy", "show") and "shop.rules:1" in sekisho("policy", "show")
    same = write("shop.rules", "deny any to 192.0.2.0/24   # as before\n")
    assert sekisho("policy", "diff", same, check=False)[0] == 0
    write("shop.rules", "deny any to 192.0.2.0/25\n")
    code, out, _err = sekisho("policy", "diff", same, check=False)
    assert code == 1 and out == "-deny any to 192.0.2.0/24\n+deny any to 192.0.2.0/25\n", (code, out)
