# SPDX-License-Identifier: Apache-2.0
"""The witness against frames made by hand: what it must let pass and what it must catch. No root, no network."""
import ipaddress
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import witness

HOST, WEB, DNS = "192.0.2.10", "198.51.100.10", "198.51.100.53"
NONCE = b"0123456789abcdef"


def ethernet(kind, body, src=b"\2\0\0\0\0\1", dst=b"\2\0\0\0\0\2"):
    return dst + src + struct.pack("!H", kind) + body


def ip4(src, dst, protocol, body, offset=0, options=b""):
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + len(body), 1, offset, 64, protocol, 0,
                       ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed)
    return ethernet(0x0800, head + options + body)


def ip6(src, dst, following, body):
    return ethernet(0x86dd, struct.pack("!IHBB", 6 << 28, len(body), following, 64) + ipaddress.ip_address(src).packed +
                    ipaddress.ip_address(dst).packed + body)


def tcp(sport, dport, flags, payload=b""):
    return struct.pack("!HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 1000, 0, 0) + payload


def udp(sport, dport, payload=b""):
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def query(name):
    return b"\1\2\1\0\0\1\0\0\0\0\0\1" + b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0\0\1\0\1" + b"\0" * 11


def pcap(frames, order="<", nano=False):
    out = struct.pack(order + "IHHiIII", 0xa1b23c4d if nano else 0xa1b2c3d4, 2, 4, 0, 0, 600, 1)
    for t, frame in frames:
        part = round((t - int(t)) * (1e9 if nano else 1e6))
        out += struct.pack(order + "IIII", int(t), part, len(frame), len(frame)) + frame
    return out


class Pcap(unittest.TestCase):
    def test_orders_and_precisions(self):
        for order in "<>":
            for nano in (False, True):
                got = list(witness.read_pcap(pcap([(5.25, b"x" * 60), (6.5, b"y" * 61)], order, nano)))
                self.assertEqual([(5.25, b"x" * 60, 60), (6.5, b"y" * 61, 61)], got)

    def test_a_cut_record_ends_it(self):
        self.assertEqual(1, len(list(witness.read_pcap(pcap([(1, b"x" * 60), (2, b"y" * 60)])[:-1]))))

    def test_not_a_pcap(self):
        with self.assertRaises(ValueError):
            list(witness.read_pcap(b"\0" * 64))


class Judging(unittest.TestCase):
    def setUp(self):
        self.script = witness.Script(NONCE, resolver=[DNS], segment=["192.0.2.0/24", "2001:db8:0:2::/64"], host=[HOST, "2001:db8:0:2::10"])
        self.permit = self.script.permit(10, "web", [WEB, "2001:db8:100::10"], "tcp", [(443, 443)])
        self.script.permit_lookup(10, "www.example.org")

    def bad(self, frame, t=11.0, masqueraded=True, before=()):
        frames = [*before, (t, frame, len(frame))]
        return [str(p) for p in witness.judge(frames, self.script, masqueraded)[0]]

    def lawful(self, frame, **more):
        self.assertEqual([], self.bad(frame, **more))

    def caught(self, frame, **more):
        self.assertEqual(1, len(self.bad(frame, **more)), "the witness let it pass")

    def test_permitted(self):
        self.lawful(ip4(HOST, WEB, 6, tcp(4000, 443, 2)))
        self.lawful(ip6("2001:db8:0:2::10", "2001:db8:100::10", 6, tcp(4000, 443, 2)))
        self.assertEqual(2, self.permit.seen)

    def test_another_port_address_protocol(self):
        self.caught(ip4(HOST, WEB, 6, tcp(4000, 80, 2)))
        self.caught(ip4(HOST, "198.51.100.11", 6, tcp(4000, 443, 2)))
        self.caught(ip4(HOST, WEB, 17, udp(4000, 443)))
        self.caught(ip4(HOST, WEB, 47, b"\0" * 20))

    def test_before_and_after(self):
        self.caught(ip4(HOST, WEB, 6, tcp(4000, 443, 2)), t=9.9)
        self.script.end(self.permit, 12.0, grace=0.25)
        self.lawful(ip4(HOST, WEB, 6, tcp(4000, 443, 16, b"data")), t=12.2)
        self.caught(ip4(HOST, WEB, 6, tcp(4000, 443, 16, b"data")), t=12.3)

    def test_reset_of_a_cut_connection(self):
        syn = ip4(HOST, WEB, 6, tcp(4000, 443, 2))
        before = [(11.0, syn, len(syn))]
        self.script.end(self.permit, 12.0)
        rst = ip4(HOST, WEB, 6, tcp(4000, 443, 4))
        self.lawful(rst, t=13.0, before=before)
        self.caught(rst, t=13.0)  # never permitted, so nothing to reset
        self.caught(ip4(HOST, WEB, 6, tcp(4000, 443, 4, b"secret")), t=13.0, before=before)
        self.caught(ip4(HOST, WEB, 6, tcp(4001, 443, 4)), t=13.0, before=before)

    def test_late_reset_from_the_app_itself(self):
        self.script.app("web", "100.64.0.6")
        syn = ip4("100.64.0.6", WEB, 6, tcp(4000, 443, 2))
        self.script.end(self.permit, 12.0)
        rst = ip4("100.64.0.6", WEB, 6, tcp(4000, 443, 4))
        self.lawful(rst, t=13.9, masqueraded=False, before=[(11.0, syn, len(syn))])
        self.caught(rst, t=14.9, masqueraded=False, before=[(11.0, syn, len(syn))])

    def test_strict_per_app(self):
        self.script.app("web", "100.64.0.6")
        self.script.app("other", "100.64.0.10")
        self.lawful(ip4("100.64.0.6", WEB, 6, tcp(4000, 443, 2)), masqueraded=False)
        self.caught(ip4("100.64.0.10", WEB, 6, tcp(4000, 443, 2)), masqueraded=False)
        self.caught(ip4("100.64.0.77", WEB, 6, tcp(4000, 443, 2)), masqueraded=False)

    def test_foreign_source_behind_masquerade(self):
        self.caught(ip4("100.64.0.6", WEB, 6, tcp(4000, 443, 2)))

    def test_fragments_options_extensions(self):
        self.caught(ip4(HOST, WEB, 6, tcp(4000, 443, 2), offset=0x2000))
        self.caught(ip4(HOST, WEB, 6, b"12345678", offset=10))
        self.caught(ip4(HOST, WEB, 6, tcp(4000, 443, 2), options=b"\x94\4\0\0"))
        ours, web = "2001:db8:0:2::10", "2001:db8:100::10"
        self.caught(ip6(ours, web, 44, struct.pack("!BBHI", 6, 0, 1, 7) + tcp(4000, 443, 2)))
        self.caught(ip6(ours, web, 43, b"\6\0\0\1\0\0\0\0" + tcp(4000, 443, 2)))
        for header in (b"\6\0\1\4\0\0\0\0", b"\x3c\0\1\4\0\0\0\0\6\0\1\4\0\0\0\0"):
            self.lawful(ip6(ours, web, 60, header + tcp(4000, 443, 2)))
            self.caught(ip6(ours, web, 60, header + tcp(4000, 80, 2)))
        self.lawful(ip6(ours, web, 44, b"\6\0\0\0\0\0\0\7" + tcp(4000, 443, 2)))
        self.caught(ip6(ours, web, 44, b"\6\0\0\0\0\0\0\7" + tcp(4000, 80, 2)))

    def test_errors_about_a_permitted_flow(self):
        syn = ip4(HOST, WEB, 6, tcp(4000, 443, 2))
        before = [(11.0, syn, len(syn))]
        quoted = ip4(WEB, HOST, 6, tcp(443, 4000, 0x12))[14:]
        self.lawful(ip4(HOST, WEB, 1, b"\3\3\0\0\0\0\0\0" + quoted), before=before)
        self.caught(ip4(HOST, WEB, 1, b"\3\3\0\0\0\0\0\0" + quoted))
        self.caught(ip4(HOST, "198.51.100.11", 1, b"\3\3\0\0\0\0\0\0" + quoted), before=before)
        self.caught(ip4(HOST, WEB, 1, b"\5\3\0\0\0\0\0\0" + quoted), before=before)

    def test_other_ethertypes(self):
        for kind in (0x8100, 0x88a8, 0x88cc, 0x0027, 0x86dc, 0x8847):
            self.caught(ethernet(kind, b"\0" * 46))

    def test_markers(self):
        self.lawful(ethernet(0x88b5, NONCE + b"\0" * 30))
        self.caught(ethernet(0x88b5, b"not the nonce of this run" + b"\0" * 30))

    def test_lookups(self):
        self.lawful(ip4(HOST, DNS, 17, udp(5000, 53, query("www.example.org"))))
        self.lawful(ip4(HOST, DNS, 17, udp(5000, 53, query("wWw.eXample.Org"))))
        self.caught(ip4(HOST, DNS, 17, udp(5000, 53, query("secret.example.org"))))
        self.caught(ip4(HOST, DNS, 17, udp(5000, 53, query("www.example.org"))), t=9.0)
        self.caught(ip4(HOST, "203.0.113.66", 17, udp(5000, 53, query("www.example.org"))))
        self.caught(ip4(HOST, DNS, 17, udp(5000, 53, b"rubbish")))

    def test_arp_and_nd(self):
        def arp(target):
            return ethernet(0x0806, b"\0\1\x08\0\6\4\0\1" + b"\2\0\0\0\0\1" + ipaddress.ip_address(HOST).packed + b"\0" * 6 +
                            ipaddress.ip_address(target).packed)
        self.lawful(arp("192.0.2.1"))
        self.caught(arp("198.51.100.1"))
        ns = b"\x87\0\0\0\0\0\0\0" + ipaddress.ip_address("2001:db8:0:2::1").packed
        self.lawful(ip6("2001:db8:0:2::10", "ff02::1:ff00:1", 58, ns))
        self.caught(ip6("2001:db8:0:2::10", "ff02::1:ff00:1", 58, b"\x86\0\0\0" + b"\0" * 20))  # a router advertisement

    def test_echo(self):
        self.caught(ip4(HOST, WEB, 1, b"\x08\0\0\0\0\1\0\1"))
        self.script.permit(10, "web", [WEB], "icmp")
        self.lawful(ip4(HOST, WEB, 1, b"\x08\0\0\0\0\1\0\1"))
        self.caught(ip4(HOST, WEB, 1, b"\3\3\0\0\0\0\0\0"))

    def test_inbound_replies(self):
        self.script.permit(10, "game", ["192.0.2.50"], "udp", [(27015, 27015)], direction="in")
        self.lawful(ip4(HOST, "192.0.2.50", 17, udp(27015, 999)))
        self.caught(ip4(HOST, "192.0.2.50", 17, udp(999, 27015)))

    def test_host_answers(self):
        rst, unreachable = ip4(HOST, "203.0.113.66", 6, tcp(80, 999, 0x14)), ip4(HOST, WEB, 1, b"\3\3\0\0\0\0\0\0")
        self.caught(rst)
        self.caught(unreachable)
        self.script.host_answers = True
        self.lawful(rst)
        self.lawful(unreachable)
        self.caught(ip4(HOST, "203.0.113.66", 6, tcp(80, 999, 0x12)))
        self.caught(ip4("100.64.0.6", "203.0.113.66", 6, tcp(80, 999, 0x14)))

    def test_truncated(self):
        self.caught(ip4(HOST, WEB, 6, b"\0" * 8))
        self.caught(ethernet(0x0800, b"\x45"))
        self.caught(b"\0" * 10)


if __name__ == "__main__":
    unittest.main()
