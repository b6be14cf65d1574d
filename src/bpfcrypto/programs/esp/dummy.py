"""Dummy packets (RFC 4303, section 2.6): authentic, and without content. The peer's control plane sees that we are there, and in which epoch.

Only programs can encrypt, so that one is asked for: by an IP packet with no next header to the peer, which holds the slot to seal with, and a
token that nobody else knows.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Peer
    from bpfcrypto.programs.esp.wire import Address

PROTOCOL = 59
"""No next header (RFC 8200, section 4.7; the registry of IPv4's protocols has the same number)."""

_REQUEST = struct.Struct("<8sI4x")
_HOP_LIMIT = 64
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}


def dummy_frame(source: Address, target: Address, slot: int, token: bytes) -> bytes:
    """The frame that the programs turn into a dummy packet, sealed with that slot, if the token is that of their settings."""
    request = _REQUEST.pack(token, slot)
    head = _head(source, target, len(request))
    return bytes(12) + _ETHERTYPES[source.version].to_bytes(2, "big") + head + request


class Dummies:
    """Sends dummy packets by way of the programs.

    Args:
        device: where the programs meet them: the device that packets are routed to, or the interface itself.
        token: gives what the programs know requests by.

    The socket belongs to the network namespace of the thread that makes it.
    """

    def __init__(self, device: str, token: Callable[[], bytes]) -> None:
        self._device = device
        self._token = token
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

    def __call__(self, peer: Peer, slot: int) -> None:
        """Send one. Where it does not get out, the next one may: nothing but a sign of life is lost."""
        frame = dummy_frame(peer.local, peer.remote, slot, self._token())
        try:
            self._socket.sendto(frame, (self._device, _ETHERTYPES[peer.family]))
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()


def _head(source: Address, target: Address, size: int) -> bytes:
    """An IP header in front of that many bytes."""
    addresses: bytes = source.packed + target.packed
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, size, PROTOCOL, _HOP_LIMIT) + addresses
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, _HOP_LIMIT, PROTOCOL, 0) + addresses
    total: int = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    check = ~(total + (total >> 16)) & 0xFFFF
    return head[:10] + check.to_bytes(2, "big") + head[12:]
