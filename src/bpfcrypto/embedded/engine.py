"""The embedded engine: an object's maps and programs in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Self

from bpfcrypto.abi.helpers import HELPERS as HELPER_TABLE
from bpfcrypto.abi.kfuncs import KFUNCS as KFUNC_TABLE
from bpfcrypto.crypto.skcipher import Skcipher
from bpfcrypto.embedded.contexts import CryptoContexts
from bpfcrypto.embedded.engine_collection import EmbeddedCollection
from bpfcrypto.embedded.engine_compile import Recipe
from bpfcrypto.embedded.engine_link import Linker
from bpfcrypto.embedded.engine_program import PROG_TYPES, EmbeddedProgram, Surface
from bpfcrypto.embedded.engine_slots import fill_with_maps, fill_with_programs
from bpfcrypto.embedded.engine_verify import judge_program, verify_program
from bpfcrypto.embedded.engine_world import World
from bpfcrypto.embedded.helpers import HELPERS
from bpfcrypto.embedded.interp import STEP_LIMIT, Interpreter
from bpfcrypto.embedded.kfuncs import kfuncs
from bpfcrypto.embedded.map_base import EmbeddedMap
from bpfcrypto.embedded.maps import TYPES, create_map
from bpfcrypto.embedded.objects import Objects, kernel_targets
from bpfcrypto.embedded.testrun import LOOPBACK
from bpfcrypto.embedded.usermem import UserMemory
from bpfcrypto.engine import Capabilities
from bpfcrypto.errors import MapTypeError, NotSupportedError, ObjectError, RunError
from bpfcrypto.source import as_judged, check_given, choose_programs, read_source
from bpfcrypto.spec import CollectionSpec

if TYPE_CHECKING:
    from types import TracebackType

    from bpfcrypto.crypto.provider import Bytes
    from bpfcrypto.crypto.skcipher import Algorithm, Cipher
    from bpfcrypto.embedded.engine_verify import Progress
    from bpfcrypto.embedded.usermem import UserBuffer
    from bpfcrypto.engine import Map, Source, Verdict
    from bpfcrypto.spec import ProgramSpec
    from bpfcrypto.verifier.facts import Facts

_WHY_NOT: Mapping[str, str] = {
    "attaching": "programs run when they are called; the kernel engine attaches them to interfaces",
}


def _silent(_line: str) -> None:
    """Where trace lines go unless asked for."""


class EmbeddedEngine:
    """Loads objects and runs them in this process, on any machine.

    Args:
        cpus: how many CPUs programs see; None for as many as this machine has.
        step_limit: instructions after which a run is stopped with a RunError; only the interpreter counts them, so with a limit
            programs are interpreted.
        trace: takes each line of bpf_trace_printk.
        interfaces: network interfaces that a test run's ctx may name: index -> number of receive queues.
        skb_linear: bytes of an skb that TC programs find between ``data`` and ``data_end``; None for all. The rest is where programs
            must first get it from with bpf_skb_pull_data, as in the skbs of real TCP connections (whose linear part ends behind the
            headers). The kernel's own test runs know only linear skbs up to Linux 6.18.
        user_memory: buffers that bpf_copy_from_user may read, each at its own address (``ctypes.addressof``). On the kernel engine a
            program reads all memory of this process without being told of it.
        verify: whether programs are verified by the kernel's rules before they are loaded. Without it a program runs unverified,
            with every access to memory checked.
        jit: whether programs run as machine code; None where they can: on a machine that llvmlite is installed on, verified, and
            without a step limit. ``BPFCRYPTO_JIT=0`` in the environment has them interpreted. Machine code gives the interpreter's
            results, some thousand times as fast.
        progress: takes, every twenty thousand instructions that the verifier visits, the program's name and their number so far.
        why_not: more to say in ``capabilities.why_not``.
    """

    def __init__(
        self,
        *,
        cpus: int | None = None,
        step_limit: int | None = None,
        trace: Callable[[str], None] = _silent,
        interfaces: Mapping[int, int] | None = None,
        skb_linear: int | None = None,
        user_memory: Iterable[UserBuffer] = (),
        verify: bool = True,
        jit: bool | None = None,
        progress: Progress | None = None,
        why_not: Mapping[str, str] | None = None,
    ) -> None:
        self._cpus = cpus or os.cpu_count() or 1
        self._world = World(self._cpus)
        self._step_limit = STEP_LIMIT if step_limit is None else step_limit
        self._trace = trace
        self._skb_linear = skb_linear
        self._user_memory = UserMemory(user_memory)
        self._verify = verify
        self._progress = progress
        self._jit = jit
        self._limited = step_limit is not None
        self._interfaces = {LOOPBACK: 1} if interfaces is None else dict(interfaces)
        self._more_why_not = why_not or {}

    def __repr__(self) -> str:
        return f"<EmbeddedEngine with {self._cpus} CPUs>"

    @property
    def name(self) -> str:
        return "embedded"

    @cached_property
    def capabilities(self) -> Capabilities:
        """What this engine can do; the same on every machine."""
        memory, rcu = self._world.memory, self._world.rcu
        known = kfuncs(CryptoContexts(memory, rcu), Objects(memory, rcu))
        return Capabilities(
            kfuncs=frozenset(name for name in KFUNC_TABLE if name in known),
            helpers=frozenset(helper.name for helper in HELPER_TABLE.values() if helper.name in HELPERS),
            prog_types=frozenset(kind.name for kind in PROG_TYPES),
            map_types=frozenset(kind.name for kind in TYPES),
            jit=self._compiles,
            why_not={
                **_WHY_NOT,
                **({} if self._compiles else {"machine code": self._why_interpreted}),
                **self._more_why_not,
            },
        )

    @cached_property
    def _compiles(self) -> bool:
        """Whether programs become machine code."""
        return not self._why_interpreted

    @cached_property
    def _make_cipher(self) -> Callable[[Algorithm, Bytes, bool], Cipher]:
        """Ciphers in machine code where programs are, if this processor has the instructions."""
        if self._compiles:
            from bpfcrypto.embedded.jit.aes_targets import supported
            from bpfcrypto.embedded.jit.compile import host

            if supported(host().features, host().architecture):
                from bpfcrypto.embedded.jit.native_cipher import NativeCipher

                return NativeCipher
        return Skcipher

    @cached_property
    def _why_interpreted(self) -> str:
        """Why programs are interpreted, in words; "" where they become machine code."""
        if self._jit is False or (self._jit is None and os.environ.get("BPFCRYPTO_JIT") == "0"):
            return "programs are interpreted, as was asked for"
        if not self._verify:
            return "programs that are not verified are interpreted"
        if self._limited:
            return "programs with a step limit are interpreted"
        from bpfcrypto.embedded.jit.compile import is_available

        return (
            "" if is_available() else "programs are interpreted, since llvmlite is not installed (pip install llvmlite)"
        )

    def load(
        self,
        source: Source | CollectionSpec,
        *,
        programs: Iterable[str] | None = None,
        maps: Mapping[str, Map] | None = None,
    ) -> EmbeddedCollection:
        """Create an object's maps and make its programs ready.

        Args:
            source: a path, the bytes of an ELF file, or a spec.
            programs: names of the programs to load; None loads every one that is marked for loading.
            maps: live maps of this engine that stand in for maps of the object; the collection holds them until it is closed.

        Raises:
            ObjectError: the object cannot be used, or has no such program.
            NotSupportedError: it needs a map type, helper or kfunc that this engine does not have.
            SyscallError: the kernel would refuse a map (BPF_MAP_CREATE).
            MapError: an initial element does not fit its map.
            MapTypeError: a live map is of another shape than the object's, or of another engine.
            VerifierError: the verifier rejects a program, or it uses a map that belongs to programs of another kind.
        """
        spec = read_source(source)
        chosen = choose_programs(spec, programs)
        memory, rcu = self._world.memory, self._world.rcu
        contexts = CryptoContexts(memory, rcu, make_cipher=self._make_cipher)
        objects = Objects(memory, rcu, spec.btf, targets=kernel_targets(contexts), cpus=self._cpus)
        surface = Surface(self._world, self._interfaces, self._trace, self._skb_linear, self._user_memory)
        given = maps or {}
        check_given(spec, given)
        with ExitStack() as undo:
            made: dict[str, EmbeddedMap] = {}
            for name, each in spec.maps.items():
                if name in given:
                    made[name] = self._hold(given[name])
                    undo.callback(made[name].drop)
                    continue
                made[name] = create_map(
                    each,
                    spec.btf,
                    memory,
                    contexts=contexts,
                    objects=objects,
                    cpus=self._cpus,
                    interfaces=self._interfaces,
                    home=surface,
                )
                undo.callback(made[name].close)
            own = {name: each for name, each in made.items() if name not in given}
            fill_with_maps(own, made)
            linker = Linker(spec, made, HELPERS, kfuncs(contexts, objects))
            ready = {each.name: self._program(linker, each, surface) for each in chosen}
            fill_with_programs(own, ready)
            for new in own.values():
                if new.spec.frozen:
                    new.freeze()
            undo.pop_all()
        return EmbeddedCollection(spec, surface, contexts, objects, made, ready, frozenset(given))

    def _hold(self, given: Map) -> EmbeddedMap:
        """A map of this engine, kept alive."""
        if not isinstance(given, EmbeddedMap) or given.memory is not self._world.memory:
            raise MapTypeError(f"map '{given.name}' is of another engine", hint="load both collections with one engine")
        given.hold()
        return given

    def _program(self, linker: Linker, program: ProgramSpec, surface: Surface) -> EmbeddedProgram:
        if program.type not in PROG_TYPES:
            raise NotSupportedError(
                f"program '{program.name}' of type {program.type.name}",
                requires="one of " + ", ".join(sorted(kind.name for kind in PROG_TYPES)),
            )
        recipe = Recipe(linker, program, self._cpus) if self._compiles else None
        kept = recipe.kept if recipe is not None else None
        facts = self._facts(linker, program) if kept is None and self._verify else None
        linked = linker.link(program)
        try:
            interpreter = Interpreter(
                program, linked.insns, linked.natives, step_limit=self._step_limit, at_once=recipe is None
            )
        except RunError as error:
            raise ObjectError(f"cannot be run: {error}", source=linker.spec.source, section=program.section) from error
        compile_ = recipe.compiler(linked, interpreter, facts, surface.runs) if recipe is not None else None
        known = kept or facts
        return EmbeddedProgram(interpreter, surface, compile_, ctx_size=known.ctx_size if known is not None else 0)

    def _facts(self, linker: Linker, program: ProgramSpec) -> Facts | None:
        """What the verifier knows of a program that it accepts. What neither it nor the engine has is the engine's to name."""
        said = verify_program(program, linker.spec, cpus=self._cpus, progress=self._progress)
        if not said.accepted:
            if said.diagnostic is not None and said.diagnostic.id == "not-modelled":
                linker.link(program)
            raise said.error()
        return said.facts

    def check(self, source: Source | CollectionSpec, *, programs: Iterable[str] | None = None) -> tuple[Verdict, ...]:
        """The verifier's verdict on each program, in file order; a rejection is a result here, not an exception.

        A map that user space gives its number of elements before loading is taken to have one.

        Maps are not created, and helpers and kfuncs that only the kernel engine can run are judged by the kernel's rules as well.

        Args:
            source: a path, the bytes of an ELF file, or a spec.
            programs: names of the programs to judge; None judges every one that is marked for loading.

        Raises:
            ObjectError: the object cannot be used, or has no such program.
        """
        spec = as_judged(read_source(source))
        return tuple(
            judge_program(program, spec, cpus=self._cpus, progress=self._progress)
            for program in choose_programs(spec, programs)
        )

    def close(self) -> None:
        """Nothing to give up: what was loaded belongs to its collections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
