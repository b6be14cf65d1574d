"""FILE arguments: a compiled object, or BPF C that is compiled on the way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.errors import ObjectError

if TYPE_CHECKING:
    from bpfcrypto.spec import CollectionSpec

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""The type of a FILE argument."""


def read_spec(path: Path) -> CollectionSpec:
    """The blueprint of an object file, or of a ``.c`` file after compiling it.

    Raises:
        ObjectError: it cannot be read, compiled or used.
        NotSupportedError: it needs a compiler and there is none.
    """
    from bpfcrypto.loader.load import load_spec

    if path.suffix == ".c":
        from bpfcrypto.cc import compile_source

        return load_spec(compile_source(path), source=str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ObjectError(f"cannot read: {error.strerror or error}", source=str(path)) from error
    return load_spec(data, source=str(path))


def require_program(spec: CollectionSpec, name: str) -> None:
    """Refuse the name of a program that the object does not have.

    Raises:
        ObjectError: with the names that it has.
    """
    if name not in spec.programs:
        have = ", ".join(f"'{each}'" for each in spec.programs) or "none"
        raise ObjectError(f"no program '{name}'", source=spec.source, hint=f"its programs: {have}")
