"""``bpfcrypto check``: a verifier's verdict on each program, and the reasons of a rejection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.cli.main import OK, REJECTED
from bpfcrypto.cli.objects import FILE, read_spec, require_program
from bpfcrypto.cli.progress import Verifying
from bpfcrypto.cli.render import note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcrypto.engine import Verdict
    from bpfcrypto.spec import CollectionSpec


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--engine",
    type=click.Choice(["embedded", "kernel", "both"]),
    default="embedded",
    show_default=True,
    help="Whose verifier is asked; 'both' compares their verdicts.",
)
@click.option("-p", "--program", metavar="NAME", help="Only this program.")
@click.option("--log", "with_log", is_flag=True, help="Print the verifier's log of each program.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole logs.")
@click.option(
    "--html",
    "page",
    metavar="OUT",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page that shows rejected programs: source, instructions, the failing path, states.",
)
def check(file: Path, engine: str, program: str | None, with_log: bool, as_json: bool, page: Path | None) -> int:
    """Ask a verifier for its verdict on every program of an object.

    FILE is an object or a .bpf.c file. Nothing is run. The exit code is 1 if a program is rejected, or if the verifiers disagree.
    """
    spec = read_spec(file)
    if program is not None:
        require_program(spec, program)
    names = None if program is None else [program]
    asked = ["embedded", "kernel"] if engine == "both" else [engine]
    said = {name: judge(spec, name, names) for name in asked}
    shown = said[asked[0]]
    differences = disagreements(shown, said[asked[1]]) if engine == "both" else []
    if page is not None:
        from bpfcrypto.cli.page import write_page

        write_page(page, spec, shown, asked[0])
    if as_json:
        document: dict[str, object] = {"engine": engine, "programs": [as_dict(verdict) for verdict in shown]}
        if engine == "both":
            document |= {"kernel": [as_dict(verdict) for verdict in said["kernel"]], "disagreements": differences}
        print_json(document)
    else:
        _print(shown, with_log=with_log)
        for name in spec.left_out:
            note(f"section '{name}' is left out: programs of this type are not loaded")
        for text in differences:
            click.echo(f"disagreement: {text}")
        note(f"verdicts of the {asked[0]} engine" + (f"; {_agreement(differences)}" if engine == "both" else ""))
    return OK if all(verdict.accepted for verdict in shown) and not differences else REJECTED


def judge(spec: CollectionSpec, engine: str, names: Sequence[str] | None) -> tuple[Verdict, ...]:
    """The verdicts of an engine."""
    if engine == "kernel":
        from bpfcrypto.kernel.engine import KernelEngine

        with KernelEngine() as kernel:
            return kernel.check(spec, programs=names)
    from bpfcrypto.embedded.engine import EmbeddedEngine

    with Verifying() as progress, EmbeddedEngine(progress=progress) as embedded:
        return embedded.check(spec, programs=names)


def disagreements(ours: Sequence[Verdict], theirs: Sequence[Verdict]) -> list[str]:
    """In what two verifiers differ, a line for each program: the verdict, the errno, the last line."""
    found = []
    for mine, other in zip(ours, theirs, strict=True):
        if (mine.accepted, mine.errno, _last_line(mine)) != (other.accepted, other.errno, _last_line(other)):
            found.append(f"{mine.program}: the embedded engine {_said(mine)}, the kernel {_said(other)}")
    return found


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
        "diagnostic": None if verdict.diagnostic is None else verdict.diagnostic.as_dict(),
        "log": verdict.log,
    }


def _last_line(verdict: Verdict) -> str:
    """What the log says last of a rejected program. The message may name things that the log has numbers for."""
    lines = [line for line in verdict.log.splitlines() if not line.startswith("processed ")]
    return "" if verdict.accepted or not lines else lines[-1]


def _word(verdict: Verdict) -> str:
    return "accepted" if verdict.accepted else "rejected"


def _said(verdict: Verdict) -> str:
    return "accepts" if verdict.accepted else f"rejects with errno {verdict.errno} ('{verdict.message}')"


def _agreement(differences: Sequence[str]) -> str:
    return f"the kernel disagrees on {len(differences)}" if differences else "the kernel agrees"


def _print(verdicts: Sequence[Verdict], *, with_log: bool) -> None:
    from bpfcrypto.cli.explain import explanation

    print_table(
        ("program", "section", "type", "verdict", "instructions", "message"),
        [(v.program, v.section, v.type.name, _word(v), v.insns_processed, v.message) for v in verdicts],
        right=("instructions",),
    )
    for verdict in verdicts:
        if with_log:
            click.echo(f"\n{verdict.program}:\n{verdict.log.rstrip()}")
        if verdict.diagnostic is not None:
            click.echo()
            for line in explanation(verdict.program, verdict.section, verdict.diagnostic, verdict.errno):
                click.echo(line.rstrip())
