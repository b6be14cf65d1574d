"""The ``bpfcrypto`` command: which commands there are, and how errors leave the process.

Commands are imported when they are called, so that ``--help`` and ``--version`` load click and nothing else. A command returns its exit
code, or None for 0; errors of this package become ``error:`` and ``hint:`` lines, never a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from bpfcrypto import __version__
from bpfcrypto.errors import (
    BpfCryptoError,
    ConfigError,
    LinkError,
    NotSupportedError,
    PinError,
    PrivilegeError,
    VerifierError,
)

OK, REJECTED, USAGE, NOT_SUPPORTED = range(4)
"""Exit codes."""

INTERRUPTED = 130

_LOG_LINES = 24  # of a verifier's log, whose end says why; ``check --json`` has all of it

COMMANDS: dict[str, tuple[str, str]] = {
    "attach": ("bpfcrypto.cli.attach:attach", "Attach a program to an interface, and pin it there."),
    "build": ("bpfcrypto.cli.build:build", "Compile BPF C to an object."),
    "check": ("bpfcrypto.cli.check:check", "Ask a verifier for its verdict on every program of an object."),
    "ctx": ("bpfcrypto.cli.ctx:ctx", "Make, rotate, check and drop crypto contexts in pinned maps."),
    "detach": ("bpfcrypto.cli.attach:detach", "Take programs off their interfaces, and their pins away."),
    "disasm": ("bpfcrypto.cli.disasm:disasm", "Print an object's instructions with their source lines."),
    "doctor": ("bpfcrypto.cli.doctor:doctor", "Say what works on this machine, what is missing, and what to do."),
    "esp": ("bpfcrypto.cli.esp:esp", "Encrypt and authenticate packets between hosts, by standard ESP."),
    "links": (
        "bpfcrypto.cli.links:links",
        "Show which programs are attached to interfaces, and where they are pinned.",
    ),
    "maps": ("bpfcrypto.cli.maps:maps", "Show an object's maps and variables with the layouts of their types."),
    "run": ("bpfcrypto.cli.run:run", "Run a program on one packet, or on all packets of a capture file."),
}
"""Command -> where it is defined, and the first line of its help."""


class LazyGroup(click.Group):
    """A group whose commands stand in a table and are imported on their first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="'bpfcrypto doctor' says what works here. Exit codes: 0 ok, 1 rejected or failed, 2 wrong usage, 3 not supported here.",
)
@click.version_option(__version__, "-V", "--version", prog_name="bpfcrypto", message="%(prog)s %(version)s")
def cli() -> None:
    """BPF programs with crypto kfuncs: on any machine, or on the real kernel."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; None takes it from the process.

    Returns:
        The exit code.
    """
    try:
        code = cli.main(arguments, prog_name="bpfcrypto", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        _print_usage_error(error)
        return USAGE
    except click.Abort:
        click.echo("error: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. The interpreter would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except BpfCryptoError as error:
        print_error(error)
        return exit_code(error)
    return code if isinstance(code, int) else OK


_CODES: dict[type[BpfCryptoError], int] = {
    NotSupportedError: NOT_SUPPORTED,
    PrivilegeError: NOT_SUPPORTED,
    LinkError: USAGE,  # a place that does not exist, or is taken
    PinError: USAGE,
    ConfigError: USAGE,
}


def exit_code(error: BpfCryptoError) -> int:
    """The exit code that an error ends the process with."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    return REJECTED


def print_error(error: BpfCryptoError) -> None:
    """Print an error and what to do about it on standard error."""
    lines = str(getattr(error, "log", "")).rstrip().splitlines()
    explained = _explained(error) if isinstance(error, VerifierError) else []
    if isinstance(error, VerifierError):
        lines = explained or lines[-_LOG_LINES:]
    for line in lines:
        click.echo(line, err=True)
    click.echo(f"{_styled('error:', 'red')} {error}", err=True)
    if error.hint and not explained:
        click.echo(f"{_styled('hint:', 'cyan')} {error.hint}", err=True)


def _explained(error: VerifierError) -> list[str]:
    """A rejection in words, where there are some."""
    from bpfcrypto.cli.explain import explanation
    from bpfcrypto.verifier.diag import Diagnostic

    if not isinstance(error.diagnostic, Diagnostic):
        return []
    return [*explanation(error.program, "", error.diagnostic, error.errno), ""]


def _print_usage_error(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(context.get_usage(), err=True)
    click.echo(f"{_styled('error:', 'red')} {_lower_first(error.format_message())}", err=True)
    if context is not None:
        click.echo(f"{_styled('hint:', 'cyan')} '{context.command_path} --help' explains the options", err=True)


def _styled(text: str, colour: str) -> str:
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=True)


def _lower_first(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")
