# SPDX-License-Identifier: Apache-2.0
"""The lab's little internet: its addresses and its zones. Tests and the witness take addresses from here, never from the daemon."""

HOST4, HOST6 = "192.0.2.10", "2001:db8:0:2::10"
ROUTER4, ROUTER6 = "192.0.2.1", "2001:db8:0:2::1"
LAN4, LAN6 = "192.0.2.50", "2001:db8:0:2::50"
SEGMENT = ("192.0.2.0/24", "2001:db8:0:2::/64")
# The second segment, for `uplink = port:up1`: apps have addresses of their own on it.
PORT_ROUTER4, PORT_ROUTER6 = "203.0.113.193", "2001:db8:0:3::1"
PORT_LAN4 = "203.0.113.250"
PORT_SEGMENT = ("203.0.113.192/26", "2001:db8:0:3::/64")
PORT_SETTINGS = {"uplink": "port:up1", "lan_ipv4": "203.0.113.200-203.0.113.220/26 via 203.0.113.193",
                 "lan_ipv6": "2001:db8:0:3::200-2001:db8:0:3::220/64 via 2001:db8:0:3::1"}
DNS4, DNS6 = "198.51.100.53", "2001:db8:100::53"
OTHER4 = "203.0.113.66"
MANY = [f"198.51.100.{i}" for i in range(100, 200)]

# name -> addresses, or a string for a CNAME
NAMES = {
    "www.example.org": ["198.51.100.10", "2001:db8:100::10"],
    "www.example.net": ["198.51.100.11", "2001:db8:100::11"],
    "api.example.org": ["198.51.100.12"],
    "files.example.org": ["198.51.100.13", "2001:db8:100::13"],
    "cdn-a.example.org": ["198.51.100.20", "2001:db8:100::20"],
    "cdn-b.example.org": ["198.51.100.20", "2001:db8:100::20"],
    "chain.example.org": "chain2.example.net",
    "chain2.example.net": "chain3.example.org",
    "chain3.example.org": ["198.51.100.21"],
    "loop1.example.org": "loop2.example.org",
    "loop2.example.org": "loop1.example.org",
    "v6only.example.org": ["2001:db8:100::16"],
    "v4only.example.org": ["198.51.100.17"],
    "rebind.example.org": ["127.0.0.1"],
    "rebind-lan.example.org": ["192.168.1.5"],
    "rebind-host.example.org": [HOST4],
    "meta.example.org": ["169.254.169.254"],
    "mixed.example.org": ["198.51.100.22", "10.0.0.1"],
    "nas.example.org": [LAN4],
    "many.example.org": MANY,
    "closed.example.org": ["198.51.100.18"],
    "void.example.org": ["203.0.113.99"],
    "evil.example.net": ["203.0.113.66"],
    "secret.example.net": ["203.0.113.67"],
}
ZONES = ("example.org", "example.net")
# Addresses nobody answers from: routed into the lab's internet and swallowed there.
SILENT = ("203.0.113.99",)


def chain(name):
    """The name and every name its CNAMEs lead to."""
    seen = []
    while name not in seen:
        seen.append(name)
        if not isinstance(NAMES.get(name), str):
            break
        name = NAMES[name]
    return seen


def addresses(name):
    last = NAMES.get(chain(name)[-1], [])
    return [] if isinstance(last, str) else list(last)


def every_address():
    private = ("127.", "192.168.", "10.", "169.254.", "192.0.2.")
    found = {DNS4, DNS6, OTHER4}
    for value in NAMES.values():
        if not isinstance(value, str):
            found.update(a for a in value if not a.startswith(private))
    return sorted(found - set(SILENT))


def zone_text(zone):
    lines = [f"$ORIGIN {zone}.", "$TTL 300",
             f"@ SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 60", f"@ NS ns.{zone}.", f"ns A {DNS4}", f"ns AAAA {DNS6}",
             "@ MX 10 mail", "mail A 198.51.100.25", "@ TXT \"the lab\""]
    if zone == "example.org":
        lines.append("*.wild A 198.51.100.30")
    for name, value in NAMES.items():
        if not name.endswith("." + zone):
            continue
        if isinstance(value, str):
            lines.append(f"{name}. CNAME {value}.")
            continue
        lines.extend(f"{name}. {'AAAA' if ':' in a else 'A'} {a}" for a in value)
    return "\n".join(lines) + "\n"
