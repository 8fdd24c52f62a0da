# SPDX-License-Identifier: Apache-2.0
"""The life of the switch: vswitchd frozen or dead, what the daemon chooses at start, what `doctor` says of it."""
import array
import fcntl
import json
import os
import re
import signal
import socket
import struct

from lab import sh, wait_until
from product import sekisho, sekisho_json
from run import no_daemon
from test_01_main import Inside, page, refused, udp_echo
from test_04_faults import Stream, two_rules, works_again


def is_up(port):
    return ",UP" in sh(f"ip -o link show {port}").split(">")[0]


def test_frozen_vswitchd(t):
    """vswitchd stopped: after two silent seconds the app's interface is down; when it answers again all is as before."""
    app = two_rules(t)
    stream, log = Stream(t, app), t.log()
    assert is_up(app.port)
    pid = t.daemon.ovs_pid("ovs-vswitchd")
    os.kill(pid, signal.SIGSTOP)
    try:
        log.find(lambda e: "does not answer" in str(e), event="switch")
        wait_until(lambda: not is_up(app.port), 20, "the app's interface goes down")
        assert app.curl("http://198.51.100.11/", timeout=1)[0] != 0
    finally:
        os.kill(pid, signal.SIGCONT)
    log.find(lambda e: "answers again" in str(e), event="switch")
    wait_until(lambda: is_up(app.port), 20, "the app's interface comes up again")
    works_again(app)
    refused(app, "http://198.51.100.11/")
    assert stream.alive(20), "the live connection did not survive"
    assert t.daemon.ovs_pid("ovs-vswitchd") == pid


def test_dead_vswitchd(t):
    """vswitchd killed: the app's interface goes down at once, and up again with the next one, which has all flows."""
    app = two_rules(t)
    old = t.daemon.ovs_pid("ovs-vswitchd")
    down, up = t.daemon.count("interfaces of applications are down"), t.daemon.count("interfaces of applications are up again")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: t.daemon.count("interfaces of applications are down") > down, 20, "the interfaces go down")
    wait_until(lambda: t.daemon.count("interfaces of applications are up again") > up, 20, "and up again")
    assert is_up(app.port) and t.daemon.ovs_pid("ovs-vswitchd") != old
    works_again(app)
    refused(app, "http://198.51.100.11/")


def limits(t):
    return dict(re.findall(r"zone=(\d+),limit=(\d+)", t.daemon.appctl("dpctl/ct-get-limits")))


def test_dead_switchd_and_vswitchd(t):
    """switchd dies, then vswitchd: the zones' limits and the forwards of inbound ports are there again; those of an ended app are not."""
    app, other = two_rules(t), t.app("other")
    t.script.host_answers = True
    t.rule("allow other from lan port 27015/tcp")
    wait_until(lambda: "27015" in sh("nft list table inet sekisho"), 20, "the forward")
    both = limits(t)
    other.detach()
    wait_until(lambda: "27015" not in sh("nft list table inet sekisho"), 20, "the forward ends with its app")
    wait_until(lambda: len(limits(t)) == len(both) - 2, 20, "so do its zones")
    other.attach()
    wait_until(lambda: "27015" in sh("nft list table inet sekisho"), 20, "the forward again")
    both, old = limits(t), t.daemon.ovs_pid("ovs-vswitchd")
    assert len(both) >= 4, both
    t.daemon.kill_role("switchd")
    up = t.daemon.count("interfaces of applications are up again")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: t.daemon.count("interfaces of applications are up again") > up, 40, "vswitchd serves again")
    works_again(app)
    wait_until(lambda: limits(t) == both, 20, "the same limits")
    wait_until(lambda: "27015" in sh("nft list table inet sekisho"), 20, "the same forwards")


CHATTER = ("import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('198.51.100.10',6000))\nprint('up',flush=True)\n"
           "d,a=s.recvfrom(99)\nwhile True:\n  for i in range(100):\n    s.sendto(b'x'*400,a)\n    time.sleep(.001)\n  print('sent',flush=True)\n")
LISTEN = ("import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.sendto(b'x',('198.51.100.10',6000))\n"
          "s.recv(999)\nprint('up',flush=True)\nwhile True: s.recv(999)\n")


@no_daemon
def test_answers_without_a_port(t):
    """The host forwards by itself and has translations of others (Docker). What the world goes on answering while the uplink's port is away,
    vswitchd killed or the daemon stopped, is not sent back with a guest's address."""
    sh("nft add table ip others")
    sh("nft add chain ip others post { type nat hook postrouting priority 100 ; }")
    sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    try:
        t.new_daemon().start()
        t.watch_port()
        app = t.app("web")
        t.rule("allow web to 198.51.100.10 port 6000/udp")
        chatter = t.start(Inside("net"), "python3", "-c", CHATTER)
        assert chatter.stdout.readline() == "up\n"
        assert t.start(app, "python3", "-c", LISTEN).stdout.readline() == "up\n"
        up = t.daemon.count("interfaces of applications are up again")
        os.kill(t.daemon.ovs_pid("ovs-vswitchd"), signal.SIGKILL)
        wait_until(lambda: t.daemon.count("interfaces of applications are up again") > up, 40, "vswitchd serves again")
        assert t.daemon.stop() == 0
        os.set_blocking(chatter.stdout.fileno(), False)
        chatter.stdout.read()
        os.set_blocking(chatter.stdout.fileno(), True)
        assert [chatter.stdout.readline() for _ in range(3)] == ["sent\n"] * 3
    finally:
        sh("nft delete table ip others")


def note_of(words):
    return next((r.get("note") for r in sekisho_json("rules") if words in r["rule"]), None)


def test_forward_of_a_port_in_use(t):
    """A port that the host listens on, or that another app holds, is not passed on: `rules` and the log say so, the holder keeps it."""
    t.script.host_answers = True
    mine = socket.create_server(("", 8080))
    game, other, log = t.app("game"), t.app("other"), t.log()
    for app in ("game", "other"):
        t.permit(app, "192.0.2.0/24", 27015, "tcp", "in")
    sekisho("allow", "game", "from", "lan", "port", "8080/tcp")
    log.find(lambda e: "8080/tcp" in str(e) and "listens" in str(e), event="refused", app="game")
    wait_until(lambda: "listens on it" in (note_of("8080") or ""), 20, "the note beside the rule")
    sekisho("allow", "game", "from", "lan", "port", "27015/tcp")
    sekisho("allow", "other", "from", "lan", "port", "27015/tcp")
    log.find(lambda e: "27015/tcp" in str(e) and "game" in e["text"], event="refused", app="other")
    assert note_of("allow game from lan port 27015") is None
    assert "game holds it" in sekisho("rules")
    ruleset = sh("nft list table inet sekisho")
    assert "8080" not in ruleset and ruleset.count("27015") == 2, ruleset
    mine.close()
    other.detach()
    game.detach()
    wait_until(lambda: "27015" not in sh("nft list table inet sekisho"), 20, "the forward ends with its app")


def system_switch():
    """An Open vSwitch of the host's, as Debian starts it, without segmentation offload in its userspace datapath."""
    run = "/run/openvswitch"
    os.makedirs(run, exist_ok=True)
    sh("ovsdb-tool", "create", f"{run}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
    sh("ovsdb-server", f"{run}/conf.db", f"--remote=punix:{run}/db.sock", "--pidfile", "--detach", "--no-chdir", f"--log-file={run}/db.log",
       "-vconsole:off", "-vsyslog:off")
    sh("ovs-vsctl", "--no-wait", "init")
    sh("ovs-vswitchd", "--pidfile", "--detach", "--no-chdir", f"--log-file={run}/vs.log", "-vconsole:off", "-vsyslog:off")


def checksums_by_itself(app):
    """The app's own end of its veth computes checksums, which nobody else can make it do (ethtool -K eth0 tx off)."""
    def change():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        off = array.array("I", [0x17, 0])  # ETHTOOL_STXCSUM
        fcntl.ioctl(s, 0x8946, struct.pack("16sP8x", b"eth0", off.buffer_info()[0]))  # SIOCETHTOOL
        s.close()
    app.visit(change)


@no_daemon
def test_system_switch_without_offload(t):
    """The host's own Open vSwitch, userspace datapath, no segmentation offload: the self-test sees that UDP is lost and does without."""
    system_switch()
    t.new_daemon(switch="system", datapath="netdev").start()
    t.watch_port()
    assert t.daemon.count("with offloads UDP over IPv4 does not arrive") == 1, t.daemon.tail()
    app = t.app("web")
    checksums_by_itself(app)
    t.rule("allow web to 198.51.100.10 port 5000/udp")
    t.rule("allow web to 198.51.100.10 port 80/tcp")
    assert udp_echo(app, "198.51.100.10", 5000) == b"hello"
    page(app, "http://198.51.100.10/")
    assert "sk-st" not in sh("ovs-vsctl list-br") + sh("ip -o link")
    assert t.daemon.stop() == 0
    assert sh("ovs-vsctl list-br").strip() == "", "the host's switch is as it was"


def doctor():
    """-> (exit status, {check: its object})"""
    code, out, err = sekisho("doctor", "--json", check=False)
    return code, {c["check"]: c for c in map(json.loads, out.splitlines())}


def test_doctor(t):
    """A line per check; nobody answering questions is no fault; what drops forwarded packets is named with the command that mends it."""
    t.app("web")
    code, checks = doctor()
    bad = {k: v for k, v in checks.items() if not v["ok"]}
    assert code == 0 and not bad, bad
    assert {"ovs-vswitchd", "offload", "uplink", "forward IPv4", "forward IPv6", "questions", "store"} <= set(checks), sorted(checks)
    assert "segmentation and checksum offload are on" in checks["offload"]["text"]
    assert "nobody answers" in checks["questions"]["text"]
    sh("nft add table ip filter")
    sh("nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }")
    try:
        wait_until(lambda: not doctor()[1]["forward IPv4"]["ok"], 20, "the drop is seen")
        code, checks = doctor()
        mend = checks["forward IPv4"]
        assert code == 1 and "the nft chain ip filter FORWARD drops it" in mend["text"], mend
        assert checks["forward IPv6"]["ok"], checks["forward IPv6"]
        for command in mend["fix"].split(" && "):
            sh(*command.split())
        wait_until(lambda: doctor()[1]["forward IPv4"]["ok"], 20, "its command mends it")
        sh("nft flush chain ip filter FORWARD")
        for made, word in (("chain ip filter DOCKER-USER", "iptables -I DOCKER-USER -i sk-up0 -j ACCEPT"),):
            sh("nft", "add", *made.split())
            wait_until(lambda w=word: w in (doctor()[1]["forward IPv4"]["fix"] or ""), 10, made)
        sh("nft delete chain ip filter DOCKER-USER")
        sh("nft add table inet firewalld")
        sh("nft add chain inet firewalld filter_FORWARD { type filter hook forward priority 10 ; policy drop ; }")
        wait_until(lambda: "firewall-cmd" in (doctor()[1]["forward IPv4"]["fix"] or ""), 20, "firewalld")
    finally:
        sh("nft delete table ip filter", check=False)
        sh("nft delete table inet firewalld", check=False)
    wait_until(lambda: doctor()[0] == 0, 20, "all is well again")
    left = sh("ip -o link") + sh("ip route") + sh("ip -6 route")
    assert "sk-st0" not in left, left
