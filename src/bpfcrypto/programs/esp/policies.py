"""What a configuration says of every prefix, as rows of the map ``policies``: the longest prefix that has an address decides.

IPv4 and IPv6 are in one trie, where an IPv4 prefix is 96 bits longer. So ``::/0`` has all IPv4 addresses too; where an IPv6 prefix does, a
row ``0.0.0.0/0`` with the default keeps it to IPv6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from bpfcrypto.programs.esp.wire import MAPPED, Network, packed

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config import Config

MOST_ROWS = 4096  # POLICIES in types.h

_EVERYTHING = IPv4Network("0.0.0.0/0")


class Action(IntEnum):
    """``enum action`` of ``types.h``."""

    DISCARD = 0
    BYPASS = 1  # in the clear, both ways
    PROTECT = 2  # only by ESP with that peer
    LOCAL = 3  # this side: where protected packets come from and go to


@dataclass(frozen=True, slots=True)
class Row:
    """One prefix: what is done with its packets, for which peer (0: none), and the place in the configuration that says so."""

    network: Network
    action: Action
    peer: int
    place: str

    @property
    def prefixlen(self) -> int:
        """Bits of ``struct policy_key``: 0 to 128."""
        return self.network.prefixlen + (96 if self.network.version == 4 else 0)

    @property
    def address(self) -> bytes:
        """The 16 bytes of ``struct policy_key``."""
        return packed(self.network.network_address)


def rows(config: Config) -> tuple[Row, ...]:
    """All rows of a configuration. No prefix comes twice in one that :func:`load_config` has given."""
    found = tuple(_named(config))
    networks = {row.network for row in found}
    wide = any(network.version == 6 and MAPPED.subnet_of(network) for network in networks)
    if wide and _EVERYTHING not in networks:
        return *found, Row(_EVERYTHING, config.policy.default, 0, "[policy] default")
    return found


def _named(config: Config) -> Iterator[Row]:
    lists = (
        ("local", config.policy.local, Action.LOCAL),
        ("bypass", config.policy.bypass, Action.BYPASS),
        ("discard", config.policy.discard, Action.DISCARD),
    )
    for key, networks, action in lists:
        yield from (Row(network, action, 0, f"[policy] {key}") for network in networks)
    for peer in config.peers:
        yield from (
            Row(network, Action.PROTECT, peer.id, f"{peer.place} {peer.prefix_key}") for network in peer.prefixes
        )
