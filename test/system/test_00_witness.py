# SPDX-License-Identifier: Apache-2.0
"""Nothing below is worth a word unless the witness sees what passes and catches what must not."""
import time

import witness
from lab import Inside, sh
from run import no_daemon


@no_daemon
def test_plain_router(t):
    """With a plain router in place of the daemon: a permitted page is seen, one that nobody permitted is caught."""
    ns, port = t.lab.namespace("plain")
    try:
        sh("sysctl -qw net.ipv4.ip_forward=1")
        sh(f"ip addr add 100.64.0.1/30 dev {port}")
        sh(f"ip link set {port} up")
        sh("ip addr add 100.64.0.2/30 dev eth0", ns=ns)
        sh("ip link set eth0 up", ns=ns)
        sh("ip route add default via 100.64.0.1", ns=ns)
        sh("nft", "-f", "-", text="table ip plain { chain p { type nat hook postrouting priority 100; oifname up0 masquerade; }; }")
        permit = t.permit("plain", "www.example.org", 80)
        t.script.permit_lookup(0, "www.example.org")
        inside = Inside(ns)
        status, out, _ = inside.curl("http://198.51.100.10/")
        assert status == 0 and "Welcome" in out, out
        end = t.lab.mark()
        frames = witness.between(t.lab.capture.frames(), t.start_mark, end)
        bad, _ = witness.judge(frames, t.script, True)
        assert not bad and permit.seen >= 4, (list(map(str, bad)), permit.seen)
        status, out, _ = inside.curl("http://198.51.100.11/")
        assert status == 0, out
        t.leak_wanted = 4
    finally:
        sh("nft delete table ip plain", check=False)
        sh("sysctl -qw net.ipv4.ip_forward=0")
        t.lab.remove_namespace("plain")


def test_deliberate_leak(t):
    """A table broken on purpose lets an app's packets out, next to an allowed flow: the witness sees the one and catches the other."""
    app = t.app("leaky")
    permit = t.rule("allow leaky to www.example.org port 80/tcp")
    status, out, _ = app.curl("http://www.example.org/")
    assert status == 0, out
    end = t.lab.mark()
    bad, _ = witness.judge(witness.between(t.lab.capture.frames(), t.start_mark, end), t.script, True)
    assert not bad, list(map(str, bad))
    assert permit.seen >= 4, "the witness did not see the allowed flow"
    port = sh("cat", "/sys/class/net/sk-up0/address").strip()
    raw = app.raw()
    packet = udp_frame(app, app.gateway_mac(), "203.0.113.67", 4444, b"leak")
    t.leak_wanted = 1
    before = len(t.lab.capture.frames())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        # The daemon may mend its tables; so often as it takes.
        t.daemon.ofctl("add-flow", f"table=0,priority=65535,udp,tp_dst=4444,actions=mod_dl_dst:{port},output:{uplink_port(t)}", check=False)
        for _ in range(5):
            raw.send(packet)
        t.lab.mark()
        new = [witness.Packet(*f) for f in t.lab.capture.frames()[before:]]
        if any(str(p.dst) == "203.0.113.67" for p in new):
            break
    else:
        raise AssertionError("the leak could not be made, so nothing was proved")
    t.daemon.ofctl("del-flows", "udp,tp_dst=4444", check=False)
    t.shared.dirty = True


def uplink_port(t):
    for line in t.daemon.ofctl("show").splitlines():
        if "(sk-up0)" in line:
            return line.split("(")[0].strip()
    raise AssertionError("no port sk-up0 on the bridge")


def udp_frame(app, gateway, to, port, payload):
    from frames import ethernet, ip4, udp
    return ethernet(gateway, app.mac, 0x0800, ip4(app.ipv4, to, 17, udp(app.ipv4, to, 5555, port, payload)))
