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
    NETKIT_PRIMARY = 54
    NETKIT_PEER = 55


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


# A leading '?' (do not load unless asked) is taken off before the lookup.
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
        SectionKind("netkit/primary", ProgType.SCHED_CLS, AttachType.NETKIT_PRIMARY),
        SectionKind("netkit/peer", ProgType.SCHED_CLS, AttachType.NETKIT_PEER),
        SectionKind("action", ProgType.SCHED_ACT),
        SectionKind("xdp", ProgType.XDP, AttachType.XDP),
        SectionKind("xdp.frags", ProgType.XDP, AttachType.XDP, ProgFlag.XDP_HAS_FRAGS),
        SectionKind("xdp/devmap", ProgType.XDP, AttachType.XDP_DEVMAP),
        SectionKind("xdp/cpumap", ProgType.XDP, AttachType.XDP_CPUMAP),
        SectionKind("xdp.frags/devmap", ProgType.XDP, AttachType.XDP_DEVMAP, ProgFlag.XDP_HAS_FRAGS),
        SectionKind("xdp.frags/cpumap", ProgType.XDP, AttachType.XDP_CPUMAP, ProgFlag.XDP_HAS_FRAGS),
    )
}

OPEN_SECTIONS: dict[str, SectionKind] = {
    stem: SECTIONS[name]
    for stem, name in (
        ("tc", "tc"),
        ("classifier", "classifier"),
        ("action", "action"),
        ("xdp", "xdp"),
        ("xdp.frags", "xdp.frags"),
        ("xdp_devmap", "xdp/devmap"),
        ("xdp_cpumap", "xdp/cpumap"),
    )
}
"""Stems that projects put names of their own behind, after '/' or '_': ``tc/entry``, ``xdp_pass``, ``xdp_devmap/out``."""

OTHER_SECTIONS = frozenset(
    {
        "cgroup",
        "cgroup_skb",
        "fentry",
        "fentry.s",
        "fexit",
        "fexit.s",
        "flow_dissector",
        "fmod_ret",
        "fmod_ret.s",
        "freplace",
        "fsession",
        "fsession.s",
        "iter",
        "iter.s",
        "kprobe",
        "kprobe.multi",
        "kprobe.session",
        "kretprobe",
        "kretprobe.multi",
        "kretsyscall",
        "ksyscall",
        "lirc_mode2",
        "lsm",
        "lsm.s",
        "lsm_cgroup",
        "lwt_in",
        "lwt_out",
        "lwt_seg6local",
        "lwt_xmit",
        "netfilter",
        "perf_event",
        "raw_tp",
        "raw_tp.w",
        "raw_tracepoint",
        "raw_tracepoint.w",
        "sk_lookup",
        "sk_msg",
        "sk_reuseport",
        "sk_skb",
        "socket",
        "sockops",
        "struct_ops",
        "struct_ops.s",
        "tp",
        "tp_btf",
        "tp_btf.s",
        "tracepoint",
        "uprobe",
        "uprobe.multi",
        "uprobe.multi.s",
        "uprobe.s",
        "uretprobe",
        "uretprobe.multi",
        "uretprobe.multi.s",
        "uretprobe.s",
        "usdt",
        "usdt.s",
    }
)
"""What names of sections with programs of other types begin with, up to a '/'."""
