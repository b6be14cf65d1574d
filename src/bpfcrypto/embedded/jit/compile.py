"""LLVM IR to machine code in this process: the one place that knows llvmlite."""

from __future__ import annotations

import functools
from typing import Any


class Unit:
    """Compiled code; lives as long as this object."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def address(self, symbol: str) -> int:
        """Where a function is, or 0 where there is none of that name."""
        return int(self._engine.get_function_address(symbol))


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def host_cpu() -> tuple[str, frozenset[str], str]:
    """LLVM's name of this CPU, the features it has, and its architecture (``x86_64``, ``aarch64``)."""
    llvm = _llvm()
    features = frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)
    architecture = llvm.get_default_triple().partition("-")[0]
    return llvm.get_host_cpu_name(), features, "aarch64" if architecture == "arm64" else architecture


def compile_ir(text: str, level: int) -> Unit:
    """Compile textual IR for this CPU.

    Args:
        text: a module.
        level: 0 compiles without passes, 1 to 3 are those of the optimiser.
    """
    llvm = _llvm()
    name, _, _ = host_cpu()
    # what is missing counts as well: a virtual machine may hide instructions that the CPU's name promises
    flags = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=name, features=flags, opt=level or 1, jit=True
    )
    module = llvm.parse_assembly(text)
    if level:
        builder = llvm.create_pass_builder(machine, llvm.PipelineTuningOptions(speed_level=level))
        builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return Unit(engine)
