"""``bpfcrypto doctor --kfuncs``: the kfuncs of the table, those of the embedded engine and those of the running kernel, side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bpfcrypto.cli.render import print_json, print_table
from bpfcrypto.errors import BpfCryptoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bpfcrypto.abi.kfuncs import Kfunc
    from bpfcrypto.abi.progs import ProgType


def show(*, as_json: bool) -> None:
    """Print the report."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        _print(report)


def examine() -> dict[str, Any]:
    """The whole report, in values that JSON knows."""
    from bpfcrypto.abi.kfuncs import KFUNCS
    from bpfcrypto.runtime import open_engine

    with open_engine("embedded") as engine:
        ours = engine.capabilities.kfuncs
    kernel, reason = _kernel()
    names = [*KFUNCS, *(name for name, types in (kernel or {}).items() if types and name not in KFUNCS)]
    return {
        "kernel": reason or "ok",
        "kfuncs": [_row(name, KFUNCS.get(name), name in ours, kernel) for name in sorted(names)],
    }


def _kernel() -> tuple[Mapping[str, frozenset[ProgType]] | None, str]:
    """The running kernel's kfuncs, or why they are not known."""
    if sys.platform != "linux":
        return None, "there is no Linux kernel here"
    from bpfcrypto.kernel.kfuncs import kernel_kfuncs
    from bpfcrypto.kernel.probe import unavailable

    reason = unavailable()
    try:
        return (None, reason) if reason else (kernel_kfuncs(), "")
    except BpfCryptoError as error:
        return None, str(error)


def _row(
    name: str, known: Kfunc | None, embedded: bool, kernel: Mapping[str, frozenset[ProgType]] | None
) -> dict[str, Any]:
    present = kernel is not None and name in kernel
    return {
        "name": name,
        "since": _release(known.since) if known else None,
        "until": _release(known.until) if known and known.until else None,
        "types": _names(known.callers) if known else [],
        "embedded": embedded,
        "reason": None if embedded else (known.reason if known else "it is not in the table"),
        "kernel": None if kernel is None else present,
        "kernel_types": _names(kernel[name]) if kernel is not None and present else [],
    }


def _release(release: tuple[int, int]) -> str:
    return "{}.{}".format(*release)


def _names(types: Iterable[ProgType]) -> list[str]:
    return sorted(kind.name for kind in types)


def _print(report: dict[str, Any]) -> None:
    known = report["kernel"] == "ok"
    rows = [
        (
            row["name"],
            row["since"] or "?",
            " ".join(row["types"]),
            "yes" if row["embedded"] else f"no: {row['reason']}",
            "?" if not known else " ".join(row["kernel_types"]) or ("no program of ours" if row["kernel"] else "no"),
        )
        for row in report["kfuncs"]
    ]
    print_table(("kfunc", "since", "programs", "embedded engine", "this kernel"), rows)
    embedded = sum(row["embedded"] for row in report["kfuncs"])
    click.echo(f"\nembedded engine: {embedded} of {len(rows)}")
    if known:
        callable_here = sum(bool(row["kernel_types"]) for row in report["kfuncs"])
        missing = sum(bool(row["kernel_types"]) and not row["embedded"] for row in report["kfuncs"])
        click.echo(f"this kernel: {callable_here}, of which the embedded engine does not have {missing}")
    else:
        click.echo(f"this kernel: {report['kernel']}")
