"""The suites as one table, and how large a packet may be so that its ESP packet fits.

AES-CCM is RFC 4309, with a key of 16, 24 or 32 bytes and an ICV of 8 or 16; ChaCha20-Poly1305 is RFC 7634. Whoever may read maps (root,
CAP_BPF) can read the key of ChaCha20-Poly1305, which is plain bytes in a BPF map; those of AES are inside of crypto contexts of the kernel,
which give no key away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

MAX_TEXT = 9216
"""Bytes that the programs can encrypt in one packet, as in ``types.h``."""

_HEADER = 8  # SPI and sequence number (RFC 4303, section 2)
_IV = 8  # RFC 4309, section 3.1; RFC 7634, section 2
_TRAILER = 2  # pad length and next header (RFC 4303, section 2)
_ALIGNMENT = 4  # of the text (RFC 4303, section 2.4); neither cipher asks for more
_IP_HEADERS = {4: 20, 6: 40}  # without options (RFC 791), without extension headers (RFC 8200)


class Cipher(IntEnum):
    """``enum suite`` of ``types.h``: what the programs tell apart."""

    AES_CCM_8 = 1
    AES_CCM_16 = 2
    CHACHA20_POLY1305 = 3


class Mode(IntEnum):
    """``enum mode`` of ``types.h``: what is encrypted, the payload of an IP packet or the whole packet (RFC 4303, section 3.1)."""

    TRANSPORT = 0
    TUNNEL = 1


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite: a cipher and its sizes, in bytes."""

    name: str
    cipher: Cipher
    key_size: int
    salt_size: int  # RFC 4309, section 4; RFC 7634, section 2
    icv_size: int
    alignment: int = _ALIGNMENT

    @property
    def material_size(self) -> int:
        """Bytes of key and salt together: KEYMAT of RFC 4309, section 7.1, and of RFC 7634, section 2."""
        return self.key_size + self.salt_size


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite("aes-128-ccm-16", Cipher.AES_CCM_16, 16, 3, 16),
            Suite("aes-192-ccm-16", Cipher.AES_CCM_16, 24, 3, 16),
            Suite("aes-256-ccm-16", Cipher.AES_CCM_16, 32, 3, 16),
            Suite("aes-128-ccm-8", Cipher.AES_CCM_8, 16, 3, 8),
            Suite("aes-192-ccm-8", Cipher.AES_CCM_8, 24, 3, 8),
            Suite("aes-256-ccm-8", Cipher.AES_CCM_8, 32, 3, 8),
            Suite("chacha20-poly1305", Cipher.CHACHA20_POLY1305, 32, 4, 16),
        )
    }
)
"""Every suite, by its name in configurations."""


def largest_payload(suite: Suite, family: int, mtu: int) -> int:
    """The largest payload: what stands in front of padding and trailer in the text.

    Args:
        suite: the suite.
        family: of the outer addresses, 4 or 6.
        mtu: bytes of the largest outer IP packet.

    Raises:
        ValueError: not even an empty packet fits.
    """
    text = min(mtu - _IP_HEADERS[family] - _HEADER - _IV - suite.icv_size, MAX_TEXT)
    text -= text % suite.alignment
    if text < _TRAILER:
        raise ValueError(f"an IPv{family} packet of {mtu} bytes has no room for ESP with {suite.name}")
    return text - _TRAILER


def largest_packet(suite: Suite, mode: Mode, family: int, mtu: int) -> int:
    """The largest IP packet in the clear whose ESP packet fits: the MTU of those who send through ESP.

    In transport mode the packet keeps its own header, which is not encrypted; one without options is assumed. Arguments and errors as of
    :func:`largest_payload`.
    """
    return largest_payload(suite, family, mtu) + (_IP_HEADERS[family] if mode is Mode.TRANSPORT else 0)
