"""From a failed bpf(2) command to an error that says what to do.

EPERM becomes :class:`PrivilegeError` when a capability that the command needs is missing; everything else is a
:class:`SyscallError` with the hint that fits the command and errno.
"""

from __future__ import annotations

import errno

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.errors import BpfCryptoError, PrivilegeError, SyscallError
from bpfcrypto.kernel import privilege
from bpfcrypto.kernel.attr import Command

# Capabilities by command (kernel/bpf/syscall.c); a command that is not listed needs only a descriptor.
NEEDS: dict[Command, tuple[str, ...]] = {
    Command.MAP_CREATE: ("CAP_BPF",),
    Command.PROG_LOAD: ("CAP_BPF",),
    Command.BTF_LOAD: ("CAP_BPF",),
    Command.MAP_GET_FD_BY_ID: ("CAP_SYS_ADMIN",),
    Command.BTF_GET_FD_BY_ID: ("CAP_SYS_ADMIN",),
    Command.PROG_GET_FD_BY_ID: ("CAP_SYS_ADMIN",),
    Command.PROG_QUERY: ("CAP_NET_ADMIN",),
    Command.LINK_CREATE: ("CAP_NET_ADMIN",),
    Command.LINK_GET_FD_BY_ID: ("CAP_SYS_ADMIN",),
    Command.LINK_GET_NEXT_ID: ("CAP_SYS_ADMIN",),
}

# Network program types also need CAP_NET_ADMIN (is_net_admin_prog_type).
NET_ADMIN_PROGRAMS = frozenset({ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.NETFILTER})

HINTS: dict[tuple[Command | None, int], str] = {
    (None, errno.ENOSYS): "this kernel has no bpf(2): CONFIG_BPF_SYSCALL is off, or a seccomp filter hides it",
    (None, errno.EMFILE): "too many open files: raise 'ulimit -n', or close collections that are no longer used",
    (None, errno.ENFILE): "the system has too many open files",
    (None, errno.ENOMEM): "out of memory, or of the memory control group's limit; before Linux 5.11 raise 'ulimit -l'",
    (
        Command.PROG_LOAD,
        errno.E2BIG,
    ): "the program has more instructions than the kernel takes (1 million, 4096 without CAP_BPF)",
    (Command.PROG_LOAD, ENOTSUPP): "the kernel's JIT cannot compile something in this program for this architecture",
    (Command.BTF_LOAD, errno.EINVAL): "the kernel does not accept this type information; it may be too old for it",
    (
        Command.MAP_CREATE,
        errno.EINVAL,
    ): "the sizes, flags or type do not go together, or the kernel is too old for them",
    (Command.MAP_CREATE, errno.EOPNOTSUPP): "maps of this type cannot hold kptrs, locks or timers",
    (Command.MAP_CREATE, errno.E2BIG): "keys, values or the whole map are larger than the kernel allows",
    (Command.MAP_FREEZE, ENOTSUPP): "maps that hold kptrs cannot be frozen",
    (Command.MAP_FREEZE, errno.EBUSY): "the map is mapped writable, or frozen already",
    (Command.PROG_TEST_RUN, errno.EINTR): "a signal arrived during the repetitions; nothing was reported back",
    (
        Command.PROG_TEST_RUN,
        errno.ENODEV,
    ): "the context names an interface that does not exist in this network namespace",
    (Command.PROG_TEST_RUN, ENOTSUPP): "programs of this type cannot be test-run",
}


def refuse(command: Command, number: int, detail: str = "", *, needs: tuple[str, ...] | None = None) -> BpfCryptoError:
    """The error for a failed command.

    Args:
        command: what was called.
        number: the positive errno.
        detail: what was being done, with names.
        needs: capabilities that the command needs here; by default those of its row in ``NEEDS``.
    """
    what = f"BPF_{command.name}"
    lacking = privilege.missing(*(NEEDS.get(command, ()) if needs is None else needs))
    if number == errno.EPERM and lacking:
        names = " and ".join(lacking)
        text = f"{what}: EPERM ({detail}): {names} is missing" if detail else f"{what}: EPERM: {names} is missing"
        error = PrivilegeError(text, hint=privilege.how_to_get(lacking))
        error.errno = errno.EPERM
        return error
    hint = HINTS.get((command, number)) or HINTS.get((None, number))
    if number == errno.EPERM and command in NEEDS:
        hint = f"the capabilities are there; suspects: {privilege.denial()}"
    return SyscallError(what, number, detail=detail, hint=hint)


def needs_for_program(prog_type: int) -> tuple[str, ...]:
    """The capabilities that loading a program of this type needs."""
    return ("CAP_BPF", "CAP_NET_ADMIN") if prog_type in NET_ADMIN_PROGRAMS else ("CAP_BPF",)
