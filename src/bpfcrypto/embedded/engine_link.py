"""From a program's blueprint to what the interpreter takes: references become addresses, calls become Python functions.

CO-RE relocations are applied against our own types (abi/kernel.btf), so that an object behaves alike on every machine. A call that
could never work is refused here, by name: a helper or kfunc that the engine does not have, or that this type of program or its
licence may not call. (The kernel's verifier says the same of the reachable ones.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from errno import EINVAL
from typing import TYPE_CHECKING

from bpfcrypto.abi.helpers import BY_NAME, GPL_COMPATIBLE, HELPERS
from bpfcrypto.abi.helpers import name as helper_name
from bpfcrypto.abi.kfuncs import KFUNCS
from bpfcrypto.abi.progs import ProgFlag
from bpfcrypto.embedded.engine_verify import fitted
from bpfcrypto.embedded.map_array import ArrayMap
from bpfcrypto.embedded.memory import AccessFault
from bpfcrypto.errors import NotSupportedError, RelocationError, VerifierError
from bpfcrypto.isa.opcode import CALL, PseudoCall
from bpfcrypto.loader.core import POISON
from bpfcrypto.spec import KfuncRef, MapRef, MapValueRef

if TYPE_CHECKING:
    from bpfcrypto.abi.helpers import Helper
    from bpfcrypto.abi.kfuncs import Kfunc
    from bpfcrypto.embedded.map_base import EmbeddedMap
    from bpfcrypto.embedded.state import Native, RunState
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import CollectionSpec, ProgramSpec

_PRESENT = 1  # the address that a weak kfunc has where it exists; programs only compare it with NULL


@dataclass(frozen=True, slots=True)
class Linked:
    """A program with every reference resolved.

    Attributes:
        insns: the instructions.
        natives: slot of a helper or kfunc call -> the function that runs it.
    """

    insns: tuple[Insn, ...]
    natives: Mapping[int, Native]


@dataclass(frozen=True, slots=True)
class Linker:
    """Resolves the references of one collection's programs.

    Attributes:
        spec: the object.
        maps: its live maps.
        helpers, kfuncs: what programs can call, by name.
    """

    spec: CollectionSpec
    maps: Mapping[str, EmbeddedMap]
    helpers: Mapping[str, Native]
    kfuncs: Mapping[str, Native]

    def link(self, program: ProgramSpec) -> Linked:
        """Resolve a program.

        Raises:
            NotSupportedError: it calls what it cannot have.
            RelocationError: a reference or CO-RE relocation that cannot be resolved.
            VerifierError: a map that holds programs belongs to another kind.
        """
        insns = list(fitted(program, self.spec))
        natives: dict[int, Native] = {}
        for slot, insn in enumerate(insns):
            ref = program.refs.get(slot)
            if insn.code == CALL and isinstance(ref, KfuncRef):
                insns[slot] = replace(insn, src=PseudoCall.KFUNC)
                natives[slot] = self._kfunc(program, ref)
            elif insn == POISON:
                natives[slot] = _unreachable("this code needs a kernel type, field or value that does not exist here")
            elif insn.code == CALL and insn.src == PseudoCall.HELPER:
                natives[slot] = self._helper(program, insn.imm)
            elif ref is not None:
                insns[slot : slot + 2] = _lddw(insn, insns[slot + 1], self._address(ref))
        self._check_maps(program)
        return Linked(tuple(insns), natives)

    def _address(self, ref: MapRef | MapValueRef | KfuncRef) -> int:
        if isinstance(ref, KfuncRef):
            if ref.name not in self.kfuncs and not ref.weak:
                raise _missing("kfunc", ref.name)
            return _PRESENT if ref.name in self.kfuncs else 0
        target = self.maps.get(ref.name)
        if target is None:
            raise RelocationError(f"there is no map '{ref.name}'", source=self.spec.source)
        if isinstance(ref, MapRef):
            return target.address
        if not isinstance(target, ArrayMap):
            raise RelocationError(
                f"map '{ref.name}' of type {target.spec.type.name} has no value at a fixed address",
                source=self.spec.source,
            )
        return target.value_address(ref.offset)

    def _check_maps(self, program: ProgramSpec) -> None:
        """Maps that hold programs take those of one kind, and belong to programs of that kind (bpf_check_tail_call)."""
        for name in {ref.name for ref in program.refs.values() if isinstance(ref, MapRef)}:
            owner = self.maps[name].owner
            if owner is not None and not owner.admits(program):
                raise VerifierError(
                    f"map '{name}' belongs to programs of type {owner.likeness}",
                    program=program.name,
                    errno=EINVAL,
                    hint="give each kind of program a map of its own",
                )

    def _helper(self, program: ProgramSpec, number: int) -> Native:
        known = HELPERS.get(number)
        if known is None:
            raise _missing("helper", helper_name(number))
        native = self.helpers.get(known.name)
        if native is None:
            raise _missing("helper", known.name)
        self._check("helper", known, program, gpl_only=known.gpl_only)
        if known.sleepable and not program.flags & ProgFlag.SLEEPABLE:
            raise NotSupportedError(
                f"program '{program.name}': helper '{known.name}', which may sleep", requires="a sleepable program"
            )
        return native

    def _kfunc(self, program: ProgramSpec, ref: KfuncRef) -> Native:
        native = self.kfuncs.get(ref.name)
        if native is None:
            if ref.weak:
                return _unreachable(f"weak kfunc '{ref.name}' was called, though its address is 0")
            raise _missing("kfunc", ref.name)
        self._check("kfunc", KFUNCS[ref.name], program, gpl_only=True)
        return native

    def _check(self, kind: str, callee: Helper | Kfunc, program: ProgramSpec, *, gpl_only: bool) -> None:
        if program.type not in callee.types:
            allowed = ", ".join(sorted(each.name for each in callee.types)) or "none that bpfcrypto loads"
            raise NotSupportedError(
                f"program '{program.name}': {kind} '{callee.name}' in a program of type {program.type.name}",
                requires=f"types that may call it: {allowed}",
            )
        if gpl_only and self.spec.license not in GPL_COMPATIBLE:
            raise NotSupportedError(
                f"program '{program.name}': {kind} '{callee.name}' under the licence '{self.spec.license}'",
                requires="a licence that is compatible with the GPL",
                hint='add: char LICENSE[] SEC("license") = "GPL";',
            )


def _lddw(first: Insn, second: Insn, value: int) -> tuple[Insn, Insn]:
    low, high = value & 0xFFFFFFFF, value >> 32
    return replace(first, src=0, imm=_signed(low)), replace(second, imm=_signed(high))


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _missing(kind: str, name: str) -> NotSupportedError:
    known = KFUNCS.get(name) or BY_NAME.get(name)
    return NotSupportedError(
        f"{kind} '{name}'",
        requires="the embedded engine does not have it"
        + (f" because {known.reason}" if known and known.reason else ""),
        hint="the kernel engine may: open_engine('kernel')",
    )


def _unreachable(message: str) -> Native:
    """What stands for a call that the program's own checks keep it from."""

    def native(_run: RunState, *_: int) -> int:
        raise AccessFault(message)

    return native
