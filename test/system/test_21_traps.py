# SPDX-License-Identifier: Apache-2.0
"""More of the switch page's traps, those that need the switch's own answers. doc/traps.md lists which test goes red without which cure."""
import os
import re
import select
import signal
import socket
import subprocess
import time

from frames import arp, ethernet, ip4, udp
from lab import Capture, LAB, sh, wait_until
from product import dns_query
from run import no_daemon
from test_04_faults import Stream
from test_06_traps import udp_once

WEB4 = "198.51.100.10"


def ofport(t, port):
    return int(sh("ovs-vsctl", "--db=unix:/run/sekisho/ovs/db.sock", "get", "Interface", port, "ofport"))


def test_meter_before_controller(t):
    """A thousand ARP requests in one breath: the meter stands before the controller action, so gate answers some fifty a second."""
    app = t.app("noisy")
    gw, raw = app.gateway_mac(), app.raw()
    request = ethernet(b"\xff" * 6, app.mac, 0x0806, arp(1, app.mac, app.ipv4, b"\0" * 6, app.gateway4))
    began = time.monotonic()
    for _ in range(1000):
        raw.send(request)
    answers = 0
    while select.select([raw], [], [], 0.5)[0]:
        frame = raw.recv(2000)
        answers += frame[6:12] == gw and frame[12:14] == b"\x08\x06"
    allowed = 120 + 60 * (time.monotonic() - began)
    raw.close()
    t.say(f"{answers} answers")
    assert 20 <= answers <= allowed, f"{answers} answers, not more than {allowed:.0f} expected"


def test_no_hidden_flows(t):
    """Nothing in the bridge but our rows: no in-band control that somebody else's manager could ask for."""
    t.app("web")
    out = t.daemon.appctl("bridge/dump-flows", "sekisho0")
    assert "NORMAL" not in out and "LOCAL" not in out, out
    hidden = [line for line in out.splitlines() if int((re.search(r"priority=(\d+)", line) or [0, 0])[1]) > 65535]
    assert not hidden, hidden[:5]


def test_bridge_without_gate(t):
    """Between vswitchd's start and gate's first row the bridge forwards nothing: it is fail_mode=secure, not a learning switch."""
    t.app("web")
    gate, old = t.daemon.role_pids("gate")[0], t.daemon.ovs_pid("ovs-vswitchd")
    os.kill(gate, signal.SIGSTOP)
    try:
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: t.daemon.ovs_pid("ovs-vswitchd") != old, 20, "a new vswitchd")
        out = wait_until(lambda: "OFPST_FLOW" in (flows := t.daemon.ofctl("dump-flows", check=False)) and flows, 20, "the bridge's flows")
    finally:
        os.kill(gate, signal.SIGCONT)
    assert "NORMAL" not in out, out


def test_committed_but_still_new(t):
    """The kernel calls a committed connection new until the first reply: with a grant's mark it goes on to the live flows, is not asked again."""
    app = t.app("web")
    flow = (f"in_port={ofport(t, app.port)},dl_src={app.mac},dl_dst={app.gateway_mac().hex(':')},udp,nw_src={app.ipv4},nw_dst={WEB4},"
            "nw_ttl=64,udp_src=5000,udp_dst=5000")
    for mark, table in ((0, 48), (0x77, 45)):
        out = t.daemon.appctl("ofproto/trace", "sekisho0", f"{flow},ct_mark={mark}", "--ct-next", "trk,new")
        last = out[out.index("recirc("):]
        tables = [int(n) for n in re.findall(r"^ ?(\d+)\. ", last, re.M)]
        assert table in tables, f"mark {mark}: tables {tables}"
        assert (48 in tables) == (mark == 0), f"mark {mark}: tables {tables}"


# Some hundreds a second until its input ends; a switch that is not scheduled for a moment must not lose any for want of room.
ECHOES = """import select,socket,struct,sys,time
s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_ICMP)
s.setsockopt(socket.SOL_SOCKET,33,1<<24)  # SO_RCVBUFFORCE
def echo(n):
    h=struct.pack('!BBHHH',8,0,0,77,n)
    c=sum(struct.unpack('!4H',h)); c=(c>>16)+(c&0xffff)
    s.sendto(struct.pack('!BBHHH',8,0,~c&0xffff,77,n),('198.51.100.10',0))
echo(0); s.settimeout(20); s.recv(100); print('up',flush=True)
s.setblocking(False); back=set(); n=0
def take():
    try:
        while True:
            d=s.recv(100)
            if d[20]==0 and d[24:26]==b'\\0\\x4d': back.add(int.from_bytes(d[26:28],'big'))
    except BlockingIOError: pass
while n<60000 and not select.select([sys.stdin],[],[],0.001)[0]: n+=1; echo(n); take()
back.discard(0)
end=time.monotonic()+10
while len(back)<n and time.monotonic()<end: select.select([s],[],[],0.1); take()
print(n-len(back),n,flush=True)
"""


def test_resync_loses_nothing(t):
    """Three new gates, each of which writes every row anew: not one of the echoes of a connection that stands is lost."""
    app, log = t.app("pinger"), t.log()
    t.rule(f"allow pinger to {WEB4} port /icmp")
    p = t.start(app, "python3", "-c", ECHOES, stdin=subprocess.PIPE)
    assert p.stdout.readline() == "up\n"
    # What was admitted an instant before gate dies may be cut (switch page 2): gate's copy at desk and the log's line travel together.
    log.find(event="connection", app="pinger")
    for _ in range(3):
        before = t.daemon.count("in step")
        t.daemon.kill_role("gate")
        wait_until(lambda n=before: t.daemon.count("in step") > n, 20, "the new gate is in step")
    assert p.poll() is None, "the echoes ended before the last swap"
    lost, sent = map(int, p.communicate(timeout=60)[0].split())
    t.say(f"{lost} of {sent} echoes lost")
    assert lost == 0 and sent > 20, (lost, sent)


@no_daemon
def test_started_with_the_computer(t):
    """vswitchd started within ten seconds of boot loses every upcall for good: the daemon waits so long, by the clock of the boot."""
    daemon = t.new_daemon()
    up = float(open("/proc/uptime").read().split()[0])
    daemon.prefix = ["unshare", "--time", "--boottime", str(int(6 - up))]
    daemon.start()
    assert daemon.running()
    pid = daemon.ovs_pid("ovs-vswitchd")
    ticks = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[19])
    # Field 22 counts from the real boot; the daemon's own boot was 6 s before it started.
    since = ticks / os.sysconf("SC_CLK_TCK") - up + 6
    assert since > 10, f"vswitchd was started {since:.1f} s after boot"


def test_forged_answer_of_names(t):
    """A frame that looks like an answer of the names service comes from another app: what is asked is who sent it, not what it looks like."""
    liar, victim = t.app("liar"), t.app("victim")
    assert victim.resolve("www.example.net")[0] == 0
    row = next(line for line in t.daemon.ofctl("dump-flows", "table=0").splitlines() if "table=23" in line and f"nw_dst={victim.ipv4}" in line)
    names = re.search(r"dl_src=([0-9a-f:]+).*nw_src=([\d.]+),", row)
    mac, us = names.groups()
    s = victim.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((victim.ipv4, 5353))
    s.settimeout(10)
    s.sendto(dns_query("www.example.net"), ("198.51.100.53", 53))
    assert s.recv(2000)
    raw = liar.raw()
    for source in (mac, liar.mac):
        raw.send(ethernet(liar.gateway_mac(), source, 0x0800, ip4(us, victim.ipv4, 17, udp(us, victim.ipv4, 53, 5353, b"LIE"))))
    s.settimeout(0.5)
    try:
        assert b"LIE" not in s.recv(2000), "the forged answer arrived"
    except TimeoutError:
        pass
    raw.close()
    s.close()
    assert liar.resolve("www.example.net")[0] == 0


def test_number_is_not_used_again(t):
    """The number of an ended grant revives nothing: a stream stays cut while another peer is admitted at once."""
    app = t.app("web")
    t.rule("allow web to 198.51.100.10 port 1234/tcp")
    stream = Stream(t, app)
    assert stream.alive()
    t.remove_rules("1234")
    t.rule("drop web to 198.51.100.10 port 1234/tcp")
    t.rule("allow web to 198.51.100.11 port 5000/udp")
    # What was under way when the rule went may still be read; then it is quiet, and stays so.
    assert stream.silent_for(0.5, 10), "the stream is not cut"
    for _ in range(5):
        udp_once(app, "198.51.100.11", 5000, 0.3)
    assert not stream.alive(2), "the stream that was cut goes on"


def test_names_zone_full_at_the_names_port(t):
    """The zone of an app's lookups full: what could not be translated does not even reach the names service."""
    app = t.app("dnsflood")
    gw, raw = app.gateway_mac(), app.raw()
    capture = Capture("sk-nm0", f"{LAB}/names.pcap", direction="out")
    try:
        since = len(capture.frames())
        for i in range(1500):
            raw.send(ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, "203.0.113.66", 17, udp(app.ipv4, "203.0.113.66", 1024 + i, 53,
                                                                                      dns_query("leak.example.net")))))
        calm = t.app("calm")
        wait_until(lambda: calm.resolve("calm.example.net")[1], 20, "another app's lookup")
        wait_until(lambda: any(b"\x04calm" in f[1] for f in capture.frames()[since:]), 20, "it is in the capture")
        seen = [f[1] for f in capture.frames()[since:] if b"\x04leak" in f[1]]
    finally:
        raw.close()
        capture.process.kill()
        capture.process.wait()
    assert 100 < len(seen) < 1500, f"{len(seen)} of 1500 queries got through; the zone holds 512"
    bad = [f for f in seen if f[30:34] == socket.inet_aton("203.0.113.66")]
    assert not bad, f"{len(bad)} of {len(seen)} queries were let out untranslated"


def test_full_zone_under_a_name(t):
    """Zone at its limit, a peer under a synthetic address: the packet that was not translated goes nowhere."""
    app = t.app("tight")
    t.rule("allow tight to www.example.org port 5000/udp")
    address = app.resolve("www.example.org")[1][0]
    assert address.startswith("198.1"), address
    since = len(t.strict.frames())
    assert udp_once(app, address, 5000), "the first connection"
    limits = dict(re.findall(r"zone=(\d+),limit=(\d+)", t.daemon.appctl("dpctl/ct-get-limits")))
    for zone in limits:
        t.daemon.appctl("dpctl/ct-set-limits", f"zone={zone},limit=1")
    for _ in range(3):
        udp_once(app, address, 5000, 0.3)
    t.lab.mark()
    strays = [f for f in t.strict.frames()[since:] if socket.inet_aton(address) in f[1][:34]]
    for zone, limit in limits.items():
        t.daemon.appctl("dpctl/ct-set-limits", f"zone={zone},limit={limit}")
    assert not strays, f"{len(strays)} frames to a synthetic address"


def settled(count):
    """Once a second has not changed it: the switch's counters come late."""
    seen = []

    def same():
        seen.append(count())
        return len(seen) > 1 and seen[-1] == seen[-2]
    wait_until(same, 30, "the count stands still", every=1)
    return seen[-1]


def test_protocol_zero(t):
    """IP protocol 0 once made OVS install too wide a megaflow: it is dropped before anything looks at it, and nobody else suffers."""
    app = t.app("odd")
    assert app.curl("http://203.0.113.67/", timeout=3)[0] != 0
    asked, raw = settled(t.daemon.packet_ins), app.raw()
    for i in range(5):
        raw.send(ethernet(app.gateway_mac(), app.mac, 0x0800, ip4(app.ipv4, f"203.0.113.{70 + i}", 0, bytes(20))))
    raw.send(ethernet(app.gateway_mac(), app.mac, 0x0800, ip4(app.ipv4, "203.0.113.80", 17, udp(app.ipv4, "203.0.113.80", 9, 9))))
    wait_until(lambda: t.daemon.packet_ins() > asked, 20, "the packet behind them is asked about")
    assert settled(t.daemon.packet_ins) == asked + 1, "a packet of protocol 0 was handed to gate"
    raw.close()


def test_fragments_of_a_live_connection(t):
    """Fragments of a connection that stands are dropped like others: whole packets pass, the pieces of one do not."""
    app = t.app("pieces")
    t.rule(f"allow pieces to {WEB4} port 5000/udp")
    gw, raw = app.gateway_mac(), app.raw()
    since = len(t.lab.capture.frames())

    def whole(word):
        return ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, WEB4, 17, udp(app.ipv4, WEB4, 5001, 5000, word)))

    def seen(word):
        return any(word in f[1] for f in t.lab.capture.frames()[since:])
    raw.send(whole(b"FIRST"))
    wait_until(lambda: seen(b"FIRST"), 20, "the connection stands")
    # OVS takes no piece but the last below 1,200 bytes for serious.
    body = udp(app.ipv4, WEB4, 5001, 5000, b"LIE" * 650)
    raw.send(ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, WEB4, 17, body[:1400], ident=9, offset=0x2000)))
    raw.send(ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, WEB4, 17, body[1400:], ident=9, offset=175)))
    raw.send(whole(b"LAST"))
    wait_until(lambda: seen(b"LAST"), 20, "a whole packet behind them")
    raw.close()
    assert not seen(b"LIELIE"), "pieces passed"
