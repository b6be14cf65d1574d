"""What the kernel checks of a program's function and line records before it looks at the code.

Records go with the program only where they can be complete: functions where every one has a type, lines where every function has a
first one. A program without function records may still have subprograms, but those may not load from the packet by LD_ABS or make
tail calls, since such an instruction may return from the program with a value whose type nobody has checked.

Source: kernel/bpf/verifier.c of 6.18 (check_btf_func_early, check_btf_func, check_btf_line, check_abnormal_return).
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.btf.types import Enum, Func, FuncProto, Int
from bpfcrypto.verifier.cfg import Flow, has_legacy_load, has_tail_call
from bpfcrypto.verifier.state import Rejected

if TYPE_CHECKING:
    from bpfcrypto.btf.types import Btf
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import LineInfo, ProgramSpec


def has_func_info(program: ProgramSpec, types: Btf | None) -> bool:
    """Whether the program is loaded with function records."""
    return types is not None and bool(program.funcs) and all(func.type_id for func in program.funcs)


def line_info(program: ProgramSpec, types: Btf | None) -> tuple[LineInfo, ...]:
    """The line records that the program is loaded with."""
    if not has_func_info(program, types):
        return ()
    starts = {func.index for func in program.funcs}
    return program.lines if starts <= {line.index for line in program.lines} else ()


def check_types(program: ProgramSpec, types: Btf | None) -> None:
    """The first look at function records: that they are in order and name functions.

    Raises:
        Rejected: EINVAL.
    """
    if not has_func_info(program, types):
        return
    assert types is not None
    previous = -1
    for number, func in enumerate(program.funcs):
        if number == 0 and func.index:
            raise Rejected(EINVAL, f"nonzero insn_off {func.index} for the first func info record")
        if func.index <= previous:
            raise Rejected(
                EINVAL, f"same or smaller insn offset ({func.index}) than previous func info record ({previous})"
            )
        if func.type_id >= len(types) or not isinstance(types[func.type_id], Func):
            raise Rejected(EINVAL, f"invalid type id {func.type_id} in func info")
        previous = func.index


def check_records(flow: Flow, program: ProgramSpec, types: Btf | None, insns: Sequence[Insn]) -> None:
    """The second look, at functions and lines against the code.

    Raises:
        Rejected: EINVAL.
    """
    if not has_func_info(program, types):
        check_abnormal_return(flow, insns)
        return
    assert types is not None
    if len(program.funcs) != len(flow.subprograms):
        raise Rejected(EINVAL, "number of funcs in func_info doesn't match number of subprogs")
    for number, (subprogram, func) in enumerate(zip(flow.subprograms, program.funcs, strict=True)):
        if subprogram.start != func.index:
            raise Rejected(EINVAL, "func_info BTF section doesn't match subprog layout in BPF program")
        if number and not _returns_scalar(types, func.type_id):
            end = flow.end(number)
            if has_legacy_load(insns, subprogram.start, end):
                raise Rejected(EINVAL, "LD_ABS is only allowed in functions that return 'int'.")
            if has_tail_call(insns, subprogram.start, end):
                raise Rejected(EINVAL, "tail_call is only allowed in functions that return 'int'.")
    _check_lines(flow, line_info(program, types), insns)


def check_abnormal_return(flow: Flow, insns: Sequence[Insn]) -> None:
    """That subprograms without types return only where they say so.

    Raises:
        Rejected: EINVAL.
    """
    for number, subprogram in enumerate(flow.subprograms[1:], 1):
        if has_legacy_load(insns, subprogram.start, flow.end(number)):
            raise Rejected(EINVAL, "LD_ABS is not allowed in subprogs without BTF")
        if has_tail_call(insns, subprogram.start, flow.end(number)):
            raise Rejected(EINVAL, "tail_call is not allowed in subprogs without BTF")


def _returns_scalar(types: Btf, func_id: int) -> bool:
    func = types[func_id]
    proto = types[func.type_id] if isinstance(func, Func) else None
    if not isinstance(proto, FuncProto):
        return False
    returned = types[types.resolve(proto.returns)]
    return isinstance(returned, Enum) or (isinstance(returned, Int) and returned.size <= 8)


def _check_lines(flow: Flow, lines: Sequence[LineInfo], insns: Sequence[Insn]) -> None:
    previous, expected = 0, 0
    starts = [subprogram.start for subprogram in flow.subprograms]
    for number, line in enumerate(lines):
        if (number and line.index <= previous) or line.index >= len(insns):
            raise Rejected(
                EINVAL,
                f"Invalid line_info[{number}].insn_off:{line.index} (prev_offset:{previous} prog->len:{len(insns)})",
            )
        if not insns[line.index].code:
            raise Rejected(EINVAL, f"Invalid insn code at line_info[{number}].insn_off")
        if expected < len(starts):
            if line.index == starts[expected]:
                expected += 1
            elif starts[expected] < line.index:
                raise Rejected(EINVAL, f"missing bpf_line_info for func#{expected}")
        previous = line.index
    if lines and expected != len(starts):
        left = len(starts) - expected
        raise Rejected(EINVAL, f"missing bpf_line_info for {left} funcs starting from func#{expected}")
