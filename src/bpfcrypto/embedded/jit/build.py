"""A program's machine code, from disk where it has been compiled before.

The object depends on the bytecode, on what the verifier found out about it (which follows from the bytecode, the maps and the types),
on the processor, and on this package; the hash of all of these is its name in the cache.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit import cache
from bpfcrypto.embedded.jit.compile import compile_object, host, passes_for
from bpfcrypto.embedded.jit.links import Link
from bpfcrypto.embedded.jit.stamp import stamp
from bpfcrypto.isa.codec import encode

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
        ctx_size: bytes of a syscall program's context that it accesses.
        shared: where the order of its packets shows, in words.
    """

    image: bytes
    links: tuple[Link, ...]
    requests: Mapping[int, str]
    exports: tuple[int, ...]
    names: tuple[str, ...] = ()
    ctx_size: int = 0
    shared: tuple[str, ...] = ()

    def pack(self) -> bytes:
        """All of it as bytes."""
        facts = [self.links, list(self.requests.items()), self.exports, self.names, self.ctx_size, self.shared]
        head = json.dumps(facts).encode()
        return len(head).to_bytes(_COUNT_BYTES, "little") + head + self.image

    @classmethod
    def unpack(cls, data: bytes) -> Built:
        """The reverse of :meth:`pack`."""
        start = _COUNT_BYTES + int.from_bytes(data[:_COUNT_BYTES], "little")
        links, requests, exports, names, ctx_size, shared = json.loads(data[_COUNT_BYTES:start])
        return cls(
            data[start:],
            tuple(Link(*each) for each in links),
            dict(requests),
            tuple(exports),
            tuple(names),
            ctx_size,
            tuple(shared),
        )


def name_of(program: ProgramSpec, insns: tuple[Insn, ...], spec: CollectionSpec, cpus: int) -> str:
    """Under what a program's code is kept.

    Args:
        program: what it is.
        insns: its instructions, CO-RE applied; addresses of maps, which differ from process to process, are not in it yet.
        spec: the collection that it belongs to.
        cpus: how many CPUs there can be.
    """
    maps = [(m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags, m.inner) for m in spec.maps.values()]
    return cache.key(
        encode(insns),
        repr(sorted((slot, repr(ref)) for slot, ref in program.refs.items())),
        repr((program.type, program.flags, program.attach_type, program.funcs, program.tags, maps, spec.license, cpus)),
        spec.btf.raw if spec.btf is not None else b"",
        host().identity,
        stamp(),
    )


def kept(name: str) -> Built | None:
    """The code that is kept under a name. That there is some says that this very verifier has accepted the program."""
    data = cache.read(name)
    return None if data is None else Built.unpack(data)


def build(
    name: str,
    program: ProgramSpec,
    insns: tuple[Insn, ...],
    spec: CollectionSpec,
    facts: Facts,
    *,
    extra: Iterable[int] = (),
) -> Built:
    """Compile an accepted program, and keep the code under its name.

    Args:
        name: from :func:`name_of`.
        program: what it is.
        insns: its instructions, every reference resolved.
        spec: the collection that it belongs to.
        facts: what the verifier knows of it.
        extra: slots of more functions that are called from outside.
    """
    from bpfcrypto.embedded.jit.lower import lower
    from bpfcrypto.embedded.jit.shared_state import shared_state

    lowered = lower(program, insns, spec.maps, facts, extra=extra)
    image = compile_object(lowered.text, passes_for(len(insns), loops=lowered.loops))
    built = Built(
        image,
        lowered.links,
        lowered.requests,
        lowered.exports,
        ctx_size=facts.ctx_size,
        shared=shared_state(program, insns, facts),
    )
    cache.write(name, built.pack())
    return built
