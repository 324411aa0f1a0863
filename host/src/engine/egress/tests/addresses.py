#!/usr/bin/env python3
"""Makes addresses.json: what Python's ipaddress says of addresses around every border.

    python3 addresses.py > addresses.json

Each entry is an address, and whether it is global and no multicast. The blocks are those
of Python's own tables, of the special-purpose registries of IANA, and at random.
"""

import ipaddress
import json
import random

random.seed(20_26)
blocks = [ipaddress.ip_network(text) for text in """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 169.254.169.254/32 172.16.0.0/12
192.0.0.0/24 192.0.0.9/32 192.0.0.10/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16
192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32
::/128 ::1/128 ::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2000::/3 2001::/23
2001::/32 2001:1::1/128 2001:1::2/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28
2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 3ffe::/16 4000::/3 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
""".split()]
blocks += ipaddress._IPv4Constants._private_networks + ipaddress._IPv6Constants._private_networks
addresses = set()
for block in blocks:
    first, last = int(block.network_address), int(block.broadcast_address)
    bits = 32 if block.version == 4 else 128
    make = ipaddress.IPv4Address if block.version == 4 else ipaddress.IPv6Address
    for number in [first - 1, first, first + 1, (first + last) // 2, last - 1, last, last + 1]:
        if 0 <= number < 1 << bits:
            addresses.add(make(number))
    for _ in range(8):
        addresses.add(make(random.randint(first, last)))
for _ in range(1500):
    addresses.add(ipaddress.IPv4Address(random.getrandbits(32)))
for _ in range(500):
    addresses.add(ipaddress.IPv6Address(random.getrandbits(128)))
    addresses.add(ipaddress.IPv6Address(1 << 125 | random.getrandbits(125)))

mapped = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
table = {str(address): address.is_global and not address.is_multicast for address in mapped}
print(json.dumps(dict(sorted(table.items())), indent=0))
