"""From a linked program to its machine code, when it is first wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcrypto.embedded.map_array import ArrayMap
from bpfcrypto.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfcrypto.embedded.engine_link import Linked, Linker
    from bpfcrypto.embedded.interp import Interpreter
    from bpfcrypto.embedded.jit.links import Link
    from bpfcrypto.embedded.jit.machine import MachineCode
    from bpfcrypto.embedded.jit.runs import Runs
    from bpfcrypto.verifier.facts import Facts


def compiler(
    linker: Linker, linked: Linked, interpreter: Interpreter, facts: Facts, runs: Runs
) -> Callable[[], MachineCode]:
    """What makes the machine code of an accepted program.

    Args:
        linker: what its references lead to.
        linked: its instructions and helpers.
        interpreter: the same program to interpret.
        facts: what the verifier knows of it.
        runs: the runs of its collection.
    """

    def resolve(link: Link) -> int:
        if link.kind == "native":
            from bpfcrypto.embedded.jit import runtime

            return runtime.address(link.name)
        target = linker.maps[link.name]
        if link.kind == "map":
            return target.address
        if link.kind == "value" and isinstance(target, ArrayMap):
            return target.value_address(0)
        raise InternalError(f"compiled code refers to {link.kind} '{link.name}', which does not exist")

    def compile_() -> MachineCode:
        from bpfcrypto.embedded.jit.build import build
        from bpfcrypto.embedded.jit.machine import MachineCode

        callback = interpreter.exception_callback
        built = build(interpreter.spec, linked.insns, linker.spec, facts, extra=() if callback is None else (callback,))
        return MachineCode(interpreter, built, linked.natives, runs, resolve)

    return compile_
