"""``bpfcrypto check``: a verifier's verdict on each program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.cli.main import OK, REJECTED
from bpfcrypto.cli.objects import FILE, read_spec, require_program
from bpfcrypto.cli.render import console, note, print_json, print_table

if TYPE_CHECKING:
    from bpfcrypto.engine import Verdict

_LOG_LINES = 24


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--engine",
    type=click.Choice(["kernel", "embedded"]),
    default="kernel",
    show_default=True,
    help="Whose verifier is asked; the embedded engine has none yet.",
)
@click.option("-p", "--program", metavar="NAME", help="Only this program.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole logs.")
def check(file: Path, engine: str, program: str | None, as_json: bool) -> int:
    """Ask a verifier for its verdict on every program of an object.

    FILE is an object or a .bpf.c file. Nothing is run. The exit code is 1 if a program is rejected.
    """
    from bpfcrypto.engine import Checker
    from bpfcrypto.errors import NotSupportedError
    from bpfcrypto.runtime import open_engine

    spec = read_spec(file)
    if program is not None:
        require_program(spec, program)
    with open_engine(engine) as opened:
        name = opened.name
        if not isinstance(opened, Checker):
            raise NotSupportedError(
                f"checking programs on the {name} engine",
                requires="it has no verifier yet",
                hint="--engine kernel asks the running kernel",
            )
        verdicts = opened.check(spec, programs=None if program is None else [program])
    if as_json:
        print_json({"engine": name, "programs": [as_dict(verdict) for verdict in verdicts]})
    else:
        _print(verdicts, name)
    return OK if all(verdict.accepted for verdict in verdicts) else REJECTED


def as_dict(verdict: Verdict) -> dict[str, object]:
    """A verdict as ``check --json`` prints it."""
    return {
        "name": verdict.program,
        "section": verdict.section,
        "type": verdict.type.name,
        "verdict": _word(verdict),
        "errno": verdict.errno,
        "message": verdict.message,
        "insns_processed": verdict.insns_processed,
        "log": verdict.log,
    }


def _word(verdict: Verdict) -> str:
    return "accepted" if verdict.accepted else "rejected"


def _print(verdicts: tuple[Verdict, ...], engine: str) -> None:
    print_table(
        ("program", "section", "type", "verdict", "instructions", "message"),
        [(v.program, v.section, v.type.name, _word(v), v.insns_processed, v.message) for v in verdicts],
        right=("instructions",),
    )
    out = console()
    for verdict in verdicts:
        if not verdict.accepted:
            lines = verdict.log.rstrip().splitlines()
            out.print(f"\n{verdict.program}:", markup=False, style="bold")
            if len(lines) > _LOG_LINES:
                out.print(f"  ({len(lines) - _LOG_LINES} lines omitted; --json has them all)", markup=False)
            for line in lines[-_LOG_LINES:]:
                out.print(f"  {line}", markup=False, soft_wrap=True)
    note(f"verdicts of the {engine} engine")
