"""What this kernel can do: asked by trying, never by its version.

A program type is there when an empty program of it loads, a map type when a smallest map of it can be made. A helper or kfunc can be
called when the verifier, shown a bare call, complains of something other than the call itself.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec

from bpfcrypto.abi.helpers import HELPERS
from bpfcrypto.abi.kfuncs import KFUNCS
from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.engine import Capabilities
from bpfcrypto.errors import BpfCryptoError, NotSupportedError
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL
from bpfcrypto.kernel import bpf, privilege, syscall
from bpfcrypto.kernel.attr import TOKEN_CREATE, Command
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.kernel.btf import kernel_btf
from bpfcrypto.kernel.info import program_info
from bpfcrypto.kernel.prepare import PSEUDO_KFUNC_CALL
from bpfcrypto.kernel.refusal import needs_for_program

MOV_R0_0 = Insn(0xB7)
EXIT = Insn(0x95)
EMPTY = encode((MOV_R0_0, EXIT))

# Program types of this package's sections, with the flags they need.
PROGRAM_TYPES: Mapping[ProgType, ProgFlag] = {
    ProgType.SYSCALL: ProgFlag.SLEEPABLE,
    ProgType.SCHED_CLS: ProgFlag(0),
    ProgType.SCHED_ACT: ProgFlag(0),
    ProgType.XDP: ProgFlag(0),
}


@dataclass(frozen=True, slots=True)
class _Smallest:
    """Arguments of the smallest map of a type."""

    key_size: int = 4
    value_size: int = 4
    max_entries: int = 1
    flags: MapFlag = MapFlag(0)
    inner: bool = False


_PAGE = 4096
MAP_TYPES: Mapping[MapType, _Smallest] = {
    MapType.HASH: _Smallest(),
    MapType.ARRAY: _Smallest(),
    MapType.PROG_ARRAY: _Smallest(),
    MapType.PERF_EVENT_ARRAY: _Smallest(),
    MapType.PERCPU_HASH: _Smallest(),
    MapType.PERCPU_ARRAY: _Smallest(),
    MapType.LRU_HASH: _Smallest(),
    MapType.LRU_PERCPU_HASH: _Smallest(),
    MapType.LPM_TRIE: _Smallest(key_size=8, flags=MapFlag.NO_PREALLOC),
    MapType.ARRAY_OF_MAPS: _Smallest(inner=True),
    MapType.HASH_OF_MAPS: _Smallest(inner=True),
    MapType.DEVMAP: _Smallest(),
    MapType.DEVMAP_HASH: _Smallest(),
    MapType.CPUMAP: _Smallest(),
    MapType.XSKMAP: _Smallest(),
    MapType.QUEUE: _Smallest(key_size=0),
    MapType.STACK: _Smallest(key_size=0),
    MapType.BLOOM_FILTER: _Smallest(key_size=0),
    MapType.RINGBUF: _Smallest(key_size=0, value_size=0, max_entries=_PAGE),
    MapType.USER_RINGBUF: _Smallest(key_size=0, value_size=0, max_entries=_PAGE),
}

# What the verifier says of a call that does not exist, in the releases so far.
NO_SUCH_CALL = (
    "invalid func ",
    "unknown func ",
    "program of this type cannot use helper",
    "is not allowed",
)
ATTACHING = "programs are attached with the help of pyroute2: pip install 'bpfcrypto[net]'"


@functools.cache
def unavailable() -> str | None:
    """Why bpf(2) cannot be used here, in words; None where it can."""
    reason = syscall.missing()
    if reason is not None:
        return reason
    try:
        bpf.map_create(MapType.ARRAY, 4, 4, 1).close()
        outcome = bpf.prog_load(LoadRequest(ProgType.XDP, EMPTY))
    except BpfCryptoError as error:
        return f"{error}; {error.hint}" if error.hint else str(error)
    if outcome.fd is not None:
        outcome.fd.close()
    elif outcome.errno == errno.EPERM and (lacking := privilege.missing(*needs_for_program(ProgType.XDP))):
        return f"BPF_PROG_LOAD: EPERM: {' and '.join(lacking)} is missing; {privilege.how_to_get(lacking)}"
    return None


def has_program_type(kind: ProgType) -> bool:
    """Whether programs of that type can be loaded."""
    outcome = bpf.prog_load(LoadRequest(kind, EMPTY, flags=PROGRAM_TYPES[kind]))
    if outcome.fd is not None:
        outcome.fd.close()
    return outcome.fd is not None


def has_map_type(kind: MapType) -> bool:
    """Whether maps of that type can be created."""
    smallest = MAP_TYPES[kind]
    with ExitStack() as stack:
        try:
            inner = stack.enter_context(bpf.map_create(MapType.ARRAY, 4, 4, 1)).fileno() if smallest.inner else 0
            stack.enter_context(
                bpf.map_create(
                    kind,
                    smallest.key_size,
                    smallest.value_size,
                    smallest.max_entries,
                    flags=smallest.flags,
                    inner_map_fd=inner,
                )
            )
        except BpfCryptoError:
            return False
    return True


def can_call(kind: ProgType, call: Insn) -> bool:
    """Whether a program of that type may make that call at all, whatever its arguments."""
    request = LoadRequest(kind, encode((call, MOV_R0_0, EXIT)), flags=PROGRAM_TYPES[kind])
    outcome = bpf.prog_load(request, log_level=1)
    if outcome.fd is not None:
        outcome.fd.close()
        return True
    return bool(outcome.log) and not any(text in outcome.log for text in NO_SUCH_CALL)


def has_helper(number: int) -> bool:
    """Whether a program of one of our types may call that helper."""
    types = HELPERS[number].types & PROGRAM_TYPES.keys() if number in HELPERS else PROGRAM_TYPES.keys()
    return any(can_call(kind, Insn(CALL, imm=number)) for kind in sorted(types))


def has_kfunc(name: str) -> bool:
    """Whether the kernel has that function and a program of one of our types may call it."""
    try:
        number = kernel_btf().func_id(name)
    except NotSupportedError:
        return False
    if number is None:
        return False
    types = KFUNCS[name].types & PROGRAM_TYPES.keys() if name in KFUNCS else PROGRAM_TYPES.keys()
    return any(can_call(kind, Insn(CALL, src=PSEUDO_KFUNC_CALL, imm=number)) for kind in sorted(types))


def has_token() -> bool:
    """Whether the kernel knows BPF tokens (BPF_TOKEN_CREATE), which delegate bpf(2) to containers."""
    result = syscall.bpf(Command.TOKEN_CREATE, TOKEN_CREATE.buffer({"bpffs_fd": 0xFFFFFFFF}))
    return result in (-errno.EBADF, -errno.EPERM)


def has_jit() -> bool:
    """Whether programs are compiled to machine code."""
    outcome = bpf.prog_load(LoadRequest(ProgType.SCHED_CLS, EMPTY))
    if outcome.fd is None:
        return False
    with outcome.fd:
        return program_info(outcome.fd).jited_bytes > 0


@functools.cache
def capabilities() -> Capabilities:
    """All of the above as a value."""
    reason = unavailable()
    if reason is not None:
        return Capabilities(why_not={"kernel": reason})
    can_attach = find_spec("pyroute2") is not None
    why_not = {} if can_attach else {"attaching": ATTACHING}
    try:
        kernel_btf()
    except NotSupportedError as error:
        why_not["kfuncs"] = f"{error}; {error.hint}"
    kfuncs = frozenset(name for name in sorted(KFUNCS) if has_kfunc(name))  # the order of the kernel's table
    crypto = sorted(name for name in KFUNCS if name.startswith("bpf_crypto_") and name not in kfuncs)
    if crypto and "kfuncs" not in why_not:
        why_not["crypto"] = (
            f"this kernel does not have {', '.join(crypto)}: they came with Linux 6.10 and CONFIG_CRYPTO=y"
        )
    return Capabilities(
        kfuncs=kfuncs,
        helpers=frozenset(helper.name for number, helper in HELPERS.items() if helper.types and has_helper(number)),
        prog_types=frozenset(kind.name for kind in PROGRAM_TYPES if has_program_type(kind)),
        map_types=frozenset(kind.name for kind in MAP_TYPES if has_map_type(kind)),
        can_attach=can_attach,
        jit=has_jit(),
        why_not=why_not,
    )
