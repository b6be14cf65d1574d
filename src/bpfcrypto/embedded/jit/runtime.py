"""Helpers and kfuncs as machine code: the BPF programs in ``runtime/``, compiled by the compiler of everybody's.

They make one unit for the process. Programs reach its functions through their tables of links.
"""

from __future__ import annotations

import ctypes
from functools import cache as memoise
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcrypto.embedded.jit import cache
from bpfcrypto.embedded.jit.aes_native import library
from bpfcrypto.embedded.jit.build import Built, compile_lowered, stamp
from bpfcrypto.embedded.jit.compile import Unit, host
from bpfcrypto.embedded.jit.links import SYMBOL
from bpfcrypto.embedded.jit.lower import entry_symbol, lower_runtime
from bpfcrypto.embedded.jit.lower_runtime import AES
from bpfcrypto.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpfcrypto.spec import ProgramSpec

_FOLDER = Path(__file__).parent / "runtime"
_OBJECTS = tuple(sorted(_FOLDER.glob("*.bpf.o")))

NAMES = frozenset(
    name
    for each in _OBJECTS
    for name in (each.with_suffix("").with_suffix("").name,)
)
