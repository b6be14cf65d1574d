"""Programs for one kptr field of one map, written when the map is known.

bpf_kptr_xchg wants the very map that a value is in and the constant offset of the field, and no program that was compiled before can
know either. These are assembled from text, with types that say no more of the map's value than where the field is, and pass the
verifier like any other program.

They take the CPU whose copy of the value is meant, in maps that have several, and the key of the element as their context, and
answer 0, 1 where the field held a context before, or a negative errno: ENOENT without such an element, ESTALE without a context to
be put there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from errno import ENOENT, ESTALE
from struct import Struct
from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import BY_NAME
from bpfcrypto.abi.maps import Pinning
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Composite, Kind, Member, Ref
from bpfcrypto.btf.writer import BtfWriter
from bpfcrypto.context.home import MAP as HOME
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.opcode import CALL, LDDW, PseudoCall, PseudoImm
from bpfcrypto.spec import CollectionSpec, KfuncRef, MapRef, ProgramSpec
from bpfcrypto.views import PERCPU

if TYPE_CHECKING:
    from bpfcrypto.spec import MapSpec

TARGET = "target"
CPU = Struct("<Q")
MAX_KEY_SIZE = 384
"""Bytes of a map's key that have room on a program's stack, beside what else has to be there."""

_STRUCT = "bpf_crypto_ctx"
_MAPS = (HOME, TARGET)
_KFUNCS = ("bpf_crypto_ctx_acquire", "bpf_crypto_ctx_release", "bpf_rcu_read_lock", "bpf_rcu_read_unlock")
_INDEX_AT = -8

_SHARE = """
    {find_source}
    if r0 == 0x0 goto missing
    r7 = r0
    call bpf_rcu_read_lock
    r1 = *(u64 *)(r7 +{source_offset})
    r7 = 0
    if r1 == 0x0 goto unlock
    call bpf_crypto_ctx_acquire
    r7 = r0
unlock:
    call bpf_rcu_read_unlock
    if r7 == 0x0 goto nothing
    {find_target}
    if r0 == 0x0 goto absent
    r2 = r7
    {exchange}
absent:
    r1 = r7
    call bpf_crypto_ctx_release
missing:
    r0 = -{ENOENT}
    exit
nothing:
    r0 = -{ESTALE}
    exit
"""

_CLEAR = """
    {find_target}
    if r0 == 0x0 goto absent
    r2 = 0
    {exchange}
absent:
    r0 = -{ENOENT}
    exit
"""

_EXCHANGE = """
    r1 = r0
    r1 += {target_offset}
    call bpf_kptr_xchg
    if r0 == 0x0 goto empty
    r1 = r0
    call bpf_crypto_ctx_release
    r0 = 1
    exit
empty:
    r0 = 0
    exit
"""


def slot_spec(home: MapSpec, target: MapSpec, offset: int) -> CollectionSpec:
    """The programs ``put`` (from home to the field), ``take`` (from the field to home) and ``clear``.

    Args:
        home: the map whose value begins with a context.
        target: the map with the field; its key has at most ``MAX_KEY_SIZE`` bytes.
        offset: of the field within a value.
    """
    types = BtfWriter()
    context = types.add(Composite(Kind.STRUCT, _STRUCT, 1, ()))
    pointer = types.add(Ref(Kind.PTR, types.add(Ref(Kind.TYPE_TAG, context, "kptr"))))
    maps = {}
    for name, spec, at in ((HOME, home, 0), (TARGET, target, offset)):
        value = types.add(Composite(Kind.STRUCT, name, spec.value_size, (Member("cctx", pointer, at * 8),)))
        maps[name] = replace(
            spec,
            name=name,
            key_type=0,
            value_type=value,
            pinning=Pinning.NONE,
            inner=None,
            slots={},
            data=None,
            frozen=False,
        )
    find_home = _find(HOME, _INDEX_AT, percpu=False)
    find_target = _find(TARGET, _INDEX_AT - _rounded(target.key_size), percpu=target.type in PERCPU)
    texts = {
        "put": (_SHARE, find_home, 0, find_target, offset),
        "take": (_SHARE, find_target, offset, find_home, 0),
        "clear": (_CLEAR, "", 0, find_target, offset),
    }
    programs = {}
    for name, (form, find_source, source_offset, found, target_offset) in texts.items():
        text = form.format(
            find_source=find_source,
            source_offset=source_offset,
            find_target=found,
            exchange=_EXCHANGE.format(target_offset=target_offset),
            ENOENT=ENOENT,
            ESTALE=ESTALE,
        )
        programs[name] = _program(name, "\n".join([*_prologue(target.key_size), text]))
    return CollectionSpec(
        "<context slot>", "GPL", read_btf(types.to_bytes(), source="<context slot>"), programs=programs, maps=maps
    )


def _rounded(size: int) -> int:
    return size + 7 & ~7


def _prologue(key_size: int) -> Iterator[str]:
    """The key out of the context onto the stack, where helpers take one from."""
    yield "r6 = r1"
    yield f"*(u64 *)(r10 {_INDEX_AT}) = 0"
    size = _rounded(key_size)
    for at in range(0, size, 8):
        yield f"r1 = *(u64 *)(r6 +{CPU.size + at})"
        yield f"*(u64 *)(r10 {_INDEX_AT - size + at}) = r1"


def _find(name: str, key_at: int, *, percpu: bool) -> str:
    lines = [f"r1 = map[fd:{_MAPS.index(name)}]", "r2 = r10", f"r2 += {key_at}"]
    lines += ["r3 = *(u64 *)(r6 +0)", "call bpf_map_lookup_percpu_elem"] if percpu else ["call bpf_map_lookup_elem"]
    return "\n".join(lines)


def _program(name: str, text: str) -> ProgramSpec:
    """A syscall program; its maps and kfuncs are numbers in the text, and names in the result."""
    insns = assemble(
        text,
        helpers={helper.name: helper.id for helper in BY_NAME.values()},
        kfuncs={kfunc: number for number, kfunc in enumerate(_KFUNCS)},
    )
    refs: dict[int, KfuncRef | MapRef] = {}
    for slot, insn in enumerate(insns):
        if insn.code == CALL and insn.src == PseudoCall.KFUNC:
            refs[slot] = KfuncRef(_KFUNCS[insn.imm])
        elif insn.code == LDDW and insn.src == PseudoImm.MAP_FD:
            refs[slot] = MapRef(_MAPS[insn.imm])
    return ProgramSpec(name, "syscall", ProgType.SYSCALL, insns, flags=ProgFlag.SLEEPABLE, refs=dict(refs))
