"""Where on an interface a packet program can run, and what the kernel is told for it (include/uapi/linux/bpf.h, if_link.h)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum

from bpfcrypto.abi.progs import AttachType, ProgType


class Hook(StrEnum):
    """A place on an interface.

    XDP is the driver's own (native); XDP_GENERIC runs behind the driver on every interface, and is slower.
    """

    INGRESS = "ingress"
    EGRESS = "egress"
    XDP = "xdp"
    XDP_GENERIC = "xdp-generic"


class XdpFlag(IntFlag):
    """XDP_FLAGS_*: the mode that an XDP program is attached in."""

    SKB_MODE = 1 << 1
    DRV_MODE = 1 << 2


class OrderFlag(IntFlag):
    """BPF_F_*: where among the programs of a TCX hook a new one goes. Without any of them it is the last one."""

    REPLACE = 1 << 2
    BEFORE = 1 << 3
    AFTER = 1 << 4
    LINK = 1 << 13


class LinkType(IntEnum):
    """enum bpf_link_type, the members that are on interfaces."""

    XDP = 6
    TCX = 11


@dataclass(frozen=True, slots=True)
class HookFacts:
    """What belongs to a hook.

    Attributes:
        program: the type of programs that run there.
        attach_type: of BPF_LINK_CREATE.
        link: the type of link that it gives.
        flags: of BPF_LINK_CREATE.
        parent: the class of the clsact qdisc that stands in where there is no TCX (TC_H_CLSACT, TC_H_MIN_*); 0 for XDP.
    """

    program: ProgType
    attach_type: AttachType
    link: LinkType
    flags: XdpFlag = XdpFlag(0)
    parent: int = 0


HOOKS: dict[Hook, HookFacts] = {
    Hook.INGRESS: HookFacts(ProgType.SCHED_CLS, AttachType.TCX_INGRESS, LinkType.TCX, parent=0xFFFFFFF2),
    Hook.EGRESS: HookFacts(ProgType.SCHED_CLS, AttachType.TCX_EGRESS, LinkType.TCX, parent=0xFFFFFFF3),
    Hook.XDP: HookFacts(ProgType.XDP, AttachType.XDP, LinkType.XDP, XdpFlag.DRV_MODE),
    Hook.XDP_GENERIC: HookFacts(ProgType.XDP, AttachType.XDP, LinkType.XDP, XdpFlag.SKB_MODE),
}
