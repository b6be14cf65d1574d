"""The verdicts of ``enum verdict`` in words: what has become of a packet, and whether it was lost.

The names come from the object's BTF; a test compares them with this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict.

    Attributes:
        drop: whether the packet was lost. A dummy packet was not: it ends here, and carries nothing.
        text: a short sentence, for operators.
    """

    drop: bool
    text: str


def _passed(text: str) -> Verdict:
    return Verdict(False, text)


def _dropped(text: str) -> Verdict:
    return Verdict(True, text)


VERDICTS: Mapping[str, Verdict] = MappingProxyType(
    {
        "SEALED": _passed("encrypted and sent, dummy packets included"),
        "OPENED": _passed("authentic, decrypted and delivered"),
        "BYPASSED": _passed(
            "passed in the clear, as the policy says; so do ARP, neighbour discovery, and ESP that leaves"
        ),
        "DUMMY": _passed("authentic and empty: a sign of life of the peer"),
        "NO_POLICY": _dropped("no policy lets it pass"),
        "DISCARDED": _dropped("the policy discards it"),
        "CLEARTEXT": _dropped("came in the clear from where only ESP may come from"),
        "NOT_IP": _dropped("neither IPv4 nor IPv6"),
        "MALFORMED": _dropped("its IP header is broken"),
        "EXTENSION_HEADER": _dropped("transport mode does not take IPv6 extension headers"),
        "FRAGMENT": _dropped(
            "a fragment, of an ESP packet or to be sent in transport mode: the path's MTU is too small"
        ),
        "SUPER_PACKET": _dropped("several packets in one (GSO): turn offloads off, or use send = 'routed'"),
        "CHECKSUM": _dropped("its checksum is left to the device, which will see ciphertext: turn the offload off"),
        "TOO_BIG": _dropped("with ESP it is larger than the link's MTU"),
        "NO_SA": _dropped("no security association: of the peer to send to, or of the SPI and addresses that came"),
        "NO_KEY": _dropped("the crypto context of its security association is gone"),
        "EXHAUSTED": _dropped("all sequence numbers are used: rotate"),
        "TOO_SHORT": _dropped("an ESP packet that is cut off"),
        "TOO_OLD": _dropped("its sequence number is older than the replay window"),
        "REPLAY": _dropped("its sequence number was received before"),
        "BAD_TAG": _dropped("not authentic: forged, damaged, or sealed with another key"),
        "BAD_PADDING": _dropped("authentic, but padded against RFC 4303"),
        "BAD_SELECTOR": _dropped("authentic, but with addresses that are not that peer's, or not ours"),
        "BAD_ECN": _dropped("marked as congested, which its sender does not understand"),
        "CIPHER_ERROR": _dropped("a crypto function of the kernel failed"),
        "KERNEL_ERROR": _dropped("another function of the kernel failed, most likely for lack of memory"),
        "NESTED": _dropped("came while its CPU was at work on another packet"),
    }
)
"""Every verdict by its name in ``types.h``, in the order there."""

AUTHENTICATION_FAILURES = ("BAD_TAG",)
REPLAYS = ("REPLAY", "TOO_OLD")
CARRIED = ("SEALED", "OPENED")
"""Those whose packets count as traffic."""


def drops(packets: Mapping[str, int]) -> dict[str, int]:
    """Of counters by verdict, those of lost packets."""
    return {name: count for name, count in packets.items() if VERDICTS[name].drop}
