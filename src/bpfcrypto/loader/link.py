"""Joins a program with the subprograms that it reaches.

The kernel takes a program as one array of instructions. Each subprogram that the program can reach, directly or through others, by
a call or by its address, is appended once; calls become relative to the new places. The order is libbpf's: a subprogram is
appended when the walk over the code first meets it, and its own callees right after it. The subprogram that a tag names as exception
callback is reached too. What nothing reaches is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bpfcrypto.errors import RelocationError
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, PseudoCall, PseudoImm
from bpfcrypto.loader.functions import Function, Place
from bpfcrypto.loader.sections import section_kind
from bpfcrypto.spec import (
    EXCEPTION_CALLBACK,
    CoreReloc,
    FuncInfo,
    KfuncRef,
    LineInfo,
    MapRef,
    MapValueRef,
    ProgramSpec,
    Ref,
)

_LARGEST_PROGRAM = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS: BPF_PROG_LOAD refuses more


def link(program: Function, functions: Mapping[Place, Function], source: str) -> ProgramSpec:
    """The program with its subprograms behind it.

    Raises:
        RelocationError: the whole is longer than any program may be.
    """
    kind = section_kind(program.section)
    assert kind is not None
    starts: dict[Place, int] = {}
    size = 0
    for function in _reached(program, functions):
        starts[function.place] = size
        size += len(function.insns)
        if size > _LARGEST_PROGRAM:
            raise RelocationError(
                f"program '{program.info.name}' with its subprograms is longer than {_LARGEST_PROGRAM} instructions",
                source=source,
                section=program.section,
            )
    insns: list[Insn] = []
    refs: dict[int, Ref] = {}
    funcs: list[FuncInfo] = []
    lines: list[LineInfo] = []
    core: list[CoreReloc] = []
    for place, start in starts.items():
        function = functions[place]
        insns += _placed(function, start, starts)
        refs.update((start + slot, ref) for slot, ref in sorted(function.refs.items()))
        funcs.append(replace(function.info, index=start))
        lines += (LineInfo(start + row.index, row.file, row.line, row.column, row.text) for row in function.lines)
        core += (CoreReloc(start + row.index, row.kind, row.type_id, row.access) for row in function.core)
    return ProgramSpec(
        name=program.info.name,
        section=program.section,
        type=kind.type,
        insns=tuple(insns),
        attach_type=kind.attach_type,
        flags=kind.flags,
        autoload=not program.section.startswith("?"),
        refs=refs,
        funcs=tuple(funcs),
        lines=tuple(lines),
        core=tuple(core),
        tags=program.tags,
    )


def _reached(program: Function, functions: Mapping[Place, Function]) -> Iterator[Function]:
    """The program, then each subprogram when it is first met, depth first; its exception callback at the end."""
    yield program
    met = {program.place}
    yield from _walk(program, functions, met)
    names = [tag.removeprefix(EXCEPTION_CALLBACK) for tag in program.tags if tag.startswith(EXCEPTION_CALLBACK)]
    for function in functions.values():
        if function.info.name in names and not function.is_program and function.place not in met:
            met.add(function.place)
            yield function
            yield from _walk(function, functions, met)


def _walk(start: Function, functions: Mapping[Place, Function], met: set[Place]) -> Iterator[Function]:
    """The subprograms that are reached from one function and have not been met."""
    walks = [iter(sorted(start.calls.items()))]
    while walks:
        for _, place in walks[-1]:
            if place not in met:
                met.add(place)
                yield functions[place]
                walks.append(iter(sorted(functions[place].calls.items())))
                break
        else:
            walks.pop()


def _placed(function: Function, start: int, starts: Mapping[Place, int]) -> list[Insn]:
    """The function's code with its references in the form that bpf(2) takes; what only an engine knows stays 0."""
    insns = list(function.insns)
    for slot, place in function.calls.items():
        distance = starts[place] - (start + slot) - 1
        insn = insns[slot]
        source = PseudoCall.BPF if insn.code == CALL else PseudoImm.FUNC
        insns[slot] = Insn(insn.code, insn.dst, source, 0, distance)
    for slot, ref in function.refs.items():
        insn = insns[slot]
        match ref:
            case MapRef():
                insns[slot] = Insn(insn.code, insn.dst, PseudoImm.MAP_FD)
            case MapValueRef():
                insns[slot] = Insn(insn.code, insn.dst, PseudoImm.MAP_VALUE)
                insns[slot + 1] = Insn(0, imm=ref.offset)
            case KfuncRef():
                source = PseudoCall.KFUNC if insn.code == CALL else PseudoImm.BTF_ID
                insns[slot] = Insn(insn.code, insn.dst, source)
    return insns
