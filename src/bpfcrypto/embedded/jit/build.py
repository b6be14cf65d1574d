"""A program's machine code, from disk where it has been compiled before.

The object depends on the bytecode, on what the verifier found out about it (which follows from the bytecode, the maps and the types),
on the processor, and on this package; the hash of all of these is its name in the cache.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit import cache
from bpfcrypto.embedded.jit.compile import compile_object, host, passes_for
from bpfcrypto.embedded.jit.links import Link
from bpfcrypto.embedded.jit.lower import Lowered, lower
from bpfcrypto.embedded.jit.stamp import stamp
from bpfcrypto.isa.codec import encode
from bpfcrypto.spec import KfuncRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.spec import CollectionSpec, ProgramSpec
    from bpfcrypto.verifier.facts import Facts

_COUNT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Built:
    """Compiled code that has not been linked.

    Attributes:
        image: the object file.
        links, requests, exports: as in :class:`~bpfcrypto.embedded.jit.lower.Lowered`.
        names: functions that are called by name.
    """

    image: bytes
    links: tuple[Link, ...]
    requests: Mapping[int, str]
    exports: tuple[int, ...]
    names: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """All of it as bytes."""
        head = json.dumps([self.links, list(self.requests.items()), self.exports, self.names]).encode()
        return len(head).to_bytes(_COUNT_BYTES, "little") + head + self.image

    @classmethod
    def unpack(cls, data: bytes) -> Built:
        """The reverse of :meth:`pack`."""
        start = _COUNT_BYTES + int.from_bytes(data[:_COUNT_BYTES], "little")
        links, requests, exports, names = json.loads(data[_COUNT_BYTES:start])
        return cls(data[start:], tuple(Link(*each) for each in links), dict(requests), tuple(exports), tuple(names))


def build(
    program: ProgramSpec, insns: tuple[Insn, ...], spec: CollectionSpec, facts: Facts, *, extra: Iterable[int] = ()
) -> Built:
    """The code of an accepted program.

    Args:
        program: what it is.
        insns: its instructions, every reference resolved.
        spec: the collection that it belongs to.
        facts: what the verifier knows of it.
        extra: slots of more functions that are called from outside.
    """
    name = cache.key(*_identity(program, insns, spec), repr(sorted(extra)))

    def make() -> bytes:
        return compile_lowered(lower(program, insns, spec.maps, facts, extra=extra), len(insns)).pack()

    return Built.unpack(cache.remembered(name, make))


def compile_lowered(lowered: Lowered, size: int) -> Built:
    """Compile a module that stands for ``size`` instructions."""
    image = compile_object(lowered.text, passes_for(size, loops=lowered.loops))
    return Built(image, lowered.links, lowered.requests, lowered.exports)


def _identity(program: ProgramSpec, insns: tuple[Insn, ...], spec: CollectionSpec) -> tuple[bytes | str, ...]:
    """What the object of a program depends on. Addresses of maps differ from process to process and are left out."""
    plain = list(insns)
    for slot, ref in program.refs.items():
        if not isinstance(ref, KfuncRef):
            plain[slot], plain[slot + 1] = replace(insns[slot], imm=0), replace(insns[slot + 1], imm=0)
    maps = [(m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags, m.inner) for m in spec.maps.values()]
    return (
        encode(plain),
        repr(sorted((slot, repr(ref)) for slot, ref in program.refs.items())),
        repr((program.type, program.funcs, program.tags, maps, spec.license)),
        spec.btf.raw if spec.btf is not None else b"",
        host().identity,
        stamp(),
    )
