"""The compiler front: BPF C in, a BPF object out, the same bytes on every machine."""

from __future__ import annotations

from bpfcrypto.cc.compile import Compiler, compile_source, find_compiler, include_dir
from bpfcrypto.cc.strip import strip_debug

__all__ = ["Compiler", "compile_source", "find_compiler", "include_dir", "strip_debug"]
