"""What changes when the code that makes code does."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[2]
_FOLDERS = ("isa", "btf", "abi", "verifier", "embedded", "embedded/jit", "embedded/jit/runtime")


@cache
def stamp() -> str:
    """Names, sizes and times of the files that decide about compiled code."""
    files = [each for name in _FOLDERS for each in sorted((_PACKAGE / name).glob("*.*"))]
    return repr([(each.name, (state := each.stat()).st_size, state.st_mtime_ns) for each in files])
