# SPDX-License-Identifier: Apache-2.0
"""An app that lies about who it is: no frame. Each test sends where a rule allows, so only the lie is in the way."""
import socket
import time

import zones
from frames import arp, echo, ethernet, ip4, ip6, nd_advert, router_advert, tcp, udp

WEB4, WEB6 = "198.51.100.10", "2001:db8:100::10"


def pair(t):
    """Two apps; the first may reach WEB in every plain way."""
    app, victim = t.app("liar"), t.app("victim")
    for address in (WEB4, WEB6):
        t.rule(f"allow liar to {address} port 5000/udp")
        t.rule(f"allow liar to {address} port 80/tcp")
    assert_works(app)
    return app, victim


def assert_works(app):
    """The lawful packet passes, so that a lie is the only reason for another not to."""
    s = app.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(3)
    for attempt in range(4):  # its own lies may have used up the app's share of the controller for a moment
        s.sendto(b"truth", (WEB4, 5000))
        try:
            assert s.recv(100) == b"truth"
            break
        except TimeoutError:
            assert attempt < 3, "the lawful datagram does not pass any more"
    s.close()


def frames_to(t, since):
    """Frames that reached the uplink towards WEB with the payload of a lie."""
    t.lab.mark()
    return [f for f in t.lab.capture.frames()[since:] if b"LIE" in f[1]]


def try_lies(t, app, lies):
    raw = app.raw()
    since = len(t.lab.capture.frames())
    for _ in range(3):
        for lie in lies:
            raw.send(lie)
    raw.close()
    assert_works(app)
    seen = frames_to(t, since)
    assert not seen, f"{len(seen)} lying frames at the uplink, the first: {seen[0][1].hex()}"


def datagram4(src, dst=WEB4, **more):
    return ip4(src, dst, 17, udp(src, dst, 5001, 5000, b"LIE"), **more)


def datagram6(src, dst=WEB6):
    return ip6(src, dst, 17, udp(src, dst, 5001, 5000, b"LIE"))


def test_source_mac(t):
    """Another source MAC, the victim's and a made-up one."""
    app, victim = pair(t)
    gw = app.gateway_mac()
    try_lies(t, app, [ethernet(gw, mac, 0x0800, datagram4(app.ipv4)) for mac in (victim.mac, "02:12:34:56:78:9a", gw, b"\xff" * 6)])


def test_source_ipv4(t):
    """Another IPv4 source: the victim's, the gateway's, the host's, zero, loopback, multicast, a stranger's."""
    app, victim = pair(t)
    gw = app.gateway_mac()
    sources = (victim.ipv4, app.gateway4, zones.HOST4, "0.0.0.0", "127.0.0.1", "224.0.0.1", "203.0.113.66", "255.255.255.255", WEB4)
    try_lies(t, app, [ethernet(gw, app.mac, 0x0800, datagram4(src)) for src in sources])


def test_source_ipv6(t):
    """Another IPv6 source: the victim's, the host's, link-local to the world, multicast, unspecified, v4-mapped."""
    app, victim = pair(t)
    gw = app.gateway_mac()
    sources = (victim.ipv6, zones.HOST6, "fe80::1234", "ff02::1", "::", "::1", "::ffff:192.0.2.10", "2001:db8:100::99")
    try_lies(t, app, [ethernet(gw, app.mac, 0x86dd, datagram6(src)) for src in sources])


def test_vlan(t):
    """VLAN tags, single and double, priority tag included."""
    app, _ = pair(t)
    gw = app.gateway_mac()
    lies = [ethernet(gw, app.mac, 0x0800, datagram4(app.ipv4), vlan=v) for v in (0, 1, 100, 4095)]
    inner = b"\x81\0\0\1\x08\0" + datagram4(app.ipv4)
    lies += [ethernet(gw, app.mac, 0x88a8, b"\0\1" + inner), ethernet(gw, app.mac, 0x8100, b"\0\1" + inner)]
    try_lies(t, app, lies)


def test_fragments(t):
    """Fragments: first, middle, last, tiny, and IPv6 fragments."""
    app, _ = pair(t)
    gw = app.gateway_mac()
    body = udp(app.ipv4, WEB4, 5001, 5000, b"LIE" * 20)
    lies = [ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, WEB4, 17, part, ident=9, offset=o))
            for part, o in ((body[:24], 0x2000), (body[24:48], 0x2003), (body[48:], 6), (body[:8], 0x2000))]
    body6 = udp(app.ipv6, WEB6, 5001, 5000, b"LIE")
    for offset in (1, 0x10, 0x11):
        header = b"\x11\0" + offset.to_bytes(2, "big") + b"\0\0\0\7"
        lies.append(ethernet(gw, app.mac, 0x86dd, ip6(app.ipv6, WEB6, 44, header + body6)))
    try_lies(t, app, lies)


def test_extension_headers(t):
    """IPv6 options and atomic fragments hide nothing: what stands behind them is judged; a routing header to elsewhere does not pass."""
    app, _ = pair(t)
    gw = app.gateway_mac()

    def framed(kind, header, port):
        return ethernet(gw, app.mac, 0x86dd, ip6(app.ipv6, WEB6, kind, header + udp(app.ipv6, WEB6, 5001, port, b"LIE")))
    headers = ((0, b"\x11\0\1\4\0\0\0\0"), (60, b"\x11\0\1\4\0\0\0\0"), (44, b"\x11\0\0\0\0\0\0\7"), (43, b"\x11\0\0\0\0\0\0\0"))
    t.rule("deny liar")
    try_lies(t, app, [framed(kind, header, 5001) for kind, header in headers])
    elsewhere = b"\x11\2\0\1\0\0\0\0" + socket.inet_pton(socket.AF_INET6, "2001:db8:100::11")
    try_lies(t, app, [framed(43, elsewhere, 5001), framed(50, b"\0" * 16, 5000), framed(51, b"\x11\4" + b"\0" * 22, 5000)])
    # Where the peer and port are allowed they may pass; the witness judges them as the datagrams they are.
    raw = app.raw()
    for kind, header in headers:
        raw.send(framed(kind, header, 5000))
    raw.close()
    assert_works(app)


def test_ethertypes(t):
    """No EtherType but ARP, IPv4 and IPv6 gets anywhere."""
    app, victim = pair(t)
    kinds = (0x0027, 0x05ff, 0x0600, 0x0806, 0x22f3, 0x6558, 0x8035, 0x8137, 0x8847, 0x8863, 0x8864, 0x888e, 0x88cc, 0x88e5, 0x88f7, 0x9000)
    listener = victim.raw()
    lies = [ethernet(dst, app.mac, kind, b"LIE" * 20) for kind in kinds for dst in (app.gateway_mac(), victim.mac, b"\xff" * 6,
            bytes.fromhex("0180c2000000"), bytes.fromhex("01005e0000fb"))]
    try_lies(t, app, lies)
    listener.settimeout(0.3)
    try:
        while True:
            assert b"LIE" not in listener.recv(2000), "a frame reached the other app"
    except TimeoutError:
        pass
    listener.close()


def test_second_apps_address(t):
    """Frames sent straight to the second app's MAC and address reach nobody; nor do they by way of the gateway."""
    app, victim = pair(t)
    gw = app.gateway_mac()
    listener = victim.raw()
    lies = []
    for dst_mac in (victim.mac, gw, b"\xff" * 6):
        lies.append(ethernet(dst_mac, app.mac, 0x0800, datagram4(app.ipv4, victim.ipv4)))
        lies.append(ethernet(dst_mac, app.mac, 0x86dd, datagram6(app.ipv6, victim.ipv6)))
        lies.append(ethernet(dst_mac, app.mac, 0x0800, ip4(app.ipv4, victim.ipv4, 6, tcp(app.ipv4, victim.ipv4, 9, 80, 2, b"LIE"))))
        lies.append(ethernet(dst_mac, app.mac, 0x0800, ip4(app.ipv4, victim.ipv4, 1, echo(4, app.ipv4, victim.ipv4, payload=b"LIE"))))
    try_lies(t, app, lies)
    listener.settimeout(0.3)
    try:
        while True:
            assert b"LIE" not in listener.recv(2000), "a frame reached the other app"
    except TimeoutError:
        pass
    listener.close()


def test_false_arp_and_nd(t):
    """Rogue ARP replies, neighbour and router advertisements, DHCP offers: the other app and the host never see them."""
    app, victim = pair(t)
    listener = victim.raw()
    offer = ip4(app.gateway4, "255.255.255.255", 17, udp(app.gateway4, "255.255.255.255", 67, 68, b"LIE" * 90))
    lies = [ethernet(b"\xff" * 6, app.mac, 0x0806, arp(2, app.mac, victim.gateway4, victim.mac, victim.ipv4) + b"LIE"),
            ethernet(b"\xff" * 6, app.mac, 0x0806, arp(1, app.mac, zones.ROUTER4, b"\0" * 6, zones.HOST4) + b"LIE"),
            ethernet(bytes.fromhex("333300000001"), app.mac, 0x86dd, nd_advert("fe80::99", "ff02::1", "fe80::1", app.mac) + b"LIE"),
            ethernet(bytes.fromhex("333300000001"), app.mac, 0x86dd, router_advert("fe80::99", app.mac) + b"LIE"),
            ethernet(b"\xff" * 6, app.mac, 0x0800, offer)]
    try_lies(t, app, lies)
    listener.settimeout(0.3)
    try:
        while True:
            assert b"LIE" not in listener.recv(2000), "a frame reached the other app"
    except TimeoutError:
        pass
    listener.close()


def test_no_syn_no_entry(t):
    """ACK, FIN, RST, SYN+ACK, NULL, XMAS without a connection before: none is admitted though the peer is allowed."""
    app, _ = pair(t)
    gw = app.gateway_mac()
    lies = [ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, WEB4, 6, tcp(app.ipv4, WEB4, 6000 + f, 80, f, b"LIE")))
            for f in (0x10, 0x11, 0x04, 0x14, 0x12, 0x00, 0x29, 0x18, 0x01)]
    lies += [ethernet(gw, app.mac, 0x86dd, ip6(app.ipv6, WEB6, 6, tcp(app.ipv6, WEB6, 6000 + f, 80, f, b"LIE")))
             for f in (0x10, 0x11, 0x04, 0x12, 0x00)]
    try_lies(t, app, lies)


def test_other_protocols(t):
    """Of the 256 IP protocols none but those a rule names passes, over IPv4."""
    app, _ = pair(t)
    gw = app.gateway_mac()
    try_lies(t, app, [ethernet(gw, app.mac, 0x0800, ip4(app.ipv4, WEB4, p, b"LIE" + bytes(40))) for p in range(256) if p not in (6, 17)])


def test_header_lies(t):
    """IPv4 options, wrong lengths, wrong version, TTL 0 and 1, truncated headers."""
    app, _ = pair(t)
    gw = app.gateway_mac()
    good = datagram4(app.ipv4)
    lies = [datagram4(app.ipv4, ttl=0), datagram4(app.ipv4, total=2000), datagram4(app.ipv4, total=20),
            b"\x55" + good[1:], b"\x44" + good[1:], good[:19], good[:24], b"\x4f" + good[1:]]
    try_lies(t, app, [ethernet(gw, app.mac, 0x0800, lie) for lie in lies])


def test_martian_destinations(t):
    """Loopback, broadcast, multicast, unspecified and metadata destinations, under a rule that allows any."""
    from product import sekisho
    app, _ = pair(t)
    sekisho("allow", "liar", "to", "any")
    gw = app.gateway_mac()
    to = ("127.0.0.1", "255.255.255.255", "224.0.0.251", "0.0.0.0", "169.254.169.254", "240.0.0.1", zones.HOST4, app.gateway4)
    lies = [ethernet(gw, app.mac, 0x0800, datagram4(app.ipv4, d)) for d in to]
    lies += [ethernet(gw, app.mac, 0x86dd, datagram6(app.ipv6, d)) for d in ("::1", "::", "ff02::fb", "fe80::1", zones.HOST6)]
    try_lies(t, app, lies)
