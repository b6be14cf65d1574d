"""Annotated programs: how their files are read, and how one becomes a blueprint that both verifiers take.

A file holds cases on one topic::

    == name of the case
    -- program xdp               tc (the default), xdp or syscall; after it, if need be, the function whose type the entry has
    -- license MIT               GPL is the default
    -- asm
    r1 = map[array]              a map or section of the world; map[.bss][0]+8 is an address inside its value
    call bpf_map_lookup_elem
    r1 = type(item)              the id of a type of the world
    call sub                     a label begins a function; one that is a function of the world has its prototype and linkage
    exit
    -- verdict
    EACCES what the last line of the log says
    -- table width insn          instead of a verdict: one program per row, "value value => verdict"; the program names the columns in
                                 braces. The last column takes the rest of the row, and a backslash in it ends an instruction.
    -- imprecise reason          we reject it, the kernel accepts

Lines that start with # are comments. The maps and types are those of world.bpf.c, which lies beside the files. Text before the first
case that follows ``-- let NAME`` is put in the place of ``@NAME`` in the programs of the file.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bpfcrypto.abi.helpers import BY_NAME
from bpfcrypto.abi.kfuncs import KFUNCS
from bpfcrypto.abi.progs import SECTIONS
from bpfcrypto.btf.types import Btf, Func, Kind, Linkage
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, LDDW, PseudoCall
from bpfcrypto.source import read_source
from bpfcrypto.spec import EXCEPTION_CALLBACK, CollectionSpec, FuncInfo, KfuncRef, MapRef, MapValueRef, ProgramSpec, Ref

VECTORS = Path(__file__).parents[1] / "vectors" / "verifier"
ACCEPT = "accept"
_HELPERS = {name: helper.id for name, helper in BY_NAME.items()}
_KFUNCS = {name: number for number, name in enumerate(KFUNCS, 1)}
_KFUNC_NAMES = {number: name for name, number in _KFUNCS.items()}
_MAP = re.compile(r"map\[([.\w]+)\]")
_TYPE = re.compile(r"type\((\w+)\)")
_LET = re.compile(r"@(\w+)")
_FUNCTION = re.compile(r"\bcall (\w+)[ \t]*$|subprog\[([A-Za-z_]\w*)\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Case:
    """One program and what is expected of it.

    Attributes:
        name: the file's topic, the case, and the row.
        program: section name, and the function of the world whose type the entry has.
        license: the licence string.
        asm: the text.
        verdict: ``accept``, or the name of an errno and the last line of the log; "" where it is not known yet.
        imprecise: why we reject it while the kernel accepts; "" where we agree.
    """

    name: str
    program: tuple[str, str]
    license: str
    asm: str
    verdict: str
    imprecise: str = ""

    @property
    def accepted(self) -> bool:
        return self.verdict == ACCEPT


def describe(accepted: bool, number: int, message: str) -> str:
    """A verdict in the form of the files."""
    return ACCEPT if accepted else f"{errno.errorcode[number]} {message}".rstrip()


def files() -> list[Path]:
    """The files with cases."""
    return sorted(VECTORS.glob("*.data"))


def load(path: Path) -> Iterator[Case]:
    """The cases of a file."""
    head, *chunks = path.read_text().split("\n== ")
    lets = dict(_sections(head))
    texts = {title.split()[1]: "\n".join(lines) for title, lines in lets.items() if title.startswith("let ")}
    for chunk in chunks:
        name, _, body = chunk.partition("\n")
        yield from _cases(f"{path.stem}: {name.strip()}", _sections(body), texts)


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    title, lines = "", list[str]()
    for line in text.splitlines():
        if line.startswith("-- "):
            yield title, lines
            title, lines = line[3:].strip(), []
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    yield title, lines


def _cases(name: str, sections: Iterator[tuple[str, list[str]]], texts: Mapping[str, str]) -> Iterator[Case]:
    program, licence, asm, imprecise = ("tc", "entry_tc"), "GPL", "", ""
    rows: Sequence[tuple[str, str, str]] = ()
    for title, lines in sections:
        kind, _, rest = title.partition(" ")
        if kind == "program":
            section, _, entry = rest.partition(" ")
            program = (section, entry or f"entry_{section}")
        elif kind == "license":
            licence = rest
        elif kind == "asm":
            asm = "\n".join(lines)
        elif kind == "imprecise":
            imprecise = rest
        elif kind == "verdict":
            rows = [(name, asm, lines[0].strip() if lines else "")]
        elif kind == "table":
            rows = [_row(name, asm, rest.split(), line) for line in lines]
    for row, text, verdict in rows:
        while _LET.search(text):
            text = _LET.sub(lambda match: texts[match[1]], text)
        yield Case(row, program, licence, text, verdict, imprecise)


def _row(name: str, asm: str, columns: list[str], line: str) -> tuple[str, str, str]:
    inputs, _, verdict = line.partition("=>")
    for column, value in zip(columns, inputs.split(None, len(columns) - 1), strict=True):
        asm = asm.replace(f"{{{column}}}", value.strip().replace("\\", "\n"))
    return f"{name}: {inputs.strip()}", asm, verdict.strip()


@cache
def world() -> CollectionSpec:
    """What the programs refer to."""
    return read_source(VECTORS / "world.bpf.o")


def collection(cases: Sequence[Case], licence: str) -> CollectionSpec:
    """The programs of cases under one licence; their names are ``p0``, ``p1`` and so on."""
    programs = {f"p{number}": _program(f"p{number}", case) for number, case in enumerate(cases)}
    return replace(world(), license=licence, programs=programs, variables={})


def _program(name: str, case: Case) -> ProgramSpec:
    names = list(world().maps)
    text = _MAP.sub(lambda match: f"map[fd:{names.index(match[1])}]", case.asm)
    text = _TYPE.sub(lambda match: str(_type_id(match[1], Kind.STRUCT)), text)
    tags = tuple(tag.name for tag in _types().decl_tags(_type_id(case.program[1], Kind.FUNC)))
    handlers = {tag.removeprefix(EXCEPTION_CALLBACK) for tag in tags if tag.startswith(EXCEPTION_CALLBACK)}
    insns, starts = _assemble(text, handlers)
    kind = SECTIONS[case.program[0]]
    return ProgramSpec(
        name,
        kind.name,
        kind.type,
        insns,
        kind.attach_type,
        kind.flags,
        refs=dict(_refs(insns, names)),
        funcs=tuple(_function(index, name) for index, name in sorted({**starts, 0: case.program[1]}.items())),
        tags=tags,
    )


def _types() -> Btf:
    types = world().btf
    assert types is not None
    return types


def _type_id(name: str, kind: Kind) -> int:
    found = _types().find(name, kind)
    assert found is not None, name
    return found


def _refs(insns: Sequence[Insn], maps: Sequence[str]) -> Iterator[tuple[int, Ref]]:
    for index, insn in enumerate(insns):
        if insn.code == LDDW and insn.src == 1 and insn.imm < len(maps):
            yield index, MapRef(maps[insn.imm])
        elif insn.code == LDDW and insn.src == 2 and insn.imm < len(maps):
            yield index, MapValueRef(maps[insn.imm], insns[index + 1].imm)
        elif insn.code == CALL and insn.src == PseudoCall.KFUNC and insn.imm in _KFUNC_NAMES:
            yield index, KfuncRef(_KFUNC_NAMES[insn.imm])


def _assemble(text: str, handlers: set[str]) -> tuple[tuple[Insn, ...], dict[int, str]]:
    """The instructions of a text, and where its functions start: handlers, and labels that are called or whose address is taken."""
    called = sorted(
        handlers | {match[1] or match[2] for match in _FUNCTION.finditer(text)} - set(_HELPERS) - set(_KFUNCS)
    )
    probes = "".join(f"\nr0 = subprog[{label}]" for label in called)  # an assembler's answer to where a label is
    insns = assemble(text + probes, helpers=_HELPERS, kfuncs=_KFUNCS)
    end = len(insns) - 2 * len(called)
    starts = {end + 2 * at + insns[end + 2 * at].imm + 1: label for at, label in enumerate(called)}
    return insns[:end], starts


def _function(index: int, name: str) -> FuncInfo:
    types = _types()
    type_id = types.find(name, Kind.FUNC) or _type_id("sub", Kind.FUNC)
    func = types[type_id]
    assert isinstance(func, Func)
    return FuncInfo(index, name, type_id, func.linkage is Linkage.GLOBAL)
