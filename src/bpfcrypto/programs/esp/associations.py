"""The security associations of a peer, as its configuration says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bpfcrypto.programs.esp.program import Association

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Peer


def association_of(peer: Peer, spi: int, *, outbound: bool, mtu: int, sequence: int = 0) -> Association:
    """One direction, without its key.

    Args:
        peer: whose.
        spi: the SPI.
        outbound: whether it is for packets to the peer.
        mtu: bytes of the largest outer packet.
        sequence: the last number that counts as used.
    """
    here = Association(
        spi=spi,
        peer=peer.id,
        cipher=peer.suite.cipher,
        mode=peer.mode,
        esn=peer.esn,
        outbound=True,
        source=peer.local,
        target=peer.remote,
        mtu=mtu,
        sequence=sequence,
    )
    return here if outbound else replace(here, outbound=False, source=peer.remote, target=peer.local)


def is_same(one: Association, other: Association) -> bool:
    """Whether two are for the same packets, with the same key, however far their numbers are and however large packets may be."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("spi", "peer", "cipher", "mode", "esn", "outbound", "source", "target", "fingerprint")
    )
