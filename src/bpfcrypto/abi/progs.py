"""Program types, attach types, and the ELF section names that stand for them (include/uapi/linux/bpf.h; libbpf's section table)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class ProgType(IntEnum):
    """enum bpf_prog_type."""

    UNSPEC = 0
    SOCKET_FILTER = 1
    KPROBE = 2
    SCHED_CLS = 3
    SCHED_ACT = 4
    TRACEPOINT = 5
    XDP = 6
    PERF_EVENT = 7
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    LWT_IN = 10
    LWT_OUT = 11
    LWT_XMIT = 12
    SOCK_OPS = 13
    SK_SKB = 14
    CGROUP_DEVICE = 15
    SK_MSG = 16
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    LWT_SEG6LOCAL = 19
    LIRC_MODE2 = 20
    SK_REUSEPORT = 21
    FLOW_DISSECTOR = 22
    CGROUP_SYSCTL = 23
    RAW_TRACEPOINT_WRITABLE = 24
    CGROUP_SOCKOPT = 25
    TRACING = 26
    STRUCT_OPS = 27
    EXT = 28
    LSM = 29
    SK_LOOKUP = 30
    SYSCALL = 31
    NETFILTER = 32


class AttachType(IntEnum):
    """enum bpf_attach_type, the members that packet programs use."""

    XDP_DEVMAP = 33
    XDP_CPUMAP = 35
    XDP = 37
    TCX_INGRESS = 46
    TCX_EGRESS = 47


class ProgFlag(IntFlag):
    """prog_flags of BPF_PROG_LOAD."""

    SLEEPABLE = 1 << 4
    XDP_HAS_FRAGS = 1 << 5


class RunFlag(IntFlag):
    """flags of BPF_PROG_TEST_RUN: what a test run can be asked for."""

    NONE = 0
    CHECKSUM_COMPLETE = 1 << 2  # the sum of an skb is known before the run, and is compared with the packet after it


@dataclass(frozen=True, slots=True)
class SectionKind:
    """What an ELF section name says about the programs in it."""

    name: str
    type: ProgType
    attach_type: AttachType | None = None
    flags: ProgFlag = ProgFlag(0)


# Exact names. A leading '?' (do not load unless asked) is taken off before the lookup.
SECTIONS: dict[str, SectionKind] = {
    kind.name: kind
    for kind in (
        SectionKind("syscall", ProgType.SYSCALL, flags=ProgFlag.SLEEPABLE),
        SectionKind("tc", ProgType.SCHED_CLS),
        SectionKind("classifier", ProgType.SCHED_CLS),
        SectionKind("tc/ingress", ProgType.SCHED_CLS, AttachType.TCX_INGRESS),
        SectionKind("tc/egress", ProgType.SCHED_CLS, AttachType.TCX_EGRESS),
        SectionKind("tcx/ingress", ProgType.SCHED_CLS, AttachType.TCX_INGRESS),
        SectionKind("tcx/egress", ProgType.SCHED_CLS, AttachType.TCX_EGRESS),
        SectionKind("action", ProgType.SCHED_ACT),
        SectionKind("xdp", ProgType.XDP, AttachType.XDP),
        SectionKind("xdp.frags", ProgType.XDP, AttachType.XDP, ProgFlag.XDP_HAS_FRAGS),
        SectionKind("xdp/devmap", ProgType.XDP, AttachType.XDP_DEVMAP),
        SectionKind("xdp/cpumap", ProgType.XDP, AttachType.XDP_CPUMAP),
        SectionKind("xdp.frags/devmap", ProgType.XDP, AttachType.XDP_DEVMAP, ProgFlag.XDP_HAS_FRAGS),
        SectionKind("xdp.frags/cpumap", ProgType.XDP, AttachType.XDP_CPUMAP, ProgFlag.XDP_HAS_FRAGS),
    )
}
