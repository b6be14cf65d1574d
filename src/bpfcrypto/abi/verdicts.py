"""What the return value of a packet program does to its packet (include/uapi/linux/pkt_cls.h, bpf.h)."""

from __future__ import annotations

from enum import IntEnum

from bpfcrypto.abi.progs import ProgType


class TcAction(IntEnum):
    """TC_ACT_*; UNSPEC is -1 in the headers, here as the unsigned return value."""

    OK = 0
    RECLASSIFY = 1
    SHOT = 2
    PIPE = 3
    STOLEN = 4
    QUEUED = 5
    REPEAT = 6
    REDIRECT = 7
    TRAP = 8
    UNSPEC = 0xFFFF_FFFF


class XdpAction(IntEnum):
    """enum xdp_action."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


_TC_NAMES = {int(action): f"TC_ACT_{action.name}" for action in TcAction}
_XDP_NAMES = {int(action): f"XDP_{action.name}" for action in XdpAction}

VERDICT_NAMES: dict[ProgType, dict[int, str]] = {
    ProgType.SCHED_CLS: _TC_NAMES,
    ProgType.SCHED_ACT: _TC_NAMES,
    ProgType.XDP: _XDP_NAMES,
}
"""The names of a packet program's return values, by program type."""

TC_CONSUMES = frozenset({TcAction.SHOT, TcAction.STOLEN, TcAction.TRAP})
"""Where the packet ends; any other value, unknown ones too, lets it go on (clsact)."""

XDP_FORWARDS = frozenset({XdpAction.PASS, XdpAction.TX, XdpAction.REDIRECT})
"""Where the packet goes on; any other value, unknown ones too, drops it."""


def goes_on(kind: ProgType, retval: int) -> bool:
    """Whether a packet goes on after a program of this type returned ``retval``."""
    return retval in XDP_FORWARDS if kind is ProgType.XDP else retval not in TC_CONSUMES
