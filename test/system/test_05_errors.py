# SPDX-License-Identifier: Apache-2.0
"""What goes wrong says what to do, ends with a status, and leaves nothing half made."""
import datetime
import os
import socket
import subprocess

import zones
from lab import LAB, build_dir, sh
from product import POLICY_DIR, RUN_DIR, STATE_DIR, environment, sekisho, sekisho_json
from run import no_daemon


def daemon_says(conf, *words, env=None, status=None, argv=None):
    """Runs sekishod with this configuration until it ends; it must fail and say all the words."""
    path = f"{LAB}/bad.conf"
    with open(path, "w") as f:
        f.write(conf)
    p = subprocess.run(argv or [f"{build_dir()}/sekishod", "--config", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=30, env=env)
    assert p.returncode != 0, f"it did not fail: {p.stdout}"
    if status is not None:
        assert p.returncode == status, (p.returncode, p.stdout)
    for word in words:
        assert word in p.stdout, f"{word!r} is not in: {p.stdout}"
    return p.stdout


def good_conf(**more):
    settings = {"run_dir": RUN_DIR, "state_dir": STATE_DIR, "policy_dir": POLICY_DIR, "switch": "private",
                "resolver": f"forward:{zones.DNS4}", **more}
    return "".join(f"{k} = {v}\n" for k, v in settings.items())


def nothing_made(t):
    left = t.new_daemon().left_behind()
    assert not left, left


@no_daemon
def test_unknown_key(t):
    """An unknown key is an error with file, line and a near miss."""
    daemon_says("run_dir = /run/sekisho\nupklink = nat\n", "bad.conf:2:", "upklink", "uplink")
    nothing_made(t)


@no_daemon
def test_bad_values(t):
    """A bad value names the key and what it may be."""
    daemon_says("switch = maybe\n", "bad.conf:1:", "switch", "private")
    daemon_says("ask_expires = soon\n", "bad.conf:1:", "ask_expires")
    daemon_says("uplink = wire\n", "bad.conf:1:", "nat", "port:")
    daemon_says("bridge = a-name-that-is-too-long\n", "bad.conf:1:", "bridge")
    daemon_says(f"run_dir = /run/{'x' * 100}\n", "bad.conf:1:", "run_dir")
    daemon_says("zone_base = 70000\n", "bad.conf:1:", "zone_base")
    daemon_says("guest_ipv4 = 100.64.0.0/30\n", "bad.conf", "guest_ipv4")
    daemon_says("just words\n", "bad.conf:1:")
    nothing_made(t)


@no_daemon
def test_check_config(t):
    """--check-config says yes to a good file and no to a bad one, and starts nothing."""
    path = f"{LAB}/good.conf"
    with open(path, "w") as f:
        f.write(good_conf())
    os.makedirs(POLICY_DIR, exist_ok=True)
    p = subprocess.run([f"{build_dir()}/sekishod", "--config", path, "--check-config"], capture_output=True, text=True, timeout=10)
    assert p.returncode == 0, p
    with open(path, "a") as f:
        f.write("vmm = vmware\n")
    p = subprocess.run([f"{build_dir()}/sekishod", "--config", path, "--check-config"], capture_output=True, text=True, timeout=10)
    assert p.returncode != 0 and "vmm" in p.stderr, p
    nothing_made(t)


@no_daemon
def test_missing_file(t):
    """A configuration file that is not there is named."""
    daemon_says("", "/nonexistent.conf", argv=[f"{build_dir()}/sekishod", "--config", "/nonexistent.conf"])
    nothing_made(t)


@no_daemon
def test_no_root(t):
    """Started without root it says that it needs root, and how."""
    path = f"{LAB}/user.conf"
    with open(path, "w") as f:
        f.write(good_conf())
    os.chmod(path, 0o644)
    daemon_says("", "root", argv=["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--",
                                  f"{build_dir()}/sekishod", "--config", path])
    nothing_made(t)


@no_daemon
def test_ovs_missing(t):
    """Without Open vSwitch it names the package to install."""
    sh("mkdir", "-p", f"{LAB}/sbin")
    sh("mount", "--bind", "/usr/sbin", f"{LAB}/sbin")
    sh("mount", "-t", "tmpfs", "tmpfs", "/usr/sbin")
    try:
        for name in os.listdir(f"{LAB}/sbin"):
            if name not in ("ovs-vswitchd", "ovsdb-server"):
                os.symlink(f"{LAB}/sbin/{name}", f"/usr/sbin/{name}")
        os.makedirs(POLICY_DIR, exist_ok=True)
        daemon_says(good_conf(), "openvswitch-switch")
    finally:
        sh("umount", "/usr/sbin")
        sh("umount", f"{LAB}/sbin")
    nothing_made(t)


@no_daemon
def test_bad_rule_file(t):
    """A bad rule line stops the start: file, line, column, a near miss."""
    os.makedirs(POLICY_DIR, exist_ok=True)
    with open(f"{POLICY_DIR}/bad.rules", "w") as f:
        f.write("ask any\nalow web to www.example.org\n")
    daemon_says(good_conf(), "bad.rules:2:1", "allow")
    nothing_made(t)


@no_daemon
def test_wrong_uplink(t):
    """An uplink interface that is not there, or carries the host's addresses, is refused by name."""
    os.makedirs(POLICY_DIR, exist_ok=True)
    lan = dict(lan_ipv4="192.0.2.100-192.0.2.120/24 via 192.0.2.1")
    daemon_says(good_conf(uplink="port:nosuch0", **lan), "nosuch0")
    daemon_says(good_conf(uplink="port:up0", **lan), "up0", "address")
    assert zones.HOST4 in sh("ip addr show up0"), "the host lost its address"
    nothing_made(t)


@no_daemon
def test_socket_not_ours(t):
    """A file in the place of the control socket is not overwritten; it is named."""
    os.makedirs(POLICY_DIR, exist_ok=True)
    os.makedirs(RUN_DIR)
    with open(f"{RUN_DIR}/api", "w") as f:
        f.write("precious")
    daemon_says(good_conf(), f"{RUN_DIR}/api")
    assert open(f"{RUN_DIR}/api").read() == "precious"
    os.unlink(f"{RUN_DIR}/api")
    nothing_made(t)


def test_second_daemon(t):
    """A second daemon with the same run_dir is refused and harms nothing."""
    daemon_says(good_conf(), "another sekishod")
    assert sekisho("ps", check=False)[0] == 0


def says(words, *argv, status=None):
    got, out, err = sekisho(*argv, check=False)
    assert got != 0, f"sekisho {' '.join(argv)} did not fail: {out}"
    if status is not None:
        assert got == status, f"sekisho {' '.join(argv)}: status {got}, not {status}: {err}"
    for word in words:
        assert word in err, f"{word!r} is not in: {err}"


def test_bad_rules(t):
    """Bad rules on the command line: status 2, a near miss, and no rule written."""
    before = sekisho_json("rules")
    says(["port"], *"allow web to www.example.org prot 443".split(), status=2)
    says([], "allow", "web", "to", "*.com", status=2)
    says([], "allow", "web", "to", "198.51.100.10/24", status=2)
    says([], "allow", "web", "to", "www.example.org", "port", "99999", status=2)
    says([], "allow", "web", "from", "www.example.org", status=2)
    says([], "allow", "w" * 64, "to", "www.example.org", status=2)
    says([], "allow", "web", "to", "a" * 64 + ".example.org", status=2)
    says([], "allow", "web", "to", "www.example.org", "for", "soon", status=2)
    says([], "allow", "any", "to", "www.example.org", "until", "exit", status=2)
    # No comment that hides the words after it.
    says([], "allow", "web", "to", "www.example.org", "#x", "once", status=2)
    assert sekisho_json("rules") == before


def test_rules_rm_unknown(t):
    """Removing a rule that is not there: status 3."""
    says([], "rules", "rm", "zzzz", status=3)


def test_attach_errors(t):
    """attach: no such interface, one with an address, one in another bridge, a name too long, twice the same: nothing half made."""
    began = datetime.datetime.fromtimestamp(t.start_time, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")
    says(["nosuch0"], "attach", "web", "--port", "nosuch0")
    says(["up0"], "attach", "web", "--port", "up0")
    says(["lo"], "attach", "web", "--port", "lo")
    says([], "attach", "w" * 64, "--port", "up0", status=2)
    says([], "attach", "Web!", "--port", "up0", status=2)
    says([], "attach", "web", "--port", "a-name-longer-than-15")
    says(["--port"], "attach", "web", status=2)
    assert sekisho_json("ps") == []
    t.app("web")
    ns, port = t.lab.namespace("twin")
    says(["web"], "attach", "web", "--port", port)
    own = sekisho_json("ps")[0]["port"]
    says(["MAC"], "attach", "other", "--port", port, "--mac", "03:00:00:00:00:01", status=2)
    says([own], "attach", "other", "--port", own)
    status, out, err = sekisho("attach", "web", "--port", own, check=False)
    assert status == 0 and "already" in err and "ipv4_gateway" in out, (status, out, err)
    assert len(sekisho_json("ps")) == 1
    t.lab.remove_namespace("twin")
    # What never ran has not stopped either.
    assert [e["app"] for e in sekisho_json("log") if e["time"] >= began[:-3] and e["event"].startswith("app-")] == ["web"]


def test_detach_unknown(t):
    """detach and stop of an app that does not run: status 3."""
    says([], "detach", "ghost", status=3)
    says([], "stop", "ghost", status=3)


@no_daemon
def test_no_daemon(t):
    """Every command without a daemon: status 6 and how to start it."""
    for words in (["ps"], ["rules"], ["ask", "--json"], ["log"], ["allow", "web", "to", "www.example.org"], ["stop", "web"],
                  ["attach", "web", "--port", "x0"], ["why", "web", "www.example.org:443"]):
        says(["sekishod"], *words, status=6)
    says(["sekishod"], "run", "web", "--", "true", status=125)


@no_daemon
def test_socket_is_something_else(t):
    """A socket that speaks another protocol is told apart from a daemon."""
    path = f"{LAB}/foreign.sock"
    server = subprocess.Popen(["python3", "-c", "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1]);s.listen()\n"
                               "print('up',flush=True)\nc,_=s.accept();c.send(b'220 mail ready\\r\\n');c.recv(9);c.close()\n", path],
                              stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    p = subprocess.run([f"{build_dir()}/sekisho", "--socket", path, "ps"], capture_output=True, text=True, timeout=15, env=environment())
    server.kill()
    server.wait()
    assert p.returncode not in (0, 139) and p.stderr, p


@no_daemon
def test_usage(t):
    """No command, an unknown command, an unknown option: status 2 and a near miss; --help and --version: status 0."""
    says([], status=2)
    says(["rules"], "ruels", status=2)
    says([], "ps", "--nosuch", status=2)
    assert sekisho("--help", check=False)[0] == 0
    assert sekisho("--version", check=False)[0] == 0


@no_daemon
def test_policy_check(t):
    """`policy check` and `why --policy` work on files alone: status 7 with positions, 0 on a good file."""
    good, bad = f"{LAB}/good.rules", f"{LAB}/bad.rules"
    with open(good, "w") as f:
        f.write("ask any\ndeny any to 203.0.113.0/24\nallow web to www.example.org port 443\n")
    with open(bad, "w") as f:
        f.write("allow web to www.example.org\nallow web too www.example.net\n")
    assert sekisho("policy", "check", good, check=False)[0] == 0
    status, _out, err = sekisho("policy", "check", bad, check=False)
    assert status == 7 and "bad.rules:2:11: error:" in err, (status, err)
    out = sekisho_json("why", "--policy", good, "web", "203.0.113.5:80")[0]
    assert out["verdict"] == "deny" and out["origin"] == "file", out
    assert "port 443" in sekisho("policy", "fmt", good)


def test_not_permitted(t):
    """A user without rights may not attach, may not write rules for others, may not see them: status 4."""
    with open("/etc/passwd", "a") as f:  # a copy of ours
        f.write("mallory:x:4242:4242::/:/bin/sh\n")
    app = t.app("web")
    assert sekisho("attach", "web2", "--port", app.port, check=False, user=4242)[0] == 4
    assert sekisho("allow", "web", "to", "any", "--owner", "root", check=False, user=4242)[0] in (2, 4)
    assert sekisho("stop", "web", check=False, user=4242)[0] in (3, 4)
    assert "web" not in sekisho("ps", check=False, user=4242)[1]


def test_garbage_on_the_socket(t):
    """Bytes that are no varlink close that connection and nothing else."""
    import json
    for data in (b"\0" * 100, b"{" * 5000 + b"\0", b'{"method":5}\0', b'{"method":"org.sekisho.Rules.Add","parameters":[]}\0',
                 b'{"method":"org.sekisho.Rules.Add","parameters":{"rules":[1]}}\0', b"\xff\xfe\0", b'{"method":"x"}',
                 json.dumps({"method": "org.sekisho.Rules.Add", "parameters": {"rules": ["x" * (2 << 20)]}}).encode() + b"\0"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(f"{RUN_DIR}/api")
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except OSError:
            pass
        s.close()
    assert sekisho("ps", check=False)[0] == 0
