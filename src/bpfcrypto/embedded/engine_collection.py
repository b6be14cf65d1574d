"""The live objects of one object file in the embedded engine."""

from __future__ import annotations

import threading
from collections.abc import Container, Mapping
from contextlib import ExitStack
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from bpfcrypto.embedded.engine_data import Section
from bpfcrypto.loader.doubts import doubts

if TYPE_CHECKING:
    from types import TracebackType

    from bpfcrypto.embedded.contexts import CryptoContexts
    from bpfcrypto.embedded.engine_program import EmbeddedProgram, Surface
    from bpfcrypto.embedded.map_base import EmbeddedMap
    from bpfcrypto.embedded.objects import Objects
    from bpfcrypto.spec import CollectionSpec
    from bpfcrypto.views import Variable


class EmbeddedCollection:
    """Programs, maps and variables with the memory that they share.

    Args:
        spec: the object.
        surface: what its programs run on.
        contexts: its crypto contexts.
        objects: what its programs have allocated.
        maps: all its maps.
        programs: those of its programs that were loaded.
        given: names of the maps that belong to somebody else and are held.
    """

    def __init__(
        self,
        spec: CollectionSpec,
        surface: Surface,
        contexts: CryptoContexts,
        objects: Objects,
        maps: Mapping[str, EmbeddedMap],
        programs: Mapping[str, EmbeddedProgram],
        given: Container[str] = frozenset(),
    ) -> None:
        self._spec = spec
        self._surface = surface
        self._contexts = contexts
        self._objects = objects
        self._maps = MappingProxyType(dict(maps))
        self._programs = MappingProxyType(dict(programs))
        self._given = given
        self._leaked = 0
        self._closing = threading.Lock()

    def __repr__(self) -> str:
        return f"<EmbeddedCollection of {self._spec.source}: {len(self._programs)} programs, {len(self._maps)} maps>"

    @property
    def spec(self) -> CollectionSpec:
        return self._spec

    @property
    def programs(self) -> Mapping[str, EmbeddedProgram]:
        return self._programs

    @property
    def maps(self) -> Mapping[str, EmbeddedMap]:
        return self._maps

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed in the object and most likely not meant."""
        return doubts(self._spec)

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """Global variables by name."""
        from bpfcrypto.views import Variable

        return MappingProxyType(
            {
                name: Variable(
                    spec, self._spec.btf, Section(self._maps[spec.map]), read_only=self._spec.maps[spec.map].frozen
                )
                for name, spec in self._spec.variables.items()
            }
        )

    @property
    def live_contexts(self) -> int:
        """Number of crypto contexts that its programs have made and that exist, those that wait for running programs included."""
        return self._contexts.live

    @property
    def live_objects(self) -> int:
        """Number of objects that programs have allocated and that have not been dropped, wherever they are kept."""
        return self._objects.live

    def leaks(self) -> int:
        """Number of crypto contexts and objects that nothing could release any more when the collection was closed; 0 before.

        The verifier lets no program lose a reference; a program that was not verified can.
        """
        return self._leaked

    def close(self) -> None:
        """Wait for running programs of this collection, then drop programs, maps and contexts; does nothing the second time."""
        with self._closing:
            closed, self._surface.closed = self._surface.closed, True
        if closed:
            return
        self._surface.world.cpus.wait_idle(self._surface)
        with ExitStack() as stack:
            stack.callback(self._drop_contexts)
            stack.callback(self._objects.close)
            stack.callback(self._count_objects)
            for name, each in self._maps.items():
                stack.callback(each.drop if name in self._given else each.close)

    def _count_objects(self) -> None:
        self._leaked = self._objects.live

    def _drop_contexts(self) -> None:
        """Free what nobody can release any more. Contexts in maps of other collections stay."""
        referenced = self._contexts.referenced
        kept = self._surface.world.kept(referenced)
        self._leaked += len(referenced - kept)
        self._contexts.close(kept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
