# SPDX-License-Identifier: Apache-2.0
"""`uplink = port:IFACE`: the NIC is a port of the bridge, each app has an address of its own on the LAN; IPv4 and IPv6."""
import ipaddress

import zones
from lab import Inside, sh
from run import alone
from test_01_main import page, refused, udp_echo
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
def test_nic_is_given_back(t):
    """After the daemon stopped, the NIC is as it was: no master, no address, usable."""
    t.app("web")
    assert t.daemon.stop() == 0
    left = t.daemon.left_behind()
    assert not left, left
    assert "up1" in sh("ip link show up1")
