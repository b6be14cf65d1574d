"""Configurations of links with ESP: the shortest one, one with explicit keys, one in transport mode, and one with every key."""

from __future__ import annotations

CONFIG = """
[link]
interface = "eth0"

[policy]
local = ["10.1.0.0/16"]

[[peer]]
name = "right"
id = 1
local = "192.0.2.1"
remote = "198.51.100.1"
mode = "tunnel"
suite = "aes-256-ccm-16"
prefixes = ["10.2.0.0/16"]
secret = "right.secret"
"""

EXPLICIT = (
    CONFIG.replace('secret = "right.secret"\n', "")
    + """
[peer.send]
spi = 0x1001
key = "send.key"
sequence = 7

[peer.receive]
spi = 0x2001
key = "receive.key"
"""
)

TRANSPORT = """
[link]
interface = "eth0"
send = "egress"
mtu = 1316

[policy]
default = "bypass"

[[peer]]
name = "right"
id = 1
local = "2001:db8::1"
remote = "2001:db8::2"
mode = "transport"
suite = "chacha20-poly1305"
secret = "right.secret"
"""

WHOLE = """
[link]
name = "west"
interface = "eth0"
send = "routed"
device = "secure0"
mtu = 1400
pins = "/sys/fs/bpf/x"
state = "state"

[policy]
local = ["10.1.0.0/16"]
bypass = ["192.0.2.254"]
discard = ["10.3.0.0/16"]
default = "bypass"

[rotation]
seconds = 3600
packets = 3000000000
grace = 5.5
timeout = 2

[metrics]
listen = "[::1]:9464"
file = "esp.prom"

[[peer]]
name = "right.example"
id = 1
local = "192.0.2.1"
remote = "198.51.100.1"
mode = "tunnel"
suite = "aes-256-ccm-16"
esn = false
prefixes = ["10.2.0.0/16", "2001:db8:2::/48"]
secrets = "right.d"
"""
