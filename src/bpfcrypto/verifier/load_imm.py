"""``lddw``: constants, and the addresses of maps, of variables in them, of functions and of kfuncs.

``resolve`` looks at all of them before any path is executed, as the kernel does when it turns descriptors into maps: that is where a
program learns that it may not use a map. It also meets every opcode byte, and refuses those that do not exist.

Source: kernel/bpf/verifier.c of 6.18 (resolve_pseudo_ldimm64, check_map_prog_compatibility, check_ld_imm).
"""

from __future__ import annotations

from errno import E2BIG, EBADF, EINVAL, EPROTO
from typing import TYPE_CHECKING, Final

from bpfcrypto.abi.errno import ENOTSUPP
from bpfcrypto.abi.kfuncs import CURRENT as KFUNCS
from bpfcrypto.abi.maps import MapType
from bpfcrypto.isa.opcode import LDDW, Class, Mode, PseudoImm, is_known
from bpfcrypto.spec import KfuncRef, MapRef, MapValueRef
from bpfcrypto.verifier import bounds
from bpfcrypto.verifier.check_btf import has_func_info
from bpfcrypto.verifier.mem_region import has_direct_value
from bpfcrypto.verifier.state import (
    Flag,
    FuncTarget,
    MapTarget,
    MemTarget,
    Reg,
    RegType,
    Rejected,
    not_modelled,
    scalar_const,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import MapSpec
    from bpfcrypto.verifier.env import Environment
    from bpfcrypto.verifier.state import State

MAX_USED_MAPS: Final = 64
MAX_VALUE_OFFSET: Final = 1 << 29

_SLEEPABLE_MAPS: Final = frozenset(
    {
        MapType.HASH,
        MapType.LRU_HASH,
        MapType.ARRAY,
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_PERCPU_HASH,
        MapType.ARRAY_OF_MAPS,
        MapType.HASH_OF_MAPS,
        MapType.RINGBUF,
        MapType.USER_RINGBUF,
        MapType.INODE_STORAGE,
        MapType.SK_STORAGE,
        MapType.TASK_STORAGE,
        MapType.CGRP_STORAGE,
        MapType.QUEUE,
        MapType.STACK,
        MapType.ARENA,
    }
)


def resolve(env: Environment) -> None:
    """Check every opcode byte and every ``lddw``.

    Raises:
        Rejected: one does not exist, is malformed, or names a map that the program may not use.
    """
    insns, used = env.insns, set[str]()
    index = 0
    while index < len(insns):
        insn = insns[index]
        if insn.code & 7 == Class.LDX and (insn.code & 0xE0 not in (Mode.MEM, Mode.MEMSX) or insn.imm):
            raise Rejected(EINVAL, "BPF_LDX uses reserved fields")
        if insn.code == LDDW:
            _check_pair(insns, index)
            _check_target(env, index, used)
            index += 2
            continue
        if not is_known(insn.code):
            raise Rejected(EINVAL, f"unknown opcode {insn.code:02x}")
        index += 1


def _check_pair(insns: Sequence[Insn], index: int) -> None:
    half = insns[index + 1] if index + 1 < len(insns) else None
    if half is None or half.code or half.dst or half.src or half.off:
        raise Rejected(EINVAL, "invalid bpf_ld_imm64 insn")


def _check_target(env: Environment, index: int, used: set[str]) -> None:
    insn, ref = env.insns[index], env.program.refs.get(index)
    if insn.src in (PseudoImm.VALUE, PseudoImm.FUNC) or isinstance(ref, KfuncRef):
        return
    if insn.src == PseudoImm.BTF_ID:
        raise not_modelled("the address of a kernel variable")
    if insn.src > PseudoImm.MAP_IDX_VALUE or (
        insn.src in (PseudoImm.MAP_FD, PseudoImm.MAP_IDX) and env.insns[index + 1].imm
    ):
        raise Rejected(EINVAL, "unrecognized bpf_ld_imm64 insn")
    if insn.src in (PseudoImm.MAP_IDX, PseudoImm.MAP_IDX_VALUE):
        raise Rejected(EPROTO, "fd_idx without fd_array is invalid")
    spec = env.spec.maps.get(ref.name) if ref is not None else None
    if spec is None:
        raise Rejected(EBADF, f"fd {insn.imm} is not pointing to valid bpf_map")
    if spec.name not in used:
        if len(used) >= MAX_USED_MAPS:
            raise Rejected(
                E2BIG,
                f"The total number of maps per program has reached the limit of {MAX_USED_MAPS}",
                id="too-many-maps",
            )
        _check_use(env, spec)
        used.add(spec.name)
    if isinstance(ref, MapValueRef):
        _check_value(spec, ref.offset)


def _check_use(env: Environment, spec: MapSpec) -> None:
    if env.sleepable and spec.type not in _SLEEPABLE_MAPS:
        raise Rejected(
            EINVAL,
            "Sleepable programs can only use array, hash, ringbuf and local storage maps",
            id="map-not-sleepable",
        )
    if spec.type is MapType.ARENA:
        raise not_modelled("arena maps")


def _check_value(spec: MapSpec, offset: int) -> None:
    if not 0 <= offset < MAX_VALUE_OFFSET:
        text = f"direct value offset of {offset & bounds.U32_MAX} is not allowed"
        raise Rejected(EINVAL, text, id="map-bounds")
    if not has_direct_value(spec):
        raise Rejected(EINVAL, "no direct value access support for this map type")
    if offset >= spec.value_size or spec.max_entries != 1:
        raise Rejected(
            EINVAL if spec.max_entries == 1 else ENOTSUPP,
            f"invalid access to map value pointer, value_size={spec.value_size} off={offset}",
            id="map-bounds",
        )


def load(env: Environment, state: State, insn: Insn, index: int) -> None:
    """Execute an ``lddw``.

    Raises:
        Rejected: it writes r10, or takes the address of a function that cannot be a callback.
    """
    if insn.off:
        raise Rejected(EINVAL, "BPF_LD_IMM64 uses reserved fields")
    frame = state.frames[-1]
    frame.check_write(insn.dst)
    frame.regs[insn.dst] = _value(env, insn, index)


def _value(env: Environment, insn: Insn, index: int) -> Reg:
    upper = env.insns[index + 1].imm
    match env.program.refs.get(index):
        case MapRef(name):
            return Reg(RegType.CONST_MAP, target=MapTarget(env.spec.maps[name]))
        case MapValueRef(name, offset):
            return Reg(RegType.MAP_VALUE, off=offset, target=MapTarget(env.spec.maps[name]))
        case KfuncRef(name):
            # A weak kfunc that does not exist has the address 0.
            return Reg(RegType.MEM, Flag.RDONLY, target=MemTarget(0)) if name in KFUNCS else scalar_const(0)
    if insn.src == PseudoImm.FUNC:
        return _function(env, index + insn.imm + 1)
    return scalar_const((upper & bounds.U32_MAX) << 32 | insn.imm & bounds.U32_MAX)


def _function(env: Environment, start: int) -> Reg:
    if not has_func_info(env.program, env.spec.btf):
        raise Rejected(EINVAL, "missing btf func_info")
    number = next(number for number, each in enumerate(env.subprograms) if each.start == start)
    if env.subprograms[number].is_global:
        raise Rejected(EINVAL, "callback function not static", id="callback-not-static")
    return Reg(RegType.FUNC, target=FuncTarget(number))
