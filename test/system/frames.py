# SPDX-License-Identifier: Apache-2.0
"""Frames made byte by byte, correct unless a test asks for a lie."""
import ipaddress
import struct


def mac_bytes(mac):
    return mac if isinstance(mac, bytes) else bytes.fromhex(mac.replace(":", ""))


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ethernet(dst, src, kind, body, vlan=None):
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    return (mac_bytes(dst) + mac_bytes(src) + tag + struct.pack("!H", kind) + body).ljust(60, b"\0")


def ip4(src, dst, protocol, body, ident=1, offset=0, ttl=64, options=b"", total=None):
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, total or words * 4 + len(body), ident, offset, ttl, protocol, 0,
                       ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ip6(src, dst, following, body, hops=64):
    return struct.pack("!IHBB", 6 << 28, len(body), following, hops) + ipaddress.ip_address(src).packed + \
        ipaddress.ip_address(dst).packed + body


def pseudo(src, dst, protocol, length):
    s, d = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    if s.version == 4:
        return s.packed + d.packed + struct.pack("!BBH", 0, protocol, length)
    return s.packed + d.packed + struct.pack("!IBBBB", length, 0, 0, 0, protocol)


def udp(src, dst, sport, dport, payload=b""):
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    value = checksum(pseudo(src, dst, 17, 8 + len(payload)) + head + payload) or 0xffff
    return head[:6] + struct.pack("!H", value) + payload


def tcp(src, dst, sport, dport, flags, payload=b"", seq=1000, ack=0):
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 0x50, flags, 64000, 0, 0)
    value = checksum(pseudo(src, dst, 6, 20 + len(payload)) + head + payload)
    return head[:16] + struct.pack("!H", value) + head[18:] + payload


def echo(version, src, dst, ident=7, number=1, payload=b"x" * 16):
    kind = 8 if version == 4 else 128
    body = struct.pack("!BBHHH", kind, 0, 0, ident, number) + payload
    head = pseudo(src, dst, 58, len(body)) if version == 6 else b""
    return body[:2] + struct.pack("!H", checksum(head + body)) + body[4:]


def arp(op, src_mac, src, dst_mac, dst):
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, op) + mac_bytes(src_mac) + ipaddress.ip_address(src).packed + mac_bytes(dst_mac) + \
        ipaddress.ip_address(dst).packed


def nd_advert(src, dst, target, mac):
    body = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + ipaddress.ip_address(target).packed + b"\2\1" + mac_bytes(mac)
    body = body[:2] + struct.pack("!H", checksum(pseudo(src, dst, 58, len(body)) + body)) + body[4:]
    return ip6(src, dst, 58, body, hops=255)


def router_advert(src, mac):
    dst = "ff02::1"
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\1\1" + mac_bytes(mac)
    body = body[:2] + struct.pack("!H", checksum(pseudo(src, dst, 58, len(body)) + body)) + body[4:]
    return ip6(src, dst, 58, body, hops=255)
