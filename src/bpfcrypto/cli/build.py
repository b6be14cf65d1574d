"""``bpfcrypto build``: BPF C to an object."""

from __future__ import annotations

from pathlib import Path

import click

from bpfcrypto.cli.objects import FILE
from bpfcrypto.cli.render import note


@click.command()
@click.argument("source", type=FILE)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Object file [SOURCE with .o for .c]."
)
@click.option(
    "-I",
    "include_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of headers, before those of bpfcrypto; may be repeated.",
)
def build(source: Path, output: Path | None, include_dirs: tuple[Path, ...]) -> None:
    """Compile BPF C to an object.

    SOURCE is a .bpf.c file. The compiler is the one of the package ziglang (pip install 'bpfcrypto[cc]'), or a clang on PATH. The same
    source gives the same object on every machine.
    """
    from bpfcrypto.cc import compile_source

    target = output or source.with_suffix(".o")
    data = compile_source(source, output=target, include_dirs=include_dirs)
    note(f"{target}: {len(data)} bytes")
