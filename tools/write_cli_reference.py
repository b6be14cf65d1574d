"""Writes docs/reference/cli.md from the commands' own --help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from bpfcrypto.cli.main import COMMANDS, cli

PAGE = Path(__file__).parents[1] / "docs/reference/cli.md"

HEAD = """\
# Command line

<!-- Written by tools/write_cli_reference.py from the commands' --help; a test compares. -->

Results go to standard output; errors, notes and progress go to standard error. `NO_COLOR` turns colour off. Errors are `error:` lines with
a `hint:` line where there is something to do.

| exit code | meaning |
|---|---|
| 0 | it worked; every program was accepted |
| 1 | a program was rejected, a file is damaged, a run failed |
| 2 | wrong usage; an interface, namespace, hook or pin that does not exist or is taken |
| 3 | not supported here: a kernel, capability or package is missing |

[Values and JSON](cli-values.md) says what `--set` takes and what `--json` prints.
"""


def commands() -> Iterator[str]:
    """Every command, a group before its own."""
    context = click.Context(cli)
    for name in COMMANDS:
        yield name
        found = cli.get_command(context, name)
        if isinstance(found, click.Group):
            yield from (f"{name} {each}" for each in found.commands)


def main() -> None:
    parts = [HEAD]
    for command in commands():
        result = subprocess.run(
            [sys.executable, "-c", "from bpfcrypto.cli.main import main; main()", *command.split(), "--help"],
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        parts.append(f"## bpfcrypto {command}\n\n```text\n{result.stdout.rstrip()}\n```\n")
    PAGE.write_text("\n".join(parts))


if __name__ == "__main__":
    main()
