"""Programs as text with everything around them: maps, kfuncs, functions and their types, from a few fixed words.

The text is assembly in the form of the kernel's log with labels. What an instruction refers to is named: ``map[array]`` is a map of
MAPS, ``map[data][0]+8`` an address in its value, ``call bpf_rcu_read_lock`` a kfunc. The first line is ``type tc`` (or xdp, syscall),
``func NAME PROTO`` starts a subprogram: PROTO is one of PROTOS, and those whose name begins with ``global`` make a global function.
A line can be dropped from a text and the rest still be one, which is what makes it easy to shrink.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from bpfcrypto.abi.helpers import BY_NAME
from bpfcrypto.abi.kfuncs import KFUNCS
from bpfcrypto.abi.maps import MapFlag, MapType
from bpfcrypto.abi.progs import ProgFlag, ProgType
from bpfcrypto.btf.reader import read_btf
from bpfcrypto.btf.types import Btf, Composite, DeclTag, Func, FuncProto, Int, Kind, Linkage, Member, Param, Ref
from bpfcrypto.btf.writer import BtfWriter
from bpfcrypto.isa.asm import assemble
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL, LDDW, PseudoCall, PseudoImm
from bpfcrypto.spec import CollectionSpec, FuncInfo, KfuncRef, MapRef, MapSpec, MapValueRef, ProgramSpec
from bpfcrypto.spec import Ref as SpecRef

TYPES: Final = {"tc": ProgType.SCHED_CLS, "xdp": ProgType.XDP, "syscall": ProgType.SYSCALL}
PROTOS: Final = (
    "static",
    "callback",
    "global_scalar",
    "global_mem",
    "global_nonnull",
    "global_ctx",
    "global_dynptr",
)
DATA_SIZE: Final = 64
_CIPHER: Final = b"skcipher".ljust(16, b"\0") + b"ecb(aes)".ljust(128, b"\0") + bytes(range(256)) + b"\x10" + bytes(7)
_CTX_STRUCT: Final = {ProgType.SCHED_CLS: "__sk_buff", ProgType.XDP: "xdp_md", ProgType.SYSCALL: "args"}
_DATA: Final = bytes((37 * i + 5) & 0xFF for i in range(DATA_SIZE))

MAPS: Final = {
    "array": MapSpec("array", MapType.ARRAY, 4, 48, 2),
    "hash": MapSpec("hash", MapType.HASH, 8, 16, 8),
    "data": MapSpec("data", MapType.ARRAY, 4, DATA_SIZE, 1, data=_DATA),
    "consts": MapSpec("consts", MapType.ARRAY, 4, 32, 1, flags=MapFlag.RDONLY_PROG, data=_DATA[:32], frozen=True),
    "params": MapSpec("params", MapType.ARRAY, 4, 408, 1, data=_CIPHER),
    "ring": MapSpec("ring", MapType.RINGBUF, 0, 0, 4096),
    "tails": MapSpec("tails", MapType.PROG_ARRAY, 4, 4, 2),
    "queue": MapSpec("queue", MapType.QUEUE, 0, 8, 4),
    "ctxs": MapSpec("ctxs", MapType.ARRAY, 4, 16, 2),
    "locks": MapSpec("locks", MapType.ARRAY, 4, 24, 2),
}
_TYPED: Final = {"ctxs": "holder", "locks": "guarded"}
_NAMES: Final = tuple(MAPS)
_KFUNCS: Final = {name: number for number, name in enumerate(KFUNCS)}
_KFUNC_NAMES: Final = tuple(KFUNCS)
_HELPERS: Final = {name: helper.id for name, helper in BY_NAME.items()}
_MAP: Final = re.compile(r"map\[(\w+)\]")
_WIDE: Final = re.compile(r"\s*r\d+ = (0x|map\[|subprog\[)")


def assembled(text: str) -> CollectionSpec:
    """The object that a text describes; its program is ``main``.

    Raises:
        AssembleError: a line is no instruction, or a label is missing.
        ValueError: there is no such map, program type or prototype.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(";")]
    kind = TYPES[lines[0].split()[1]] if lines and lines[0].startswith("type ") else ProgType.SCHED_CLS
    functions = [("main", "main", 0)]
    source: list[str] = []
    slot = 0
    for line in lines:
        words = line.split()
        if words[0] == "type":
            continue
        if words[0] == "func":
            name, proto = words[1], words[2]
            if proto not in PROTOS:
                raise ValueError(f"no prototype '{proto}'")
            functions.append((name, proto, slot))
            source.append(f"{name}:")
            continue
        source.append(_MAP.sub(lambda found: f"map[fd:{_number(found[1])}]", line))
        if not words[0].endswith(":"):
            slot += 2 if _WIDE.match(line) else 1
    insns, refs = _referring(assemble("\n".join(source), helpers=_HELPERS, kfuncs=_KFUNCS))
    types, ids = _types(kind, tuple((name, proto) for name, proto, _ in functions))
    funcs = tuple(
        FuncInfo(start, name, type_id=type_id, is_global=proto.startswith("global"))
        for (name, proto, start), type_id in zip(functions, ids, strict=True)
    )
    flags = ProgFlag.SLEEPABLE if kind is ProgType.SYSCALL else ProgFlag(0)
    program = ProgramSpec("main", lines[0].split()[1], kind, insns, flags=flags, refs=refs, funcs=funcs)
    used = {ref.name for ref in refs.values() if isinstance(ref, MapRef | MapValueRef)}
    maps = {name: _map(name, types) for name in _NAMES if name in used}
    return CollectionSpec("<text>", "GPL", btf=types, programs={"main": program}, maps=maps)


def _number(name: str) -> int:
    if name not in _NAMES:
        raise ValueError(f"no map '{name}'")
    return _NAMES.index(name)


def _map(name: str, types: Btf) -> MapSpec:
    from dataclasses import replace

    if name not in _TYPED:
        return MAPS[name]
    return replace(MAPS[name], key_type=types.find("u32") or 0, value_type=types.find(_TYPED[name]) or 0)


def _referring(code: tuple[Insn, ...]) -> tuple[tuple[Insn, ...], dict[int, SpecRef]]:
    """The instructions without the numbers that stood for names, and the names by slot."""
    insns, refs = list(code), dict[int, SpecRef]()
    for index, insn in enumerate(code):
        if insn.code == LDDW and insn.src in (PseudoImm.MAP_FD, PseudoImm.MAP_VALUE) and insn.imm < len(_NAMES):
            name = _NAMES[insn.imm]
            value = insn.src == PseudoImm.MAP_VALUE
            refs[index] = MapValueRef(name, code[index + 1].imm) if value else MapRef(name)
            insns[index] = Insn(LDDW, insn.dst, insn.src)
            insns[index + 1] = Insn(0)
        elif insn.code == CALL and insn.src == PseudoCall.KFUNC:
            refs[index] = KfuncRef(_KFUNC_NAMES[insn.imm])
            insns[index] = Insn(CALL, src=PseudoCall.KFUNC, imm=-1)
    return tuple(insns), refs


@cache
def _types(kind: ProgType, functions: tuple[tuple[str, str], ...]) -> tuple[Btf, tuple[int, ...]]:
    """The types of the maps' values and of the functions, and the functions' ids."""
    writer = BtfWriter()
    u32 = writer.add(Int("u32", 4, 32))
    u64 = writer.add(Int("u64", 8, 64))
    integer = writer.add(Int("int", 4, 32, signed=True))
    context = writer.add(Composite(Kind.STRUCT, _CTX_STRUCT[kind], 8, (Member("first", u64, 0),)))
    crypto = writer.add(Composite(Kind.STRUCT, "bpf_crypto_ctx", 0, ()))
    tagged = writer.add(Ref(Kind.TYPE_TAG, crypto, "kptr"))
    kptr = writer.add(Ref(Kind.PTR, tagged))
    writer.add(Composite(Kind.STRUCT, "holder", 16, (Member("ctx", kptr, 0), Member("n", u64, 64))))
    lock = writer.add(Composite(Kind.STRUCT, "bpf_spin_lock", 4, (Member("val", u32, 0),)))
    members = (Member("lock", lock, 0), Member("n", u32, 32), Member("x", u64, 64), Member("y", u64, 128))
    writer.add(Composite(Kind.STRUCT, "guarded", 24, members))
    cell = writer.add(Composite(Kind.STRUCT, "cell", 16, (Member("a", u64, 0), Member("b", u64, 64))))
    dynptr = writer.add(Composite(Kind.STRUCT, "bpf_dynptr", 16, (Member("__opaque", u64, 0), Member("o", u64, 64))))
    const_dynptr = writer.add(Ref(Kind.CONST, dynptr))
    pointer = {name: writer.add(Ref(Kind.PTR, to)) for name, to in (("ctx", context), ("cell", cell))}
    pointer["dynptr"] = writer.add(Ref(Kind.PTR, const_dynptr))
    anything = writer.add(Ref(Kind.PTR, 0))
    made = {
        "main": (pointer["ctx"],) if kind is not ProgType.SYSCALL else (anything,),
        "static": (u64, u64),
        "callback": (u32, anything),
        "global_scalar": (u64, integer),
        "global_mem": (pointer["cell"], u32),
        "global_nonnull": (pointer["cell"], u32),
        "global_ctx": (pointer["ctx"], u64),
        "global_dynptr": (pointer["dynptr"], u32),
    }
    ids = []
    for name, proto in functions:
        params = tuple(Param(f"a{at}", each) for at, each in enumerate(made[proto]))
        linkage = Linkage.STATIC if proto in ("static", "callback") else Linkage.GLOBAL
        ids.append(writer.add(Func(name, writer.add(FuncProto(integer, params)), linkage)))
        if proto == "global_nonnull":
            writer.add(DeclTag("arg:nonnull", ids[-1], 0))
        if proto == "global_ctx":
            writer.add(DeclTag("arg:ctx", ids[-1], 0))
    return read_btf(writer.to_bytes(), source="<text>"), tuple(ids)
