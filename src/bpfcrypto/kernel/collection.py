"""The live objects of one object file in the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import cached_property
from types import MappingProxyType, TracebackType
from typing import Self

from bpfcrypto.btf.record import special_fields
from bpfcrypto.kernel.data import Section
from bpfcrypto.kernel.maps import KernelMap
from bpfcrypto.kernel.program import KernelProgram
from bpfcrypto.loader.doubts import doubts
from bpfcrypto.spec import CollectionSpec
from bpfcrypto.views import Variable


class KernelCollection:
    """Programs, maps and variables. Closing it drops them, and so the contexts in the maps, unless they are pinned.

    Args:
        spec: the object.
        maps: all its maps.
        programs: those of its programs that were loaded.
    """

    def __init__(
        self, spec: CollectionSpec, maps: Mapping[str, KernelMap], programs: Mapping[str, KernelProgram]
    ) -> None:
        self._spec = spec
        self._maps = maps
        self._programs = programs
        self._sections: dict[str, Section] = {}

    def __repr__(self) -> str:
        return f"<KernelCollection of {self._spec.source}: {len(self._programs)} programs, {len(self._maps)} maps>"

    @property
    def spec(self) -> CollectionSpec:
        return self._spec

    @property
    def programs(self) -> Mapping[str, KernelProgram]:
        return MappingProxyType(dict(self._programs))

    @property
    def maps(self) -> Mapping[str, KernelMap]:
        return MappingProxyType(dict(self._maps))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed in the object and most likely not meant."""
        return doubts(self._spec)

    @cached_property
    def variables(self) -> Mapping[str, Variable]:
        """Global variables by name."""
        return MappingProxyType(
            {
                name: Variable(
                    spec, self._spec.btf, self._section(spec.map), read_only=self._spec.maps[spec.map].frozen
                )
                for name, spec in self._spec.variables.items()
            }
        )

    def _section(self, name: str) -> Section:
        if name not in self._sections:
            spec, btf = self._spec.maps[name], self._spec.btf
            special = bool(btf is not None and spec.value_type and special_fields(btf, spec.value_type))
            self._sections[name] = Section(self._maps[name], special=special)
        return self._sections[name]

    def close(self) -> None:
        """Drop programs and maps; does nothing the second time."""
        with ExitStack() as stack:
            for owner in self._owners():
                stack.callback(owner.close)

    def _owners(self) -> Iterable[Section | KernelMap | KernelProgram]:
        yield from self._maps.values()
        yield from self._programs.values()
        yield from self._sections.values()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
