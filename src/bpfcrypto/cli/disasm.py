"""``bpfcrypto disasm``: instructions in the kernel's text form, with functions, source lines and names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.cli.objects import FILE, read_spec, require_program

if TYPE_CHECKING:
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import ProgramSpec


@click.command()
@click.argument("file", type=FILE)
@click.option("-p", "--program", metavar="NAME", help="Only this program.")
def disasm(file: Path, program: str | None) -> None:
    """Print an object's instructions with their source lines.

    FILE is an object or a .bpf.c file. The text is that of the kernel's verifier log, with the names of maps, functions, helpers and
    kfuncs; numbers in front are instruction slots.
    """
    spec = read_spec(file)
    if program is not None:
        require_program(spec, program)
    for name, each in spec.programs.items():
        if program in (None, name):
            for line in listing(each):
                click.echo(line)


def listing(program: ProgramSpec) -> Iterator[str]:
    """The lines of one program: a head, and the body of each function."""
    from bpfcrypto.isa.disasm import disassemble
    from bpfcrypto.isa.opcode import CALL, PseudoCall

    yield f"{program.name}: section '{program.section}', {program.type.name}, {len(program.insns)} instructions"
    functions = {function.index: function.name for function in program.funcs}
    lines = {line.index: line for line in program.lines}
    for text in disassemble(program.insns, names=Names(program)):
        slot = int(text.partition(":")[0])
        if slot in functions:
            yield f"{functions[slot]}():"
        if slot in lines and lines[slot].text:
            yield f"; {lines[slot].text.strip()} @ {lines[slot].file}:{lines[slot].line}"
        called = program.insns[slot]
        target = functions.get(slot + 1 + called.imm) if called.code == CALL and called.src == PseudoCall.BPF else None
        yield f"{text} ; {target}()" if target else text
    yield ""


class Names:
    """What the calls and addresses of a program refer to, for the disassembler."""

    def __init__(self, program: ProgramSpec) -> None:
        self._program = program

    def __call__(self, slot: int, insn: Insn) -> str | None:
        from bpfcrypto.abi.helpers import HELPERS
        from bpfcrypto.isa.opcode import CALL, PseudoCall
        from bpfcrypto.spec import KfuncRef, MapRef, MapValueRef

        match self._program.refs.get(slot):
            case MapRef(name):
                return f"map[{name}]"
            case MapValueRef(name, offset):
                return f"map[{name}][0]+{offset}"
            case KfuncRef(name):
                return name
        if insn.code != CALL or insn.src != PseudoCall.HELPER:
            return None
        return HELPERS[insn.imm].name if insn.imm in HELPERS else None
