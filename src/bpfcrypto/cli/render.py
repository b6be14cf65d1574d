"""Tables and notes for people. Results go to standard output, everything else to standard error.

Colour never carries a meaning of its own: what it says is also written. rich leaves it out where NO_COLOR is set or the output is no
terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH_IN_PIPES = 160


def console(*, err: bool = False) -> Console:
    """A console on standard output or standard error; wide where nobody sees a window's edge."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(stderr=err, highlight=False, width=None if stream.isatty() else _WIDTH_IN_PIPES)


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), err: bool = False
) -> None:
    """Print a table with a header line and no frame.

    Args:
        columns: their titles.
        rows: cells, shown as text.
        right: titles of the columns that are flush right.
        err: whether it goes to standard error.
    """
    table = make_table(columns, rows, right=right)
    out = console(err=err)
    with out.capture() as capture:
        out.print(table)
    for line in capture.get().splitlines():
        click.echo(line.rstrip(), err=err)


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> Table:
    """The table of :func:`print_table`, for a display of its own."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    return table


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Print a line on standard error."""
    click.echo(text, err=True)


def si(value: float, unit: str) -> str:
    """A number with three digits and a prefix: ``1.23 ms`` from nanoseconds, ``12.5 kB`` from bytes."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def duration(nanoseconds: float) -> str:
    """``740 ns``, ``1.23 ms``, ``2.5 s``."""
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def age(seconds: float) -> str:
    """A time that has passed, in at most two units: ``0.3 s``, ``42 s``, ``5 min 3 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    rest = round(seconds)
    for size, unit, lower, lower_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if rest >= size:
            return f"{rest // size} {unit} {rest % size // lower} {lower_unit}"
    return f"{rest} s"
