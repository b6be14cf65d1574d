"""Values of global variables: from the command line, and to JSON.

What ``--set`` takes depends on the variable: an integer takes an integer, a character array takes text, everything takes bytes in
hexadecimal or from a file. Short bytes and texts are filled up with zeros, as C does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.errors import MapTypeError

if TYPE_CHECKING:
    from bpfcrypto.engine import Collection
    from bpfcrypto.views import Variable


class Told(str):
    """Words about a value that is not text itself; shown without quotes, and inside of others in angle brackets."""

    __slots__ = ()


ASSIGNMENTS = click.option(
    "--set",
    "assignments",
    metavar="NAME=VALUE",
    multiple=True,
    help="Set a global variable before anything runs: an integer, hex:BYTES, @FILE, or text. May be repeated.",
)


def split_assignment(text: str, option: str = "--set") -> tuple[str, str]:
    """``NAME=VALUE`` of an option as a pair; the value may hold further equal signs."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"'{text}' is not NAME=VALUE", param_hint=option)
    return name, value


def parse_hex(text: str) -> bytes:
    """Bytes of a hexadecimal string; spaces and colons are ignored."""
    try:
        return bytes.fromhex(text.replace(":", " "))
    except ValueError:
        raise click.BadParameter("not hexadecimal") from None


def assign(collection: Collection, assignments: Mapping[str, str]) -> None:
    """Set global variables from the texts of ``--set``.

    Raises:
        click.BadParameter: there is no such variable, or the text does not fit it. Texts and bytes are not repeated: they may be
            keys.
    """
    for name, text in assignments.items():
        if name not in collection.variables:
            have = ", ".join(collection.variables) or "none"
            raise click.BadParameter(f"no variable '{name}'; there are: {have}", param_hint="--set")
        try:
            _set(collection.variables[name], text)
        except (ValueError, MapTypeError) as error:
            raise click.BadParameter(f"variable '{name}': {error}", param_hint="--set") from None


def _set(variable: Variable, text: str) -> None:
    if text.startswith(("hex:", "@")):
        data = _bytes(text)
    elif isinstance(variable.value, str | bytes) and "[" in variable.type_name:
        data = text.encode()
    else:
        variable.value = _integer(text)
        return
    if len(data) > variable.size:
        raise ValueError(f"{len(data)} bytes do not fit into {variable.size}")
    variable.bytes = data


def _integer(text: str) -> int | str:
    """A number, or the name of an enumerator."""
    try:
        return int(text, 0)
    except ValueError:
        if text.isidentifier():
            return text
        raise ValueError("it takes an integer, hex:BYTES or @FILE") from None


def _bytes(text: str) -> bytes:
    if text.startswith("hex:"):
        try:
            return bytes.fromhex(text.removeprefix("hex:").replace(":", " "))
        except ValueError:
            raise ValueError("not hexadecimal") from None
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read '{text[1:]}': {error.strerror or error}") from None


def to_json(value: object) -> object:
    """A variable's value for JSON: integers and texts as they are, bytes as hexadecimal, aggregates by member."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def to_text(value: object) -> str:
    """A variable's value for people. Byte arrays are not shown, for they may be keys."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return str(value) if isinstance(value, Told) else f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_inner(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inner, value)) + "]"
    return str(value)


def _inner(value: object) -> str:
    return f"<{value}>" if isinstance(value, Told) else to_text(value)
