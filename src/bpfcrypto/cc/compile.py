"""Decides which compiler builds BPF C here, and with which options, so that the same source gives the same object everywhere.

The ``ziglang`` wheel is clang with the BPF back end and is the pinned compiler; a ``clang`` on PATH serves where it is not
installed. What would differ from machine to machine is taken out: file names are mapped to be relative to the source's folder,
system headers are not searched, DWARF is stripped, and the compiler's cache is a private folder that lives as long as the call.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfcrypto.cc.strip import strip_debug
from bpfcrypto.errors import CompileError, NotSupportedError

_log = logging.getLogger("bpfcrypto.cc")

_OPTIONS = (
    "-std=gnu17",
    "-O2",
    "-gdwarf-5",  # BTF comes with debug information
    "-gembed-source",  # BTF takes its source lines from there, file names being mapped
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fno-ident",
    "-fdebug-compilation-dir=.",
    "-fno-color-diagnostics",
    "-Wall",
    "-Wno-unused-function",
    "-Wno-unknown-warning-option",
    "-Wno-compare-distinct-pointer-types",  # typeof() of volatile and const members in the access macros
    "-Wno-missing-declarations",  # "does not declare anything": vmlinux.h style unions with a forward-declared pointer
)
_FIRST_ERROR = re.compile(r"^(?:(?P<where>[^\n]*?): )?(?:fatal )?error: (?P<what>.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler that was found.

    Attributes:
        name: ``ziglang`` or ``clang``.
        command: how to call it, up to and including the target.
    """

    name: str
    command: tuple[str, ...]


def include_dir() -> Path:
    """The folder of the headers that come with bpfcrypto; it is searched after every folder that the caller names."""
    return Path(__file__).resolve().parent.parent / "programs" / "include"


def find_compiler() -> Compiler:
    """The compiler that :func:`compile_source` uses.

    Raises:
        NotSupportedError: neither the ziglang wheel nor a clang on PATH is there.
    """
    if importlib.util.find_spec("ziglang") is not None:
        return Compiler("ziglang", (sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding"))
    if clang := shutil.which("clang"):
        return Compiler("clang", (clang, "-target", "bpfel", "-nostdlibinc"))
    raise NotSupportedError(
        "compiling BPF C",
        requires="install bpfcrypto[cc]",
        hint="pip install 'bpfcrypto[cc]' brings a compiler; a clang on PATH that has the bpf target works too",
    )


def compile_source(
    path: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    include_dirs: Sequence[str | os.PathLike[str]] = (),
    cpu: str = "v3",
) -> bytes:
    """Compile one BPF C file to a little-endian ELF object with BTF and without DWARF.

    The object holds no path of this machine: the same source and the same compiler give the same bytes in every checkout. (Not so
    for a source that reaches two or more types which it only declares, by pointers in records: clang orders those by address.)
    Warnings go to the logger ``bpfcrypto.cc``.

    Args:
        path: the source, usually ``name.bpf.c``.
        output: where to write the object as well; not written if compiling fails.
        include_dirs: folders searched for headers, in order, before bpfcrypto's own.
        cpu: BPF instruction set, ``v1`` to ``v4``.

    Returns:
        The object file's bytes.

    Raises:
        CompileError: the compiler refused the source; ``log`` is what it printed.
        NotSupportedError: there is no compiler.
        FileNotFoundError: there is no such source.
    """
    source = Path(path).resolve(strict=True)
    compiler = find_compiler()
    folders = [Path(folder).resolve() for folder in include_dirs] + [include_dir()]
    with tempfile.TemporaryDirectory(prefix="bpfcrypto-cc-") as scratch:
        target = Path(scratch, "out.o")
        # The compiler maps by the last matching prefix: the source's folder first, the more special ones after it.
        mapped = [f"-ffile-prefix-map={source.parent}{os.sep}="]
        mapped += [f"-ffile-prefix-map={folder}={folder.name}" for folder in folders]
        command = [
            *compiler.command,
            f"-mcpu={cpu}",
            *_OPTIONS,
            *mapped,
            *(f"-I{folder}" for folder in folders),
            "-c",
            str(source),
            "-o",
            str(target),
        ]
        result = subprocess.run(  # noqa: S603 - the command is built above, no shell
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=_environment(scratch),
            cwd=scratch,
        )
        if result.returncode != 0 or not target.exists():
            raise _refusal(source, compiler, result)
        built = strip_debug(target.read_bytes(), source=str(path))
    if result.stderr.strip():
        _log.warning("%s: the compiler warns:\n%s", path, result.stderr.rstrip())
    if output is not None:
        Path(output).write_bytes(built)
    return built


def _environment(scratch: str) -> dict[str, str]:
    """The caller's environment with the compiler's caches in ``scratch``: a home folder may be read-only or absent."""
    caches = {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch, "TMPDIR": scratch}
    return {**os.environ, **caches, "LC_ALL": "C"}


def _refusal(source: Path, compiler: Compiler, result: subprocess.CompletedProcess[str]) -> CompileError:
    log = result.stderr + result.stdout
    if first := _FIRST_ERROR.search(log):
        return CompileError(first["what"], source=first["where"] or str(source), log=log)
    return CompileError(
        f"{compiler.name} ended with status {result.returncode} and named no error",
        source=str(source),
        log=log,
        hint="the log has what the compiler printed; a compiler that ends by a signal has a defect of its own",
    )
