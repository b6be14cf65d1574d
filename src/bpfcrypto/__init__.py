"""BPF programs with crypto kfuncs: load and run clang-compiled objects on any machine, or on the real kernel."""

from __future__ import annotations

__version__ = "0.1.0"
