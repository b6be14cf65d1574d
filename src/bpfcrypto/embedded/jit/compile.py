"""From LLVM IR text to machine code in this process: the only module that imports llvmlite.

A module is compiled once into an object, relocatable and without a single address of this process in it, so that it can be kept on
disk (:mod:`bpfcrypto.embedded.jit.cache`). Linking an object gives a :class:`Unit`: its functions and its own copy of its writable
data. What a program refers to (maps, functions of ours) goes into that data after linking.

Every compilation has a target machine of its own, and every unit a linker: threads need nothing but the lock around LLVM itself.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

from bpfcrypto.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterable

_LOCK = threading.RLock()

_WORTH_PASSES = 1000
"""Instructions of a program up to which passes are worth their time."""


class Passes(Enum):
    """What is done to a module before code is generated; the value names passes of llvmlite, where they are not LLVM's own choice."""

    NONE = ()
    LIGHT = (
        "sroa",
        "simplify_cfg",
        "instruction_combine",
        "new_gvn",
        "dead_store_elimination",
        "simplify_cfg",
    )
    FULL = ("O2",)


@dataclass(frozen=True, slots=True)
class Host:
    """The processor that code is made for.

    Attributes:
        triple: LLVM's name of the machine and system.
        cpu: LLVM's name of the processor.
        features: what it can do, as LLVM names it.
        flags: the same for LLVM, with what is missing: a virtual machine may hide instructions that the name promises.
    """

    triple: str
    cpu: str
    features: frozenset[str]
    flags: str

    @property
    def architecture(self) -> str:
        """``x86_64``, ``aarch64``, ..."""
        name = self.triple.partition("-")[0]
        return "aarch64" if name == "arm64" else name

    @property
    def identity(self) -> str:
        """What decides which code may run here."""
        return f"{self.triple} {self.cpu} {self.flags} {_version()}"


@cache
def is_available() -> bool:
    """Whether llvmlite is installed and usable here."""
    try:
        _llvm()
    except (ImportError, OSError):
        return False
    return True


def _llvm() -> Any:
    with _LOCK:
        return _initialised()


@cache
def _initialised() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _version() -> str:
    import llvmlite

    return "llvmlite {} LLVM {}".format(llvmlite.__version__, ".".join(map(str, _llvm().llvm_version_info)))


@cache
def host() -> Host:
    """The processor of this machine."""
    llvm = _llvm()
    features = llvm.get_host_cpu_features()
    return Host(
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        frozenset(name for name, on in features.items() if on),
        features.flatten(),
    )


def passes_for(insns: int, *, loops: bool) -> Passes:
    """What a program of so many instructions is worth. Only loops gain from the dearer passes, which vectorise and unroll them."""
    if insns > _WORTH_PASSES:
        return Passes.NONE
    return Passes.FULL if loops else Passes.LIGHT


def compile_object(text: str, passes: Passes = Passes.FULL) -> bytes:
    """The object file of a module.

    Args:
        text: LLVM IR.
        passes: what is done to it; without any, code generation is that of O1.

    Raises:
        InternalError: LLVM refuses the text, which is a defect of whoever wrote it.
    """
    llvm = _llvm()
    with _LOCK:
        machine = llvm.Target.from_triple(host().triple).create_target_machine(
            cpu=host().cpu,
            features=host().flags,
            opt=1 if passes is Passes.NONE else 2,
            reloc="pic",
            codemodel="small",
            jit=True,
        )
        try:
            module = llvm.parse_assembly(text, llvm.create_context())
            module.triple = host().triple
            module.data_layout = str(machine.target_data)
            module.verify()
        except RuntimeError as error:
            raise InternalError("LLVM refuses the code made for a program", state=str(error)) from error
        if passes is not Passes.NONE:
            builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
            _manager(llvm, builder, passes).run(module, builder)
        return bytes(machine.emit_object(module))


def _manager(llvm: Any, builder: Any, passes: Passes) -> Any:
    if passes is Passes.FULL:
        return builder.getModulePassManager()
    manager = llvm.create_new_module_pass_manager()
    for name in passes.value:
        getattr(manager, f"add_{name}_pass")()
    return manager


class Unit:
    """Linked machine code; it is unloaded when the last reference to it goes.

    Args:
        image: the object file.
        symbols: names whose addresses are wanted.
    """

    def __init__(self, image: bytes, symbols: Iterable[str]) -> None:
        llvm = _llvm()
        builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
        for name in symbols:
            builder.export_symbol(name)
        with _LOCK:
            # a linker never forgets the libraries it has linked, so each has its own, and both go together
            machine = llvm.Target.from_triple(host().triple).create_target_machine(jit=True)
            self._linker = llvm.create_lljit_compiler(machine)
            self._library = builder.link(self._linker, "unit")

    def address(self, symbol: str) -> int:
        """Where a function or a datum is; one of ``symbols``."""
        return int(self._library[symbol])
