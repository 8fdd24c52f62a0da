# SPDX-License-Identifier: Apache-2.0
"""`uplink = port:IFACE`: the NIC is a port of the bridge, each app has an address of its own on the LAN; IPv4 and IPv6."""
import ipaddress
import os
import subprocess
import time

import zones
from lab import Inside, LAB, build_dir, sh, wait_until
from product import environment, sekisho
from run import alone
from test_01_main import page, refused, udp_echo
from test_04_faults import Stream, kept_stream, two_rules, works_again
from test_03_spoof import WEB4, WEB6, assert_works, datagram4, datagram6
from frames import ethernet

port_uplink = alone(**zones.PORT_SETTINGS)


@port_uplink
def test_address_on_the_lan(t):
    """Each app gets an address of its own out of lan_ipv4 and lan_ipv6."""
    one, two = t.app("one"), t.app("two")
    first, last = map(ipaddress.ip_address, ("203.0.113.200", "203.0.113.220"))
    assert first <= ipaddress.ip_address(one.ipv4) <= last and first <= ipaddress.ip_address(two.ipv4) <= last
    assert one.ipv4 != two.ipv4 and one.ipv6 != two.ipv6
    assert ipaddress.ip_address(one.ipv6) in ipaddress.ip_network("2001:db8:0:3::/64")


@port_uplink
def test_page_both_families(t):
    """An allowed page arrives over both families, by name, without the host's nat; the app's own address is seen."""
    app = t.app("web")
    t.rule("allow web to www.example.org port 443/tcp")
    t.rule("allow web to www.example.org port 80/tcp")
    page(app, "https://www.example.org/", "-4")
    page(app, "https://www.example.org/", "-6")
    status, out, _ = app.curl("http://www.example.org/where", "-4")
    assert status == 0 and app.ipv4 in out, out
    refused_app = t.app("no")
    t.rule("deny no")
    refused(refused_app, "http://198.51.100.10/")


@port_uplink
def test_two_apps_on_the_lan(t):
    """Two apps share the NIC, each with its own policy; udp comes back to the right one."""
    one, two = t.app("one"), t.app("two")
    t.rule("allow one to 198.51.100.10 port 5000/udp")
    t.rule("allow two to 198.51.100.11 port 5000/udp")
    t.rule("deny one to 198.51.100.11")
    t.rule("deny two to 198.51.100.10")
    assert udp_echo(one, "198.51.100.10", 5000) == b"hello"
    assert udp_echo(two, "198.51.100.11", 5000) == b"hello"
    assert udp_echo(two, "198.51.100.10", 5000, timeout=1) is None


@port_uplink
def test_spoof_on_the_lan(t):
    """A neighbour app's address, the router's, and a stranger's on the LAN: no frame."""
    app, victim = t.app("liar"), t.app("victim")
    t.rule(f"allow liar to {WEB4} port 5000/udp")
    t.rule(f"allow liar to {WEB6} port 5000/udp")
    assert_works(app)
    gw, raw = app.gateway_mac(), app.raw()
    since = len(t.strict.frames())
    for src in (victim.ipv4, zones.PORT_ROUTER4, "203.0.113.230"):
        raw.send(ethernet(gw, app.mac, 0x0800, datagram4(src)))
    for src in (victim.ipv6, zones.PORT_ROUTER6, "2001:db8:0:3::999"):
        raw.send(ethernet(gw, app.mac, 0x86dd, datagram6(src)))
    raw.close()
    assert_works(app)
    lies = [f for f in t.strict.frames()[since:] if b"LIE" in f[1]]
    assert not lies, lies[0][1].hex()


@port_uplink
def test_unasked_from_the_lan(t):
    """A LAN host that dials the app's address finds nothing; with a `from` rule exactly that port."""
    app = t.app("game")
    server = t.start(app, "python3", "-c", "import socket\ns=socket.create_server(('',27015))\nprint('up',flush=True)\n"
                     "while True:\n  c,a=s.accept();c.send(b'hello from the app');c.close()\n")
    assert server.stdout.readline() == "up\n"
    outside = Inside("net")

    def dial():
        return outside.run("curl", "-sS", "--http0.9", "--interface", zones.PORT_LAN4, "--max-time", "2", f"http://{app.ipv4}:27015/")[1]
    assert "hello" not in dial()
    t.rule("allow game from lan port 27015/tcp")
    t.permit("game", "203.0.113.192/26", 27015, "tcp", "in")
    assert "hello" in dial()


@port_uplink
def test_peers_on_the_lan(t):
    """Peers on the LAN itself are reached directly, over both families; where nobody is the app is told."""
    app = t.app("near")
    for peer in (zones.PORT_LAN4, zones.PORT_ROUTER6):
        t.rule(f"allow near to {peer} port 5000/udp")
        assert udp_echo(app, peer, 5000) == b"hello", peer
    t.rule("allow near to 203.0.113.240 port 80/tcp")
    began = time.monotonic()
    status, _, _ = app.curl("http://203.0.113.240/", timeout=20)
    assert status == 7 and time.monotonic() - began < 15, status


@port_uplink
def test_router_asks(t):
    """The LAN finds an app that has not sent anything: ARP and ND for its addresses are answered with its own MAC, for others not at all."""
    app = t.app("still")
    sh("ip neigh flush dev rt-up1", ns="net")

    def asked(address, found):
        Inside("net").run("python3", "-c", "import socket,sys\na=sys.argv[1]\n"
                          "socket.socket(socket.AF_INET6 if ':' in a else socket.AF_INET,socket.SOCK_DGRAM).sendto(b'LIE',(a,9))", address)
        wait_until(lambda: found in sh(f"ip neigh show {address} dev rt-up1", ns="net"), 20, f"the LAN sees {found} for {address}")
    asked(app.ipv4, app.mac)
    asked(app.ipv6, app.mac)
    asked("203.0.113.219", "FAILED")


FORGE = """
import socket, sys
mac, own = bytes.fromhex(sys.argv[1]), socket.inet_aton(sys.argv[2])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("rt-up1", 0))
evil, router = bytes.fromhex("02deadbeef01"), socket.inet_aton(sys.argv[3])
for op in (1, 2):
    for _ in range(5):
        s.send(mac + evil + bytes.fromhex("0806000108000604") + bytes([0, op]) + evil + router + mac + own)
"""


@port_uplink
def test_forged_arp(t):
    """ARP nobody asked for, request or reply, does not move the gateway."""
    app = t.app("web")
    t.rule(f"allow web to {WEB4} port 5000/udp")
    t.rule(f"allow web to {WEB6} port 5000/udp")
    assert_works(app)
    status, out, _ = Inside("net").run("python3", "-c", FORGE, app.mac.replace(":", ""), app.ipv4, zones.PORT_ROUTER4)
    assert status == 0, out
    for _ in range(5):
        assert udp_echo(app, WEB4, 5000) == b"hello"


@port_uplink
def test_address_given_again(t):
    """The LAN learns at once that an address has a new MAC: the next app gets the address of the one before and works."""
    first = t.app("first")
    t.rule(f"allow first to {WEB4} port 5000/udp")
    t.rule(f"allow first to {WEB6} port 5000/udp")
    assert_works(first)
    first.detach()
    second = t.app("second")
    assert second.ipv4 == first.ipv4 and second.mac != first.mac
    t.rule(f"allow second to {WEB4} port 5000/udp")
    t.rule(f"allow second to {WEB6} port 5000/udp")
    assert_works(second)
    assert udp_echo(second, WEB6, 5000) == b"hello"


@port_uplink
def test_gate_dies(t):
    """gate killed: its successor asks for the neighbours that living connections need; they live on."""
    app = two_rules(t)
    stream = kept_stream(t, app)
    t.daemon.kill_role("gate")
    assert stream.alive(20), "the live connection did not survive the death of gate"
    works_again(app)


@port_uplink
def test_rule_ends(t):
    """A rule removed: the stream stops, its peer on the far side learns by RST."""
    app = t.app("web")
    permit = t.rule("allow web to 198.51.100.10 port 1234/tcp")
    stream = Stream(t, app)
    # By its port: what a dead daemon cut without a word stands on the far side for hours, also under this address.
    port = sh("ss", "-Htn", "state", "established", ns=app.ns).split()[2].rpartition(":")[2]

    def stands():
        return any(app.ipv4 in line and line.split()[-1].endswith(f":{port}") for line in sh("ss -Htn state established", ns="net").splitlines())
    assert stands()
    t.remove_rules("1234")
    t.ended(permit)
    assert stream.silent_for(1, 20)
    wait_until(lambda: not stands(), 20, "the far side learns of the end")


@alone(**dict(zones.PORT_SETTINGS, lan_ipv4="203.0.113.200-203.0.113.200/26 via 203.0.113.193"))
def test_no_address_left(t):
    """When the range of LAN addresses is used up the next app is refused, and the first goes on."""
    app = t.app("one")
    t.rule(f"allow one to {WEB4} port 5000/udp")
    t.rule(f"allow one to {WEB6} port 5000/udp")
    _, port = t.shared.lab.namespace("two")
    status, out = sekisho("attach", "two", "--port", port, check=False)[:2]
    assert status != 0, out
    assert_works(app)


@alone(uplink="port:up1", lan_ipv4=zones.PORT_SETTINGS["lan_ipv4"])
def test_one_family(t):
    """Only IPv4 on the LAN: IPv4 works, no IPv6 packet of an app leaves, and names have no AAAA."""
    app = t.app("four")
    t.rule("allow four to www.example.org port 443/tcp")
    t.rule(f"allow four to {WEB4} port 5000/udp")
    page(app, "https://www.example.org/")
    assert app.resolve("www.example.org", "AAAA")[1] == []
    assert udp_echo(app, WEB4, 5000) == b"hello"
    sekisho("allow", "four", "to", WEB6, "port", "5000/udp")
    assert udp_echo(app, WEB6, 5000, timeout=1) is None


@port_uplink
def test_dhcp_on_the_lan(t):
    """A guest without our agent learns the same by DHCP: its /32 and a gateway that is on the link all the same."""
    app = t.app("plain")
    script = "#!/bin/sh\n[ \"$1\" = bound ] && echo \"$ip/$mask $staticroutes\"\nexit 0\n"
    with open(f"{LAB}/udhcpc.sh", "w") as f:
        f.write(script)
    os.chmod(f"{LAB}/udhcpc.sh", 0o755)
    status, out, _ = app.run("busybox", "udhcpc", "-f", "-q", "-n", "-t", "8", "-T", "2", "-O", "121", "-i", "eth0", "-s", f"{LAB}/udhcpc.sh")
    assert status == 0 and f"{app.ipv4}/32" in out and "169.254.1.1" in out and "0.0.0.0/0" in out, out


@port_uplink
def test_vm_on_the_lan(t):
    """A program in a virtual machine has a LAN address, too, and fetches a page over both families."""
    t.rule("allow vm to www.example.org port 443/tcp")
    t.script.app("vm", *zones.PORT_SEGMENT)
    p = subprocess.run([f"{build_dir()}/sekisho", "run", "vm", "--", "sh", "-c", "curl -sS -4 https://www.example.org/ && "
                        "curl -sS -6 https://www.example.org/"], capture_output=True, text=True, timeout=150, env=environment())
    assert p.returncode == 0 and p.stdout.count("Welcome") >= 2, (p.returncode, p.stdout, p.stderr)


test_vm_on_the_lan.time_limit = 300


@port_uplink
def test_nic_is_given_back(t):
    """After the daemon stopped, the NIC is as it was: no master, no address, usable."""
    t.app("web")
    assert t.daemon.stop() == 0
    left = t.daemon.left_behind()
    assert not left, left
    assert "up1" in sh("ip link show up1")
    assert sh("sysctl -n net.ipv4.conf.up1.arp_ignore").strip() == "0"
