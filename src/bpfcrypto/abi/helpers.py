"""The helpers of BPF: numbers, names, who may call them, and the arguments that they take (kernel 6.18).

Program types, licence and sleepability of each row were found by loading a program with the call. Argument and return kinds are
data for the verifier and are given for the helpers that packet and syscall programs can call; the rest are there by number and
name, so that a message can name what an object asks for. The names of the kinds follow enum bpf_arg_type and bpf_return_type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from bpfcrypto.abi.progs import ProgType


class Arg(Enum):
    """What a helper argument must be. The value is the letter that the rows below use."""

    ANYTHING = "x"
    CTX = "c"
    CTX_OR_NULL = "C"
    MAP = "m"
    MAP_KEY = "k"
    MAP_VALUE = "v"
    MAP_VALUE_UNINIT = "V"
    MAP_VALUE_OR_NULL = "o"
    MEM = "r"  # initialised memory that is only read; its size is the next argument, as for every MEM kind
    MEM_OR_NULL = "n"
    MEM_WRITE = "W"  # initialised memory that is read and written
    MEM_WRITE_OR_NULL = "N"
    MEM_UNINIT = "w"  # memory that the helper fills
    IPV4_HEADER = "h"  # 20 bytes that are read
    IPV6_HEADER = "H"  # 40 bytes that are read
    TCP_HEADER = "e"  # 20 bytes that are read
    LONG = "l"  # eight bytes that the helper fills
    INT = "i"  # four bytes that the helper reads and writes
    SIZE = "s"  # at least 1
    SIZE_OR_ZERO = "z"
    CONST = "a"  # a constant size, zero allowed
    CONST_STR = "q"  # NUL-terminated text in a read-only map
    FUNC = "f"
    STACK_OR_NULL = "p"
    SPIN_LOCK = "L"
    TIMER = "t"
    KPTR_SLOT = "K"
    KPTR_OR_NULL = "P"  # its reference passes to the slot
    DYNPTR = "d"
    DYNPTR_UNINIT = "D"  # becomes a dynptr over memory
    DYNPTR_RINGBUF = "R"
    DYNPTR_RINGBUF_UNINIT = "E"
    RINGBUF_MEM = "g"
    BTF_ID = "T"  # of the type in ARG_STRUCTS
    BTF_ID_OR_NULL = "O"
    PERCPU_BTF_ID = "U"
    SOCK_COMMON = "B"  # a socket, as programs know it
    SOCK_OBJECT = "S"  # that, or one of the kernel's own
    SOCK_OBJECT_OR_NULL = "u"
    SOCK_RELEASED = "y"  # likewise, and its reference is gone


class Ret(Enum):
    """What r0 holds after the call."""

    INTEGER = "integer"
    VOID = "void"
    MAP_VALUE_OR_NULL = "map value or null"
    RINGBUF_MEM_OR_NULL = "ring buffer memory or null"
    DYNPTR_MEM_OR_NULL = "dynptr memory or null"
    KPTR_OR_NULL = "kptr or null"
    SOCKET_OR_NULL = "socket or null"
    SOCK_COMMON_OR_NULL = "sock_common or null"
    TCP_SOCK_OR_NULL = "tcp_sock or null"
    BTF_ID_TRUSTED = "trusted kernel object"
    BTF_ID_OR_NULL = "kernel object or null"
    MEM_OR_BTF_ID = "per-CPU object"
    MEM_OR_BTF_ID_OR_NULL = "per-CPU object or null"


@dataclass(frozen=True, slots=True)
class Helper:
    """One helper.

    Attributes:
        id: the immediate of the call instruction.
        name: with the ``bpf_`` prefix, as in the kernel's log.
        args: what r1.. must be.
        ret: what r0 holds afterwards.
        types: program types that may call it, of those that bpfcrypto loads.
        gpl_only: whether the licence must be compatible with the GPL.
        sleepable: whether it may sleep, and so is kept to sleepable programs.
        reason: why the embedded engine refuses it; "" where it does not, or where no program that bpfcrypto loads may call it.
    """

    id: int
    name: str
    args: tuple[Arg, ...] = ()
    ret: Ret = Ret.INTEGER
    types: frozenset[ProgType] = frozenset()
    gpl_only: bool = False
    sleepable: bool = False
    reason: str = ""


CLS = frozenset({ProgType.SCHED_CLS})
SKB = frozenset({ProgType.SCHED_CLS, ProgType.SCHED_ACT})
XDP = frozenset({ProgType.XDP})
SYSCALL = frozenset({ProgType.SYSCALL})
PACKET = SKB | XDP
ALL = PACKET | SYSCALL


# Why the embedded engine refuses helpers.
_TIMERS = "it runs nothing after a program has returned"
_SOCKETS = "it has no sockets"
_TASKS = "it has no tasks"
_CGROUPS = "it has no control groups"
_MEMORY = "it has no kernel memory to look into"
_COUNTERS = "it has no performance counters"
_TUNNELS = "it has no tunnels"
_ROUTES = "it has no routes, neighbours and interfaces with an MTU"
_IPSEC = "it has no IPsec states"
_NAMESPACES = "it has no network namespaces"
_SYSTEM_CALLS = "its programs make no system calls"
_TRACING = "it runs no tracing programs"
_TYPES = "it has no types of a running kernel"
_SECRETS = "it has no TCP stack with a secret for cookies"


def _row(
    number: int,
    name: str,
    args: str,
    types: frozenset[ProgType],
    *,
    ret: Ret = Ret.INTEGER,
    gpl_only: bool = False,
    sleepable: bool = False,
    reason: str = "",
) -> Helper:
    return Helper(number, f"bpf_{name}", tuple(Arg(letter) for letter in args), ret, types, gpl_only, sleepable, reason)


_ROWS = (
    _row(1, "map_lookup_elem", "mk", ALL, ret=Ret.MAP_VALUE_OR_NULL),
    _row(2, "map_update_elem", "mkvx", ALL),
    _row(3, "map_delete_elem", "mk", ALL),
    _row(4, "probe_read", "wzx", SYSCALL, gpl_only=True, reason=_MEMORY),
    _row(5, "ktime_get_ns", "", ALL),
    _row(6, "trace_printk", "rs", ALL, gpl_only=True),
    _row(7, "get_prandom_u32", "", ALL),
    _row(8, "get_smp_processor_id", "", ALL),
    _row(9, "skb_store_bytes", "cxrsx", SKB),
    _row(10, "l3_csum_replace", "cxxxx", SKB),
    _row(11, "l4_csum_replace", "cxxxx", SKB),
    _row(12, "tail_call", "cmx", ALL, ret=Ret.VOID),
    _row(13, "clone_redirect", "cxx", SKB),
    _row(14, "get_current_pid_tgid", "", ALL, reason=_TASKS),
    _row(15, "get_current_uid_gid", "", ALL, reason=_TASKS),
    _row(16, "get_current_comm", "ws", ALL, reason=_TASKS),
    _row(17, "get_cgroup_classid", "", ALL),
    _row(18, "skb_vlan_push", "cxx", SKB),
    _row(19, "skb_vlan_pop", "c", SKB),
    _row(20, "skb_get_tunnel_key", "cwsx", SKB, reason=_TUNNELS),
    _row(21, "skb_set_tunnel_key", "crsx", SKB, reason=_TUNNELS),
    _row(22, "perf_event_read", "mx", ALL, gpl_only=True, reason=_COUNTERS),
    _row(23, "redirect", "xx", PACKET),
    _row(24, "get_route_realm", "c", SKB),
    _row(25, "perf_event_output", "cmxrz", ALL, gpl_only=True),
    _row(26, "skb_load_bytes", "cxws", SKB),
    _row(27, "get_stackid", "cmx", SYSCALL, gpl_only=True, reason=_TASKS),
    _row(28, "csum_diff", "nznzx", PACKET),
    _row(29, "skb_get_tunnel_opt", "cws", SKB, reason=_TUNNELS),
    _row(30, "skb_set_tunnel_opt", "crs", SKB, reason=_TUNNELS),
    _row(31, "skb_change_proto", "cxx", SKB),
    _row(32, "skb_change_type", "cx", SKB),
    _row(33, "skb_under_cgroup", "cmx", SKB, reason=_CGROUPS),
    _row(34, "get_hash_recalc", "c", SKB),
    _row(35, "get_current_task", "", ALL, gpl_only=True, reason=_TASKS),
    Helper(36, "bpf_probe_write_user"),
    _row(37, "current_task_under_cgroup", "mx", ALL, reason=_CGROUPS),
    _row(38, "skb_change_tail", "cxx", SKB),
    _row(39, "skb_pull_data", "cx", SKB),
    _row(40, "csum_update", "cx", SKB),
    _row(41, "set_hash_invalid", "c", SKB),
    _row(42, "get_numa_node_id", "", ALL),
    _row(43, "skb_change_head", "cxx", SKB),
    _row(44, "xdp_adjust_head", "cx", XDP),
    _row(45, "probe_read_str", "wzx", SYSCALL, gpl_only=True, reason=_MEMORY),
    _row(46, "get_socket_cookie", "c", SKB | SYSCALL, reason=_SOCKETS),
    _row(47, "get_socket_uid", "c", SKB),
    _row(48, "set_hash", "cx", SKB),
    Helper(49, "bpf_setsockopt"),
    _row(50, "skb_adjust_room", "cxxx", SKB),
    _row(51, "redirect_map", "mxx", XDP),
    Helper(52, "bpf_sk_redirect_map"),
    Helper(53, "bpf_sock_map_update"),
    _row(54, "xdp_adjust_meta", "cx", XDP),
    _row(55, "perf_event_read_value", "mxws", ALL, gpl_only=True, reason=_COUNTERS),
    Helper(56, "bpf_perf_prog_read_value"),
    Helper(57, "bpf_getsockopt"),
    Helper(58, "bpf_override_return"),
    Helper(59, "bpf_sock_ops_cb_flags_set"),
    Helper(60, "bpf_msg_redirect_map"),
    Helper(61, "bpf_msg_apply_bytes"),
    Helper(62, "bpf_msg_cork_bytes"),
    Helper(63, "bpf_msg_pull_data"),
    Helper(64, "bpf_bind"),
    _row(65, "xdp_adjust_tail", "cx", XDP),
    _row(66, "skb_get_xfrm_state", "cxwsx", SKB, reason=_IPSEC),
    _row(67, "get_stack", "cwzx", SYSCALL, gpl_only=True, reason=_TASKS),
    _row(68, "skb_load_bytes_relative", "cxwsx", SKB),
    _row(69, "fib_lookup", "cWsx", PACKET, gpl_only=True, reason=_ROUTES),
    Helper(70, "bpf_sock_hash_update"),
    Helper(71, "bpf_msg_redirect_hash"),
    Helper(72, "bpf_sk_redirect_hash"),
    Helper(73, "bpf_lwt_push_encap"),
    Helper(74, "bpf_lwt_seg6_store_bytes"),
    Helper(75, "bpf_lwt_seg6_adjust_srh"),
    Helper(76, "bpf_lwt_seg6_action"),
    Helper(77, "bpf_rc_repeat"),
    Helper(78, "bpf_rc_keydown"),
    _row(79, "skb_cgroup_id", "c", SKB),
    _row(80, "get_current_cgroup_id", "", ALL, reason=_CGROUPS),
    Helper(81, "bpf_get_local_storage"),
    Helper(82, "bpf_sk_select_reuseport"),
    _row(83, "skb_ancestor_cgroup_id", "cx", SKB),
    _row(84, "sk_lookup_tcp", "crzxx", PACKET, ret=Ret.SOCKET_OR_NULL, reason=_SOCKETS),
    _row(85, "sk_lookup_udp", "crzxx", PACKET, ret=Ret.SOCKET_OR_NULL, reason=_SOCKETS),
    _row(86, "sk_release", "y", PACKET, reason=_SOCKETS),
    _row(87, "map_push_elem", "mvx", ALL),
    _row(88, "map_pop_elem", "mV", ALL),
    _row(89, "map_peek_elem", "mV", ALL),
    Helper(90, "bpf_msg_push_data"),
    Helper(91, "bpf_msg_pop_data"),
    Helper(92, "bpf_rc_pointer_rel"),
    _row(93, "spin_lock", "L", ALL, ret=Ret.VOID),
    _row(94, "spin_unlock", "L", ALL, ret=Ret.VOID),
    _row(95, "sk_fullsock", "B", SKB, ret=Ret.SOCKET_OR_NULL, reason=_SOCKETS),
    _row(96, "tcp_sock", "B", SKB, ret=Ret.TCP_SOCK_OR_NULL, reason=_SOCKETS),
    _row(97, "skb_ecn_set_ce", "c", SKB),
    _row(98, "get_listener_sock", "B", SKB, ret=Ret.SOCKET_OR_NULL, reason=_SOCKETS),
    _row(99, "skc_lookup_tcp", "crzxx", PACKET, ret=Ret.SOCK_COMMON_OR_NULL, reason=_SOCKETS),
    _row(100, "tcp_check_syncookie", "Srsrs", PACKET, gpl_only=True, reason=_SOCKETS),
    Helper(101, "bpf_sysctl_get_name"),
    Helper(102, "bpf_sysctl_get_current_value"),
    Helper(103, "bpf_sysctl_get_new_value"),
    Helper(104, "bpf_sysctl_set_new_value"),
    _row(105, "strtol", "rsxl", ALL),
    _row(106, "strtoul", "rsxl", ALL),
    _row(107, "sk_storage_get", "mSox", SKB, ret=Ret.MAP_VALUE_OR_NULL, reason=_SOCKETS),
    _row(108, "sk_storage_delete", "mS", SKB, reason=_SOCKETS),
    _row(109, "send_signal", "x", ALL, reason=_TASKS),
    _row(110, "tcp_gen_syncookie", "Srsrs", PACKET, gpl_only=True, reason=_SOCKETS),
    _row(111, "skb_output", "Tmxrz", SYSCALL, gpl_only=True, reason=_TRACING),
    _row(112, "probe_read_user", "wzx", ALL, gpl_only=True, reason=_MEMORY),
    _row(113, "probe_read_kernel", "wzx", ALL, gpl_only=True, reason=_MEMORY),
    _row(114, "probe_read_user_str", "wzx", ALL, gpl_only=True, reason=_MEMORY),
    _row(115, "probe_read_kernel_str", "wzx", ALL, gpl_only=True, reason=_MEMORY),
    Helper(116, "bpf_tcp_send_ack"),
    _row(117, "send_signal_thread", "x", ALL, reason=_TASKS),
    _row(118, "jiffies64", "", ALL),
    Helper(119, "bpf_read_branch_records"),
    _row(120, "get_ns_current_pid_tgid", "xxws", ALL, reason=_TASKS),
    _row(121, "xdp_output", "Tmxrz", SYSCALL, gpl_only=True, reason=_TRACING),
    _row(122, "get_netns_cookie", "C", SKB, reason=_NAMESPACES),
    _row(123, "get_current_ancestor_cgroup_id", "x", ALL, reason=_CGROUPS),
    _row(124, "sk_assign", "cSx", SKB, reason=_SOCKETS),
    _row(125, "ktime_get_boot_ns", "", ALL),
    Helper(126, "bpf_seq_printf"),
    Helper(127, "bpf_seq_write"),
    Helper(128, "bpf_sk_cgroup_id"),
    Helper(129, "bpf_sk_ancestor_cgroup_id"),
    _row(130, "ringbuf_output", "mrzx", ALL),
    _row(131, "ringbuf_reserve", "max", ALL, ret=Ret.RINGBUF_MEM_OR_NULL),
    _row(132, "ringbuf_submit", "gx", ALL, ret=Ret.VOID),
    _row(133, "ringbuf_discard", "gx", ALL, ret=Ret.VOID),
    _row(134, "ringbuf_query", "mx", ALL),
    _row(135, "csum_level", "cx", SKB),
    _row(136, "skc_to_tcp6_sock", "S", ALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(137, "skc_to_tcp_sock", "S", ALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(138, "skc_to_tcp_timewait_sock", "S", ALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(139, "skc_to_tcp_request_sock", "S", ALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(140, "skc_to_udp6_sock", "S", ALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(141, "get_task_stack", "Twzx", ALL, reason=_TASKS),
    Helper(142, "bpf_load_hdr_opt"),
    Helper(143, "bpf_store_hdr_opt"),
    Helper(144, "bpf_reserve_hdr_opt"),
    Helper(145, "bpf_inode_storage_get"),
    Helper(146, "bpf_inode_storage_delete"),
    Helper(147, "bpf_d_path"),
    _row(148, "copy_from_user", "wzx", ALL, sleepable=True),
    _row(149, "snprintf_btf", "Wsrsx", ALL, reason=_TYPES),
    Helper(150, "bpf_seq_printf_btf"),
    _row(151, "skb_cgroup_classid", "c", SKB),
    _row(152, "redirect_neigh", "xnzx", SKB),
    _row(153, "per_cpu_ptr", "Ux", ALL, ret=Ret.MEM_OR_BTF_ID_OR_NULL),
    _row(154, "this_cpu_ptr", "U", ALL, ret=Ret.MEM_OR_BTF_ID),
    _row(155, "redirect_peer", "xx", SKB),
    _row(156, "task_storage_get", "mOox", ALL, ret=Ret.MAP_VALUE_OR_NULL, reason=_TASKS),
    _row(157, "task_storage_delete", "mO", ALL, reason=_TASKS),
    _row(158, "get_current_task_btf", "", ALL, ret=Ret.BTF_ID_TRUSTED, gpl_only=True, reason=_TASKS),
    Helper(159, "bpf_bprm_opts_set"),
    _row(160, "ktime_get_coarse_ns", "", PACKET),
    Helper(161, "bpf_ima_inode_hash"),
    _row(162, "sock_from_file", "T", SYSCALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(163, "check_mtu", "cxixx", PACKET, gpl_only=True, reason=_ROUTES),
    _row(164, "for_each_map_elem", "mfpx", ALL),
    _row(165, "snprintf", "Nzqnz", ALL, gpl_only=True),
    _row(166, "sys_bpf", "xrs", SYSCALL, reason=_SYSTEM_CALLS),
    _row(167, "btf_find_by_name_kind", "rsxx", SYSCALL, reason=_SYSTEM_CALLS),
    _row(168, "sys_close", "x", SYSCALL, reason=_SYSTEM_CALLS),
    _row(169, "timer_init", "tmx", ALL, gpl_only=True, reason=_TIMERS),
    _row(170, "timer_set_callback", "tf", ALL, gpl_only=True, reason=_TIMERS),
    _row(171, "timer_start", "txx", ALL, gpl_only=True, reason=_TIMERS),
    _row(172, "timer_cancel", "t", ALL, gpl_only=True, reason=_TIMERS),
    Helper(173, "bpf_get_func_ip"),
    Helper(174, "bpf_get_attach_cookie"),
    _row(175, "task_pt_regs", "T", ALL, gpl_only=True, reason=_TASKS),
    _row(176, "get_branch_snapshot", "wzx", ALL, gpl_only=True, reason=_COUNTERS),
    _row(177, "trace_vprintk", "rsnz", ALL, gpl_only=True),
    _row(178, "skc_to_unix_sock", "S", ALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(179, "kallsyms_lookup_name", "rzxl", SYSCALL, reason=_MEMORY),
    _row(180, "find_vma", "Txfpx", ALL, reason=_TASKS),
    _row(181, "loop", "xfpx", ALL),
    _row(182, "strncmp", "rsq", ALL),
    Helper(183, "bpf_get_func_arg"),
    Helper(184, "bpf_get_func_ret"),
    Helper(185, "bpf_get_func_arg_cnt"),
    Helper(186, "bpf_get_retval"),
    Helper(187, "bpf_set_retval"),
    _row(188, "xdp_get_buff_len", "c", XDP | SYSCALL),
    _row(189, "xdp_load_bytes", "cxws", XDP),
    _row(190, "xdp_store_bytes", "cxrs", XDP),
    _row(191, "copy_from_user_task", "wzxTx", ALL, gpl_only=True, sleepable=True, reason=_TASKS),
    _row(192, "skb_set_tstamp", "cxx", SKB),
    Helper(193, "bpf_ima_file_hash"),
    _row(194, "kptr_xchg", "KP", ALL, ret=Ret.KPTR_OR_NULL),
    _row(195, "map_lookup_percpu_elem", "mkx", ALL, ret=Ret.MAP_VALUE_OR_NULL),
    _row(196, "skc_to_mptcp_sock", "B", ALL, ret=Ret.BTF_ID_OR_NULL, reason=_SOCKETS),
    _row(197, "dynptr_from_mem", "wzxD", ALL),
    _row(198, "ringbuf_reserve_dynptr", "mxxE", ALL),
    _row(199, "ringbuf_submit_dynptr", "Rx", ALL, ret=Ret.VOID),
    _row(200, "ringbuf_discard_dynptr", "Rx", ALL, ret=Ret.VOID),
    _row(201, "dynptr_read", "wzdxx", ALL),
    _row(202, "dynptr_write", "dxrzx", ALL),
    _row(203, "dynptr_data", "dxa", ALL, ret=Ret.DYNPTR_MEM_OR_NULL),
    _row(204, "tcp_raw_gen_syncookie_ipv4", "hrz", PACKET, gpl_only=True, reason=_SECRETS),
    _row(205, "tcp_raw_gen_syncookie_ipv6", "Hrz", PACKET, gpl_only=True, reason=_SECRETS),
    _row(206, "tcp_raw_check_syncookie_ipv4", "he", PACKET, gpl_only=True, reason=_SECRETS),
    _row(207, "tcp_raw_check_syncookie_ipv6", "He", PACKET, gpl_only=True, reason=_SECRETS),
    _row(208, "ktime_get_tai_ns", "", ALL),
    _row(209, "user_ringbuf_drain", "mfpx", ALL),
    _row(210, "cgrp_storage_get", "mOox", ALL, ret=Ret.MAP_VALUE_OR_NULL, reason=_CGROUPS),
    _row(211, "cgrp_storage_delete", "mO", ALL, reason=_CGROUPS),
)

ARG_STRUCTS: Mapping[str, str] = {
    "bpf_skb_output": "sk_buff",
    "bpf_xdp_output": "xdp_buff",
    "bpf_xdp_get_buff_len": "xdp_buff",
    "bpf_sock_from_file": "file",
    "bpf_cgrp_storage_get": "cgroup",
    "bpf_cgrp_storage_delete": "cgroup",
    **dict.fromkeys(
        (
            "bpf_get_task_stack",
            "bpf_task_storage_get",
            "bpf_task_storage_delete",
            "bpf_task_pt_regs",
            "bpf_find_vma",
            "bpf_copy_from_user_task",
        ),
        "task_struct",
    ),
}
"""The kernel struct that a helper's typed argument points to."""

RESULT_STRUCTS: Mapping[str, str] = {
    "bpf_skc_to_tcp6_sock": "tcp6_sock",
    "bpf_skc_to_tcp_sock": "tcp_sock",
    "bpf_skc_to_tcp_timewait_sock": "tcp_timewait_sock",
    "bpf_skc_to_tcp_request_sock": "tcp_request_sock",
    "bpf_skc_to_udp6_sock": "udp6_sock",
    "bpf_skc_to_unix_sock": "unix_sock",
    "bpf_skc_to_mptcp_sock": "mptcp_sock",
    "bpf_sock_from_file": "socket",
}
"""The kernel struct that a helper's typed result points to."""

HELPERS: Mapping[int, Helper] = {helper.id: helper for helper in _ROWS}
BY_NAME: Mapping[str, Helper] = {helper.name: helper for helper in _ROWS}


def name(number: int) -> str:
    """The helper's name as the kernel's log writes it; ``unknown#N`` for numbers without one."""
    helper = HELPERS.get(number)
    return helper.name if helper else f"unknown#{number}" if number else "bpf_unspec"


GPL_COMPATIBLE = frozenset(
    {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
)
"""Licence strings with which a program may call kfuncs and GPL-only helpers (include/linux/license.h)."""
