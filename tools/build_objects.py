"""Rebuild every committed BPF object with the pinned compiler, or check that each is what its source gives.

Objects stand beside their sources: ``name.bpf.c`` gives ``name.bpf.o``. A name that ends in ``_v1`` to ``_v4`` chooses the instruction
set, v3 otherwise. ``src/bpfcrypto/abi/kernel.btf`` is built from the C headers and the table of kfuncs: the type information that
the embedded engine has in place of a kernel's.

    python tools/build_objects.py [--check] [PATTERN ...]
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from bpfcrypto.abi.kfuncs import KFUNCS  # noqa: E402
from bpfcrypto.cc import compile_source, find_compiler, include_dir  # noqa: E402
from bpfcrypto.errors import BpfCryptoError, CompileError  # noqa: E402

SOURCES = (
    "examples",
    "bench",
    "tests/bpf",
    "tests/vectors/verifier",
    "src/bpfcrypto/programs",
    "src/bpfcrypto/embedded/jit/runtime",
)
KERNEL_BTF = ROOT / "src/bpfcrypto/abi/kernel.btf"
TYPE = re.compile(r"^(struct|union|enum) (\w+) \{", re.MULTILINE)
TYPEDEF = re.compile(r"^typedef [^;{}]*?(\w+);|^\} (\w+);", re.MULTILINE)
INSTRUCTION_SET = re.compile(r"_(v[1-4])\.bpf\.c$")


def targets() -> Iterator[tuple[Path, Callable[[], bytes]]]:
    """Every committed object, and how to build it."""
    for folder in SOURCES:
        for source in sorted((ROOT / folder).rglob("*.bpf.c")):
            yield source.with_suffix(".o"), lambda source=source: build_object(source)
    yield KERNEL_BTF, build_kernel_btf


def build_object(source: Path) -> bytes:
    chosen = INSTRUCTION_SET.search(source.name)
    return compile_source(source, cpu=chosen[1] if chosen else "v3")


def build_kernel_btf() -> bytes:
    """The .BTF section of an object that mentions each type of vmlinux.h and defines each kfunc."""
    from elftools.elf.elffile import ELFFile

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.bpf.c")
        source.write_text(kernel_source())
        built = compile_source(source)
    return ELFFile(io.BytesIO(built)).get_section_by_name(".BTF").data()


def kernel_source() -> str:
    """C that makes clang emit what a kernel's BTF has: every type, and a FUNC with argument names for every kfunc."""
    text = "\n".join(header.read_text() for header in sorted((include_dir() / "vmlinux").glob("*.h")))
    types = [f"{kind} {name}" for kind, name in TYPE.findall(text)]
    types += [first or second for first, second in TYPEDEF.findall(text)]
    prototypes = [kfunc.prototype.rstrip(";") for kfunc in KFUNCS.values()]
    mentioned = {found for prototype in prototypes for found in re.findall(r"\b(struct|union|enum) (\w+)", prototype)}
    unknown = sorted(mentioned - set(TYPE.findall(text)))
    # defined, because clang puts declarations in no fixed order
    lines = [f"{kind} {name} {{ {f'{name}__' if kind == 'enum' else ''} }};" for kind, name in unknown]
    for prototype in prototypes:
        body = "{ }" if re.match(r"void\s+\w", prototype) else "{ return 0; }"
        lines.append(f'__attribute__((btf_decl_tag("bpf_kfunc"))) {prototype} {body}')
    lines.append("unsigned long __every_type(void) { unsigned long ids = 0;")
    lines += [f"ids += __builtin_btf_type_id(*({name} *)0, 0);" for name in types]
    lines.append("return ids; }")
    # BTF's strings hold the text of every source line that has code: by way of a macro that is one short line.
    macro = " \\\n".join(lines)
    return f'#include "vmlinux.h"\n#define KERNEL {macro}\nKERNEL\n'


def require_pinned() -> None:
    """Only one compiler makes the committed bytes."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pinned = next(line for line in extras["cc"] if line.startswith("ziglang=="))
    if find_compiler().name != "ziglang" or f"ziglang=={version('ziglang')}" != pinned:
        sys.exit(f"error: the objects are built with {pinned}\nhint: pip install '{pinned}'")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a committed object differs")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="only objects whose path contains one of these")
    arguments = parser.parse_args()
    require_pinned()
    differing = 0
    for path, build in targets():
        name = path.relative_to(ROOT)
        if arguments.patterns and not any(pattern in str(name) for pattern in arguments.patterns):
            continue
        try:
            built = build()
        except BpfCryptoError as error:
            log = error.log if isinstance(error, CompileError) else ""
            sys.exit(f"error: {name}: {error}\n{log}")
        if path.exists() and path.read_bytes() == built:
            continue
        differing += 1
        if arguments.check:
            print(f"{name}: differs from what its source gives; run: make bpf")
        else:
            path.write_bytes(built)
            print(f"{name}: {len(built)} bytes")
    return 1 if arguments.check and differing else 0


if __name__ == "__main__":
    sys.exit(main())
