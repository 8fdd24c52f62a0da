# SPDX-License-Identifier: Apache-2.0
"""The control socket as others see it: polkit and logind, a hostile local user, the public varlink client."""
import json
import os
import select
import shutil
import socket
import subprocess
import sys

import sandbox
from lab import LAB, LabError, build_dir, sh, wait_until
from product import RUN_DIR, sekisho_json
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
    wait_until(lambda: os.path.exists("/run/dbus/system_bus_socket"), 20, "the bus")
    t.start(Host(), "/usr/lib/polkit-1/polkitd", "--no-debug")
    wait_until(lambda: subprocess.run(["pkcheck", "--process", str(os.getpid()), "--action-id", "org.sekisho.run"],
                                      capture_output=True, check=False).returncode == 0, 20, "polkitd answers root")


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
        # The new one says what it can do when it is ready.
        wait_until(lambda: as_user("alice", "final", "deny", "web")[0] == 0, 20, "polkit is asked again")
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
        wait_until(lambda: as_user("alice", "allow", *rule)[0] == 0, 20, "logind is seen")
        status, text = as_user("bob", "allow", *rule)
        assert status == 1 and "session" in text, (status, text)
        logout("alice", 1)
        t.daemon.kill_role("desk")
        wait_until(lambda: "until logout" in as_user("alice", "rules")[1], 20, "the rule outlives one of two sessions, and the desk")
        logout("alice", 0)
        wait_until(lambda: "until logout" not in done("alice", "rules"), 20, "the rule ends with the last session")
    finally:
        sh("rm", "-rf", "/run/systemd")


def connections(api):
    return api.call("org.sekisho.Connections.List")["parameters"]["connections"]


def test_cut(t):
    """A live connection is listed, is cut by its number, and what its rule allows may be opened again."""
    app, api = t.app("web"), Api()
    t.rule("allow web to 198.51.100.10 port 1234/tcp")
    stream = Stream(t, app)
    assert stream.alive()
    live = wait_until(lambda: connections(api), 20, "the desk knows it")
    assert len(live) == 1 and live[0]["address"] == "198.51.100.10" and live[0]["app"] == "web", live
    assert api.call("org.sekisho.Connections.Cut", grants=[live[0]["grant"]])["parameters"]["cut"] == [live[0]["grant"]]
    wait_until(lambda: not stream.alive(1), 20, "the connection is cut")
    assert Stream(t, app).alive()
    wait_until(lambda: [c for c in connections(api) if c["grant"] != live[0]["grant"]], 20, "another connection under another number")


def varlink():
    """The public client; `make check` puts it there."""
    where = f"{build_dir()}/python"
    if not os.path.isdir(f"{where}/varlink"):
        raise LabError(f"{where} is not there: test/fetch-python {where}")
    if where not in sys.path:
        sys.path.insert(0, where)
    import varlink as module
    return module


def conforms(interface, kind, value, where):
    """Says where a reply is not what its interface file promises; nothing may be there that the file does not name."""
    scanner = sys.modules["varlink.scanner"]
    if isinstance(kind, scanner._CustomType):
        kind = interface.members[kind.name].type
    if isinstance(kind, scanner._Maybe):
        return [] if value is None else conforms(interface, kind.element_type, value, where)
    if isinstance(kind, scanner._Array):
        if not isinstance(value, list):
            return [f"{where}: no array: {value}"]
        return [w for i, v in enumerate(value) for w in conforms(interface, kind.element_type, v, f"{where}[{i}]")]
    if isinstance(kind, scanner._Enum):
        return [] if value in kind.fields else [f"{where}: {value} is none of {list(kind.fields)}"]
    if isinstance(kind, scanner._Struct):
        if not isinstance(value, dict):
            return [f"{where}: no object: {value}"]
        wrong = [f"{where}: {name} is not in the file" for name in value if name not in kind.fields]
        for name, member in kind.fields.items():
            if name in value or not isinstance(member, scanner._Maybe):
                wrong += conforms(interface, member, value.get(name), f"{where}.{name}")
        return wrong
    return [] if type(value) is type(kind) else [f"{where}: {value!r} is no {type(kind).__name__}"]


def interfaces():
    """Name -> interface as the public client reads it."""
    module = varlink()
    with module.Client.new_with_address(f"unix:{RUN_DIR}/api") as client:
        return {name: client.get_interface(name) for name in client.get_interfaces() if name.startswith("org.sekisho.")}


def methods(interface):
    return [m for m in interface.members.values() if type(m).__name__ == "_Method"]


def test_python_client(t):
    """The public Python client introspects every interface, calls, streams, answers a question; every reply is what its file says."""
    module = varlink()
    from varlink.error import VarlinkError
    app = t.app("web")
    t.permit("web", "198.51.100.10", 80)
    with module.Client.new_with_address(f"unix:{RUN_DIR}/api") as client:
        with client.open("org.sekisho.Rules") as rules:
            added = rules.Add(["deny web to bad.example.com"])["added"][0]
            assert added["owner"] == "root", added
            try:
                rules.Add(["alow web"])
                raise AssertionError("a rule of no language was taken")
            except VarlinkError as e:
                assert e.error() == "org.sekisho.BadRule" and e.parameters()["hint"] == "allow", e.parameters()
            try:
                rules.Why("web")
                raise AssertionError("nothing was asked about")
            except VarlinkError as e:
                assert e.error() == "org.varlink.service.InvalidParameter" and e.parameters()["parameter"] == "name", e.parameters()
        with client.open("org.sekisho.Questions") as serve, client.open("org.sekisho.Questions") as agent:
            stream = serve.Serve(_more=True)
            assert next(stream)["event"] == "snapshot"
            p = t.start(app, "curl", "-sS", "--max-time", "60", PAGE)
            q = next(stream)["question"]
            reply = agent.Answer(q["id"], q["digest"], "allow web to 198.51.100.10 port 80/tcp until exit")
            assert reply["in_force"] and reply["rule_id"], reply
            assert p.wait(timeout=20) == 0
            later = t.start(app, "curl", "-sS", "--max-time", "60", "http://198.51.100.11/")
            wait_until(lambda: [q for q in Api().call("org.sekisho.Questions.List")["parameters"]["questions"] if q["address"] == "198.51.100.11"],
                       20, "another question")
    wrong, api, known = [], Api(), interfaces()
    for name, parameters in (("Admin.Version", {}), ("Admin.Status", {}), ("Admin.Doctor", {}), ("Admin.WhoAmI", {}), ("Apps.List", {}),
                             ("Rules.List", {"ended": True}), ("Rules.Why", {"app": "web", "name": "bad.example.com"}),
                             ("Questions.List", {}), ("Connections.List", {}), ("Connections.Log", {"limit": 200})):
        interface, _, method = f"org.sekisho.{name}".rpartition(".")
        reply = api.call(f"{interface}.{method}", **parameters)
        assert "error" not in reply, reply
        wrong += conforms(known[interface], known[interface].get_method(method).out_type, reply["parameters"], name)
    assert not wrong, "\n".join(wrong[:10])
    later.kill()


PAGE = "http://198.51.100.10/"
SECRET = "alices-secret"


def as_uid(name, function):
    """Runs the function as that user in a process of its own; its result, which must be JSON."""
    uid = USERS.get(name, 60099)
    gid = 60900 if name == "alice" else uid
    out, back = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.write(back, json.dumps(function()).encode())
            status = 0
        except BaseException as e:
            os.write(back, json.dumps(f"failed: {type(e).__name__}: {e}").encode())
        os._exit(status)
    os.close(back)
    said = b""
    while piece := os.read(out, 65536):
        said += piece
    os.close(out)
    _, status = os.waitpid(pid, 0)
    assert status == 0, said.decode()
    return json.loads(said)


def hostile_parameters(method, values):
    """What the method takes, filled with others' things."""
    return {name: values[name] for name in method.in_type.fields if name in values}


def call_everything(known, values, flags=(None, "more", "oneway", "upgrade")):
    """Every method with every flag; -> [[method, flag, first reply or None]]."""
    said = []
    for interface in known.values():
        for method in methods(interface):
            for flag in flags:
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(10)
                s.connect(f"{RUN_DIR}/api")
                call = {"method": f"{interface.name}.{method.name}", "parameters": hostile_parameters(method, values)}
                if flag is not None:
                    call[flag] = True
                reply = b""
                # A call without an answer is over when the next is answered.
                after = b'{"method":"org.sekisho.Ping"}\0' if flag == "oneway" else b""
                try:
                    s.sendall(json.dumps(call).encode() + b"\0" + after)
                except OSError:
                    pass  # turned away already; the reason can be read all the same
                try:
                    while b"\0" not in reply and (piece := s.recv(65536)):
                        reply += piece
                except OSError:
                    pass
                s.close()
                said.append([call["method"], flag, reply.decode()])
    return said


def state_of_alice():
    """All that is hers, without what only time changes."""
    rules = sorted(r["rule"] for r in sekisho_json("rules", "--all"))
    apps = sorted((a["app"], a["owner"], a["run"]) for a in sekisho_json("ps", "--all"))
    questions = [(q["id"], q["digest"]) for q in Api().call("org.sekisho.Questions.List")["parameters"]["questions"]]
    return rules, apps, questions


@no_daemon
def test_hostile_user(t):
    """Every call with others' ids by a user of the group, by one of no group, by an uid nobody knows: nothing changes, nothing is told."""
    begin(t, "allow payroll to 198.51.100.10 port 80/tcp\n")
    known = interfaces()
    app = t.app("web", "--owner", "alice")
    done("alice", "allow", "web", "to", "198.51.100.10", "port", "1234/tcp", "note", f"{SECRET} of mine")
    t.permit("web", "198.51.100.10", 1234)
    stream = Stream(t, app)
    assert stream.alive()
    p = t.start(app, "curl", "-sS", "--max-time", "80", f"http://{SECRET}.example.org/")
    api = Api()
    q = wait_until(lambda: api.call("org.sekisho.Questions.List")["parameters"]["questions"], 20, "alice's question")[0]
    live = wait_until(lambda: api.call("org.sekisho.Connections.List")["parameters"]["connections"], 20, "her connection")[0]
    rule = next(r for r in sekisho_json("rules", "--all") if SECRET in r["rule"])
    before, desk = state_of_alice(), t.daemon.role_pids("desk")
    values = {"app": "web", "ids": [rule["rule_id"]], "id": q["id"], "digest": q["digest"], "rule": "allow web to any", "all": True,
              "rules": ["final allow any to any"], "grants": [live["grant"]], "port": "up0", "argv": ["true"], "seconds": 60, "ended": True,
              "name": f"{SECRET}.example.org", "inbox": True, "address": "198.51.100.10"}
    hostile = []
    for who in ("bob", "dave", "nobody"):
        for owner in ("alice", "root", None):
            given = {**values, "owner": owner} if owner else {k: v for k, v in values.items() if k != "all"}
            hostile += [[who, owner, *one] for one in as_uid(who, lambda given=given: call_everything(known, given))]
    for who, owner, method, flag, reply in hostile:
        shown = reply.replace(f"parameter {SECRET}", "")
        assert SECRET not in shown and q["digest"] not in shown, (who, owner, method, flag, reply)
        open_to_all = method.startswith("org.sekisho.Admin.") or method == "org.sekisho.Ping" or flag == "oneway"
        assert who == "bob" or open_to_all or "NotPermitted" in reply, (who, owner, method, flag, reply)
        assert who != "nobody" or "NotPermitted" in reply or not reply, (who, method, flag, reply)
    assert state_of_alice()[0] == before[0], "a rule was changed"
    assert before[1][0] in state_of_alice()[1], "an application was changed"
    assert before[2][0] in state_of_alice()[2], "the question was answered"
    assert stream.alive(), "the connection was cut"
    assert t.daemon.role_pids("desk") == desk, "the desk died"
    assert len(hostile) > 500, "hardly any call was made"
    t.say(f"{len(hostile)} hostile calls")
    p.kill()


def flood():
    """Connections to the limit and beyond, messages too long, too deep, never ended, with descriptors, with nothing."""
    def connect():
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(f"{RUN_DIR}/api")
        return s

    def closed(s, data):
        try:
            for at in range(0, len(data), 65536):
                s.sendall(data[at:at + 65536])
            while s.recv(65536):
                pass
            return True
        except (ConnectionError, BrokenPipeError):
            return True
        except TimeoutError:
            return False
    said = {"long": closed(connect(), b'{"method":"' + b"x" * (1 << 20) + b'"}\0'),
            "deep": closed(connect(), b'{"method":"a.B","parameters":' + b'{"a":' * 100000 + b"0" + b"}" * 100001 + b"\0"),
            "zero": closed(connect(), b"\0" * 100),
            "not utf-8": closed(connect(), b'{"method":"\xff\xfe"}\0')}
    kept = []
    for _ in range(80):
        s = connect()
        s.sendall(b'{"method":"org.sekisho.Ping"}\0' if len(kept) % 2 else b'{"method":"org.sek')
        kept.append(s)
    said["refused"] = 0
    silent = set(kept)
    while silent and (spoken := select.select(silent, [], [], 3)[0]):
        for s in spoken:
            said["refused"] += b"Limit" in s.recv(4096)
            silent.discard(s)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for s in kept[:8]:
        try:
            for _ in range(10):
                socket.send_fds(s, [b" "], [nothing] * 250)
        except OSError:
            pass
    return said


@no_daemon
def test_hostile_bytes(t):
    """Messages too long, too deep, partial; 80 connections and floods of descriptors by one user: closed, refused at 64, others are served."""
    begin(t)
    desk = t.daemon.role_pids("desk")

    def descriptors():
        return len(os.listdir(f"/proc/{desk[0]}/fd"))
    before = descriptors()
    said = as_uid("alice", flood)
    assert said["long"] and said["deep"] and said["zero"] and said["not utf-8"], said
    assert said["refused"] == 16, said
    assert Api().call("org.sekisho.Ping") == {"parameters": {}}
    wait_until(lambda: descriptors() <= before + 2, 20, "the desk closes what was left")
    assert t.daemon.role_pids("desk") == desk, "the desk died"
