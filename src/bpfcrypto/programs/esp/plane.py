"""What all peers of a control plane share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfcrypto.programs.esp.config_types import Peer, Rotation
    from bpfcrypto.programs.esp.epochs import EpochStore
    from bpfcrypto.programs.esp.program import EspProgram
    from bpfcrypto.programs.esp.slots import Slots


@dataclass(frozen=True, slots=True)
class Plane:
    """Where SAs are, and what they are made by.

    Attributes:
        program, slots: where they are.
        store: what must not be used twice.
        rotation: when epochs end, and how long former SAs stay.
        mtu: of outer packets, bytes.
        dummy: sends a dummy packet to a peer, sealed with a slot.
        clock: seconds, monotonic: CLOCK_MONOTONIC, which programs use as well.
    """

    program: EspProgram
    slots: Slots
    store: EpochStore
    rotation: Rotation
    mtu: int
    dummy: Callable[[Peer, int], None]
    clock: Callable[[], float]
