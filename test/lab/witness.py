# SPDX-License-Identifier: Apache-2.0
"""The witness: judges every captured frame of the uplink against what the test itself allowed, and when.

It shares nothing with the daemon: its own pcap reader, its own packet parser, and a script that the *test* writes (permit, end) with
addresses from the lab's zone. Beside the script these are lawful, and nothing else (trust.md):
  marker     frames of the lab itself, EtherType 0x88b5 with the run's nonce
  arp, nd    our own address resolution on the uplink, for addresses of the lab's segment only; MLD reports of the host
  lookup     the resolver's queries, to the lab's name server, for names the script permits
  reset      payload-free RST of a 4-tuple that was permitted: for 2 s after its end; behind masquerade at any time, because there
             the host's own kernel answers late segments
"""
import ipaddress
import struct

MARKER_TYPE = 0x88b5
RESET_S = 2.0


class Truncated(Exception):
    pass


def read_pcap(data):
    """Yields (time, bytes, wire length) of classic pcap, micro- or nanoseconds, either byte order. A cut last record ends it."""
    if len(data) < 24:
        return
    for order, magic in (("<", data[:4]), (">", data[:4])):
        value = struct.unpack(order + "I", magic)[0]
        if value in (0xa1b2c3d4, 0xa1b23c4d):
            scale = 1e-6 if value == 0xa1b2c3d4 else 1e-9
            break
    else:
        raise ValueError("not a pcap file")
    link = struct.unpack(order + "I", data[20:24])[0] & 0xffff
    if link != 1:
        raise ValueError(f"link type {link} is not Ethernet")
    at = 24
    while at + 16 <= len(data):
        seconds, part, captured, length = struct.unpack(order + "IIII", data[at:at + 16])
        if at + 16 + captured > len(data):
            return
        yield seconds + part * scale, data[at + 16:at + 16 + captured], length
        at += 16 + captured


class Packet:
    """What the witness needs of a frame. `kind`: arp ip other; strange: why no script can permit it."""
    __slots__ = ("time", "src_mac", "dst_mac", "type", "kind", "src", "dst", "protocol", "sport", "dport", "flags", "payload",
                 "fragment", "strange", "icmp", "body", "target", "length")

    def __init__(self, time, data, length):
        self.time, self.length = time, length
        self.src = self.dst = self.protocol = self.sport = self.dport = self.icmp = self.target = None
        self.flags = self.payload = 0
        self.fragment, self.strange, self.body = False, None, b""
        try:
            self.parse(data)
        except Truncated:
            self.strange = self.strange or "truncated"

    @staticmethod
    def need(data, n):
        if len(data) < n:
            raise Truncated

    def parse(self, data):
        self.kind, self.type = "other", 0
        self.dst_mac, self.src_mac = data[:6], data[6:12]
        self.need(data, 14)
        self.type = struct.unpack("!H", data[12:14])[0]
        if self.type == 0x0806:
            self.parse_arp(data[14:])
        elif self.type == 0x0800:
            self.kind = "ip"
            self.parse_v4(data[14:])
        elif self.type == 0x86dd:
            self.kind = "ip"
            self.parse_v6(data[14:])

    def parse_arp(self, d):
        self.kind = "arp"
        self.need(d, 28)
        if d[:6] != b"\0\1\x08\0\6\4":
            self.strange = "odd ARP"
        self.src, self.target = ipaddress.ip_address(d[14:18]), ipaddress.ip_address(d[24:28])
        # An answer is about its sender's address; it goes to whoever asked, and routers ask under any address of theirs.
        if d[6:8] == b"\0\2" and self.dst_mac[0] & 1 == 0:
            self.target = self.src

    def parse_v4(self, d):
        self.need(d, 20)
        header, total = (d[0] & 15) * 4, struct.unpack("!H", d[2:4])[0]
        offset = struct.unpack("!H", d[6:8])[0]
        self.protocol = d[9]
        self.src, self.dst = ipaddress.ip_address(d[12:16]), ipaddress.ip_address(d[16:20])
        if d[0] >> 4 != 4 or header < 20:
            self.strange = "bad IPv4 header"
            return
        if header > 20:
            self.strange = "IPv4 options"
        if offset & 0x3fff:
            self.fragment = True
            self.strange = "fragment"
        self.need(d, header)
        # A segmentation-offloaded frame may say 0 or less than it carries.
        self.parse_l4(d[header:], max(total, self.length - 14 if total == 0 else total) - header)

    def parse_v6(self, d):
        self.need(d, 40)
        length, following = struct.unpack("!HB", d[4:7])
        self.src, self.dst = ipaddress.ip_address(d[8:24]), ipaddress.ip_address(d[24:40])
        if d[0] >> 4 != 6:
            self.strange = "bad IPv6 header"
            return
        rest = d[40:]
        self.protocol = following
        # Options are walked over: what counts is who is addressed. A fragment, or a routing header that goes on elsewhere, is not.
        for _ in range(8):
            if self.protocol not in (0, 43, 44, 60):
                break
            self.need(rest, 8)
            size = 8 if self.protocol == 44 else (rest[1] + 1) * 8
            if self.protocol == 44 and rest[2:4] != b"\0\0":
                self.fragment, self.strange = True, "fragment"
                return
            if self.protocol == 43 and rest[3] != 0:
                self.strange = "routing header"
                return
            self.need(rest, size)
            self.protocol, rest, length = rest[0], rest[size:], length - size if length else 0
        if self.protocol in (0, 43, 44, 50, 51, 60, 135):
            self.strange = f"IPv6 extension header {self.protocol}"
            return
        self.parse_l4(rest, length if length else self.length - 54)

    def parse_l4(self, d, size):
        if self.fragment:
            return
        if self.protocol == 6:
            self.need(d, 20)
            self.sport, self.dport = struct.unpack("!HH", d[:4])
            self.flags = d[13]
            self.payload = size - (d[12] >> 4) * 4
        elif self.protocol == 17:
            self.need(d, 8)
            self.sport, self.dport = struct.unpack("!HH", d[:4])
            self.payload = size - 8
            self.body = d[8:]
        elif self.protocol in (1, 58):
            self.need(d, 4)
            self.icmp = d[0]
            self.body = d
            if self.protocol == 58 and self.icmp in (135, 136) and len(d) >= 24:
                self.target = ipaddress.ip_address(d[8:24])

    def tuple(self):
        return (self.protocol, self.src, self.sport, self.dst, self.dport)

    def __str__(self):
        if self.kind == "arp":
            return f"ARP {self.src} asks {self.target}"
        if self.kind != "ip":
            return f"EtherType {self.type:#06x} from {self.src_mac.hex(':')}"
        what = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}.get(self.protocol, f"protocol {self.protocol}")
        if self.sport is not None:
            flags = "".join(n for n, bit in (("S", 2), ("A", 16), ("P", 8), ("F", 1), ("R", 4)) if self.flags & bit)
            return f"{what} {self.src}:{self.sport} > {self.dst}:{self.dport} {flags} {self.payload} bytes"
        return f"{what} {self.src} > {self.dst} type {self.icmp}"


def dns_question(body):
    """(name in lower case, type) of a query, or None when it is no plain query with one question."""
    if len(body) < 17 or body[2] & 0x80 or body[4:6] != b"\0\1":
        return None
    labels, at = [], 12
    while at < len(body) and body[at]:
        size = body[at]
        if size > 63 or at + 1 + size > len(body):
            return None
        labels.append(body[at + 1:at + 1 + size].decode("latin-1").lower())
        at += 1 + size
    if at + 5 > len(body):
        return None
    return ".".join(labels), struct.unpack("!H", body[at + 1:at + 3])[0]


class Permit:
    """From `start` to `end` (None: still) frames of `app` to or from these addresses, protocol and ports are lawful."""

    def __init__(self, start, app, addresses, protocol, ports, direction):
        self.start, self.end, self.grace = start, None, 0.0
        self.app, self.protocol, self.ports, self.direction = app, protocol, ports, direction
        self.addresses = [ipaddress.ip_network(a, strict=False) for a in addresses]
        self.seen = 0

    def covers_time(self, t):
        return self.start <= t and (self.end is None or t <= self.end + self.grace)

    def covers_peer(self, address):
        return any(address.version == n.version and address in n for n in self.addresses)

    def covers_port(self, p):
        if self.protocol == "icmp":
            return p.protocol in (1, 58) and p.icmp in (0, 8, 128, 129)
        if p.protocol != {"tcp": 6, "udp": 17}.get(self.protocol, self.protocol):
            return False
        if self.ports is None:
            return True
        port = p.dport if self.direction == "out" else p.sport
        return port is not None and any(low <= port <= high for low, high in self.ports)


class Script:
    """What one test allows. Times are CLOCK_REALTIME, as in the capture."""

    def __init__(self, nonce=b"", resolver=(), segment=(), host=()):
        self.permits, self.lookups, self.apps = [], [], {}
        self.nonce, self.host_answers = nonce, False
        self.resolver = {ipaddress.ip_address(a) for a in resolver}
        self.segment = [ipaddress.ip_network(a) for a in segment]
        self.host = {ipaddress.ip_address(a) for a in host}

    def app(self, name, *addresses):
        """These are the addresses of the app (networks for IPv6)."""
        self.apps.setdefault(name, []).extend(ipaddress.ip_network(a, strict=False) for a in addresses)

    def permit(self, now, app, addresses, protocol, ports=None, direction="out"):
        p = Permit(now, app, addresses, protocol, ports, direction)
        self.permits.append(p)
        return p

    def permit_lookup(self, now, *names):
        self.lookups.extend((now, n.lower().rstrip(".")) for n in names)

    @staticmethod
    def end(permit, when, grace=0.25):
        permit.end, permit.grace = when, grace

    def app_of(self, address):
        for name, networks in self.apps.items():
            if any(address.version == n.version and address in n for n in networks):
                return name
        return None


class Judge:
    """Goes through frames in order. masqueraded: sources are the host's, so permits are joined over all apps."""

    def __init__(self, script, masqueraded, tuples):
        self.script, self.masqueraded, self.tuples = script, masqueraded, tuples
        self.classes = {}

    def reason_of_arp_nd(self, p):
        s = self.script
        if p.kind == "arp":
            ok = p.strange is None and any(p.target in n for n in s.segment if n.version == 4)
            return "arp" if ok else None
        if p.protocol != 58 or p.strange:
            return None
        if p.icmp in (135, 136) and p.target is not None:
            ok = p.target.is_link_local or any(p.target in n for n in s.segment if n.version == 6)
            return "nd" if ok else None
        if p.icmp in (143, 132, 131) and p.dst.is_multicast:
            return "nd"
        if p.icmp == 133 and p.dst == ipaddress.ip_address("ff02::2"):
            return "nd"
        return None

    def reason_of_lookup(self, p):
        s = self.script
        if p.dst not in s.resolver or p.dport != 53 or p.src not in s.host:
            return None
        if p.protocol == 6:
            # Only a large answer for a permitted name makes the resolver change to TCP; the UDP query before it was judged.
            return "lookup" if s.lookups and p.payload < 600 else None
        if p.protocol != 17:
            return None
        question = dns_question(p.body)
        if question is None:
            return None
        return "lookup" if any(t <= p.time and name == question[0] for t, name in s.lookups) else None

    def reason_of_reset(self, p):
        if p.protocol != 6 or not p.flags & 4 or p.payload != 0:
            return None
        permit = self.tuples.get(p.tuple())
        if permit is None:
            return None
        late = permit.end is not None and p.time > permit.end + permit.grace + RESET_S
        return "reset" if self.masqueraded or not late else None

    def reason_of_host(self, p):
        s = self.script
        if not s.host_answers or p.src not in s.host:
            return None
        if p.protocol == 6 and p.flags & 4 and p.payload == 0:
            return "host"
        return "host" if (p.protocol, p.icmp) in ((1, 3), (58, 1)) else None

    def reason_of_error(self, p):
        """The quoted packet is one from the peer to us of a 4-tuple that was permitted, and its permit still holds."""
        if (p.protocol, p.icmp) not in ((1, 3), (1, 11), (58, 1), (58, 3), (58, 4)) or len(p.body) < 36:
            return None
        inner = Packet(p.time, b"\0" * 12 + (b"\x08\0" if p.protocol == 1 else b"\x86\xdd") + p.body[8:], len(p.body) + 6)
        permit = self.tuples.get((inner.protocol, inner.dst, inner.dport, inner.src, inner.sport))
        return "error" if permit is not None and inner.src == p.dst and permit.covers_time(p.time) else None

    def reason_of_permit(self, p):
        s = self.script
        if self.masqueraded:
            if p.src not in s.host:
                return None
            app = None
        else:
            app = s.app_of(p.src)
            if app is None:
                return None
        for permit in s.permits:
            if app is not None and permit.app != app:
                continue
            if permit.covers_peer(p.dst) and permit.covers_port(p) and permit.covers_time(p.time):
                permit.seen += 1
                self.tuples[p.tuple()] = permit
                return "permit"
        return None

    def judge(self, p):
        """The class that makes the frame lawful, or None."""
        if p.type == MARKER_TYPE:
            return "marker"
        reason = None
        if p.kind == "arp" or (p.kind == "ip" and p.protocol == 58 and p.icmp not in (128, 129)):
            reason = self.reason_of_arp_nd(p)
        if reason is None and p.kind == "ip" and p.strange is None:
            reason = self.reason_of_permit(p) or self.reason_of_lookup(p) or self.reason_of_reset(p) or self.reason_of_error(p) or \
                self.reason_of_host(p)
        self.classes[reason] = self.classes.get(reason, 0) + 1
        return reason


def judge(frames, script, masqueraded, tuples=None):
    """-> (list of unauthorised packets, frames per class). `tuples` carries what was permitted from one test to the next."""
    j = Judge(script, masqueraded, {} if tuples is None else tuples)
    bad = []
    for time, data, length in frames:
        if data[12:14] == b"\x88\xb5" and script.nonce not in data:
            bad.append(Packet(time, data, length))
            continue
        p = Packet(time, data, length)
        if j.judge(p) is None:
            bad.append(p)
    return bad, j.classes


def between(frames, start_marker, end_marker):
    """The frames after the marker frame that carries `start_marker` up to the one that carries `end_marker`."""
    marks = [i for i, (_t, data, _n) in enumerate(frames) if data[12:14] == b"\x88\xb5"]
    first = next(i for i in marks if start_marker in frames[i][1])
    last = next(i for i in marks if end_marker in frames[i][1])
    return frames[first + 1:last]
