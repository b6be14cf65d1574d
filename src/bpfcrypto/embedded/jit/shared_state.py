"""Whether packets of a program may be taken in another order than they came, or at the same time: where their order would show.

A look at the instructions, with the verifier's facts about what registers point to. It errs on the side of order: whatever is not known to
stay within a packet or a CPU counts as shared. Maps that are per CPU and maps that programs only look into are not; a crypto context
keeps nothing of a packet. What one packet leaves in a per-CPU map, the next one on that CPU may see; nobody is kept from that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.embedded.jit.flow import Graph
from bpfcrypto.embedded.jit.lower_calls import callee_name
from bpfcrypto.isa.opcode import Kind, Op
from bpfcrypto.verifier.state import FP, Flag, MapTarget, RegType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import MapSpec, ProgramSpec
    from bpfcrypto.verifier.facts import Facts
    from bpfcrypto.verifier.state import Reg

_OWN = frozenset({RegType.STACK, RegType.PACKET, RegType.PACKET_META, RegType.CTX})
_PER_CPU = frozenset({MapType.PERCPU_ARRAY, MapType.PERCPU_HASH})
_LOOK = frozenset({"bpf_map_lookup_elem", "bpf_redirect_map"})
_LOOK_ACROSS = frozenset({"bpf_map_lookup_percpu_elem", "bpf_per_cpu_ptr"})
_KEEP_NOTHING = frozenset(
    {"bpf_crypto_encrypt", "bpf_crypto_decrypt", "bpf_crypto_ctx_acquire", "bpf_crypto_ctx_release"}
)
_TELLING = frozenset(
    {"bpf_trace_printk", "bpf_trace_vprintk", "bpf_clone_redirect", "bpf_get_smp_processor_id", *_LOOK_ACROSS}
)
"""Calls that show in which order packets came, or where they were run."""

_OBJECTS = "objects in memory"


def shared_state(program: ProgramSpec, insns: tuple[Insn, ...], facts: Facts) -> tuple[str, ...]:
    """Where the order of packets shows, in words; empty where it does not matter.

    Args:
        program: its references.
        insns: its instructions, every reference resolved.
        facts: what the verifier knows of it.
    """
    return tuple(dict.fromkeys(_found(program, insns, facts)))


def _found(program: ProgramSpec, insns: tuple[Insn, ...], facts: Facts) -> Iterator[str]:
    graph = Graph(program, insns, facts.is_reached)
    for slot, insn in enumerate(insns):
        row = graph.rows[slot] if facts.is_reached(slot) else None
        if row is None:
            continue
        if row.kind is Kind.STORE or (row.kind is Kind.ATOMIC and row.op is not Op.LOAD_ACQUIRE):
            if insn.dst != FP:
                yield from _written(facts.before(slot, insn.dst))
        elif row.kind is Kind.CALL and graph.callee(slot) is None:
            name = callee_name(program, insn, slot)
            if name in _TELLING:
                yield name
            for register in range(1, 6):
                yield from _handed(name, facts.before(slot, register))


def _written(reg: Reg) -> Iterator[str]:
    """A store through a pointer."""
    if reg.type is RegType.MAP_VALUE:
        spec = _map(reg)
        if spec is None or spec.type not in _PER_CPU:
            yield _named(spec)
    elif reg.type not in _OWN and not (reg.type is RegType.MEM and reg.flags & Flag.DYNPTR):
        yield _OBJECTS


def _handed(name: str, reg: Reg) -> Iterator[str]:
    """A register that a helper or kfunc may get."""
    spec = _map(reg)
    if reg.type is RegType.CONST_MAP:
        if name not in _LOOK and (spec is None or spec.type is not MapType.PERCPU_ARRAY):
            yield _named(spec)
    elif reg.type is RegType.MAP_VALUE:
        private = spec is not None and (spec.type in _PER_CPU or spec.frozen or spec.flags & MapFlag.RDONLY_PROG)
        if name not in _LOOK and not private:
            yield _named(spec)
    elif reg.type is RegType.BTF_ID and name not in _KEEP_NOTHING:
        yield _OBJECTS


def _map(reg: Reg) -> MapSpec | None:
    return reg.target.spec if isinstance(reg.target, MapTarget) else None


def _named(spec: MapSpec | None) -> str:
    return "maps" if spec is None else f"map '{spec.name}'"
