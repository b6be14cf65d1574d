"""From a program to its machine code: found on disk, or made when it is first wanted.

Code that is found was compiled of the same instructions, maps and types, after the same verifier had accepted them. Such a program is
not verified again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.embedded.engine_verify import fitted
from bpfcrypto.embedded.map_array import ArrayMap
from bpfcrypto.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.engine_link import Linked, Linker
    from bpfcrypto.embedded.interp import Interpreter
    from bpfcrypto.embedded.jit.build import Built
    from bpfcrypto.embedded.jit.links import Link
    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.embedded.jit.runs import Runs
    from bpfcrypto.spec import ProgramSpec
    from bpfcrypto.verifier.facts import Facts


class Recipe:
    """How one program becomes machine code.

    Args:
        linker: what its references lead to.
        program: what it is.
        cpus: how many CPUs there can be.

    Attributes:
        kept: its code, where it was found on disk.
    """

    def __init__(self, linker: Linker, program: ProgramSpec, cpus: int) -> None:
        from bpfcrypto.embedded.jit.build import kept, name_of

        self._linker = linker
        self._program = program
        self._name = name_of(program, fitted(program, linker.spec), linker.spec, cpus)
        self.kept: Built | None = kept(self._name)

    def compiler(
        self, linked: Linked, interpreter: Interpreter, facts: Facts | None, runs: Runs
    ) -> Callable[[], MachineCode]:
        """What makes the machine code.

        Args:
            linked: its instructions and helpers.
            interpreter: the same program to interpret.
            facts: what the verifier knows of it, unless its code was found.
            runs: the runs of its collection.
        """

        def compile_() -> MachineCode:
            from bpfcrypto.embedded.jit.machine import MachineCode

            built = self.kept or self._build(linked, interpreter, facts)
            return MachineCode(interpreter, built, linked.natives, runs, self._resolve)

        return compile_

    def _build(self, linked: Linked, interpreter: Interpreter, facts: Facts | None) -> Built:
        from bpfcrypto.embedded.jit.build import build

        assert facts is not None
        callback = interpreter.exception_callback
        extra = () if callback is None else (callback,)
        return build(self._name, self._program, linked.insns, self._linker.spec, facts, extra=extra)

    def _resolve(self, link: Link) -> int:
        """The address behind an entry of the code's table."""
        if link.kind == "native":
            from bpfcrypto.embedded.jit import runtime

            return runtime.address(link.name)
        target = self._linker.maps[link.name]
        if link.kind == "map":
            return target.address
        if link.kind == "value" and isinstance(target, ArrayMap):
            return target.value_address(0)
        raise InternalError(f"compiled code refers to {link.kind} '{link.name}', which does not exist")
