"""From a program's blueprint to what BPF_PROG_LOAD takes: everything that only the running kernel can tell is filled in here.

CO-RE relocations are applied against the kernel's types, maps become file descriptors, kfuncs become BTF ids, and functions and
source lines become records that refer to the loaded types.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bpfcrypto.errors import NotSupportedError
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.insn import Insn
from bpfcrypto.isa.opcode import CALL
from bpfcrypto.kernel.bpf import LoadRequest
from bpfcrypto.kernel.btf import kernel_btf
from bpfcrypto.kernel.fd import Fd
from bpfcrypto.kernel.log import POISON_CALL
from bpfcrypto.kernel.objbtf import ObjectBtf
from bpfcrypto.spec import CollectionSpec, KfuncRef, MapRef, ProgramSpec, Ref

_INSN = struct.Struct("<BBhi")
_FUNC_INFO = struct.Struct("<II")
_LINE_INFO = struct.Struct("<IIII")
_SLOT = 8

# src_reg of an lddw or a call that says what its immediate is (include/uapi/linux/bpf.h, BPF_PSEUDO_*).
PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2
PSEUDO_BTF_ID = 3
PSEUDO_KFUNC_CALL = 2


@dataclass(frozen=True, slots=True)
class Infos:
    """func_info and line_info of one program, packed; b"" where it has none."""

    func: bytes = b""
    line: bytes = b""


def pack_infos(program: ProgramSpec, types: ObjectBtf) -> Infos:
    """Functions and source lines as records; new strings go into ``types``, so this comes before the types are loaded.

    The kernel wants every function to have a type and a first line; where one has not, the records are left out.
    """
    starts = {func.index for func in program.funcs}
    if not program.funcs or not all(func.type_id for func in program.funcs):
        return Infos()
    funcs = b"".join(_FUNC_INFO.pack(func.index, func.type_id) for func in program.funcs)
    if not starts <= {line.index for line in program.lines}:
        return Infos(funcs)
    lines = b"".join(
        _LINE_INFO.pack(
            line.index, types.string(line.file), types.string(line.text), line.line << 10 | min(line.column, 1023)
        )
        for line in program.lines
    )
    return Infos(funcs, lines)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A program that is ready to be loaded.

    Attributes:
        request: what to load.
        absent: weak kfuncs that this kernel does not have, in the order of the numbers that their calls were poisoned with.
    """

    request: LoadRequest
    absent: tuple[str, ...]


def prepare(
    program: ProgramSpec, spec: CollectionSpec, maps: Mapping[str, Fd], infos: Infos, btf_fd: Fd | None
) -> Prepared:
    """Fill in what the kernel knows.

    Args:
        program: one of the programs of ``spec``.
        spec: the object.
        maps: the maps it refers to.
        infos: its packed records.
        btf_fd: the object's types in the kernel, None where it has none.

    Raises:
        NotSupportedError: a kfunc that is not weak, or all kernel types, are missing.
        RelocationError: a CO-RE relocation cannot be applied.
    """
    code = bytearray(encode(_relocated(program, spec)))
    kfuncs = find_kfuncs(ref for ref in program.refs.values() if isinstance(ref, KfuncRef))
    absent = tuple(name for name, number in kfuncs.items() if number is None)
    for index, ref in program.refs.items():
        _patch(code, index, ref, maps, kfuncs, absent)
    return Prepared(
        LoadRequest(
            prog_type=program.type,
            insns=bytes(code),
            license=spec.license,
            name=program.name,
            flags=program.flags,
            expected_attach_type=program.attach_type or 0,
            btf_fd=btf_fd.fileno() if btf_fd is not None else 0,
            func_info=infos.func if btf_fd is not None else b"",
            line_info=infos.line if btf_fd is not None else b"",
        ),
        absent,
    )


def find_kfuncs(refs: Iterable[KfuncRef]) -> dict[str, int | None]:
    """The BTF id of each kfunc; None for a weak one that the kernel does not have.

    Raises:
        NotSupportedError: one that is not weak is missing.
    """
    found: dict[str, int | None] = {}
    for ref in sorted(refs, key=lambda ref: ref.name):
        found[ref.name] = kernel_btf().func_id(ref.name)
        if found[ref.name] is None and not ref.weak:
            raise NotSupportedError(
                f"kfunc '{ref.name}'",
                requires="a kernel that has it, built in",
                hint="declare it __weak and test its address before calling it, or use the embedded engine",
            )
    return found


def _relocated(program: ProgramSpec, spec: CollectionSpec) -> tuple[Insn, ...]:
    if not program.core or spec.btf is None:
        return program.insns
    from bpfcrypto.loader.core import apply_core

    return apply_core(program, spec.btf, kernel_btf())


def _patch(
    code: bytearray,
    index: int,
    ref: Ref,
    maps: Mapping[str, Fd],
    kfuncs: Mapping[str, int | None],
    absent: tuple[str, ...],
) -> None:
    at = index * _SLOT
    opcode, registers, off, _ = _INSN.unpack_from(code, at)
    target = registers & 0x0F
    if isinstance(ref, KfuncRef) and opcode == CALL:
        number = kfuncs[ref.name]
        source = PSEUDO_KFUNC_CALL if number is not None else 0
        number = POISON_CALL + absent.index(ref.name) if number is None else number
        _INSN.pack_into(code, at, opcode, source << 4, 0, number)
        return
    if isinstance(ref, KfuncRef):
        number = kfuncs[ref.name] or 0
        source, low, high = (PSEUDO_BTF_ID, number, 0) if number else (0, 0, 0)
    elif isinstance(ref, MapRef):
        source, low, high = PSEUDO_MAP_FD, maps[ref.name].fileno(), 0
    else:
        source, low, high = PSEUDO_MAP_VALUE, maps[ref.name].fileno(), ref.offset
    _INSN.pack_into(code, at, opcode, target | source << 4, off, low)
    _INSN.pack_into(code, at + _SLOT, 0, 0, 0, high)
