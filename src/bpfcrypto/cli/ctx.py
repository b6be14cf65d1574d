"""``bpfcrypto ctx``: crypto contexts in pinned maps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec

import click

from bpfcrypto.cli.main import NOT_SUPPORTED, OK, REJECTED, USAGE, print_error
from bpfcrypto.cli.render import note, print_json, print_table
from bpfcrypto.errors import ContextError, MapError

if TYPE_CHECKING:
    from bpfcrypto.context import Slot
    from bpfcrypto.context.home import Home
    from bpfcrypto.kernel.engine import KernelEngine

_Given = ParamSpec("_Given")
_Command = Callable[_Given, int | None]

_REFUSED = {"algorithm": NOT_SUPPORTED, "key": USAGE}
"""Parameter that the kernel refused -> exit code."""


def _explained(command: _Command[_Given]) -> _Command[_Given]:
    """Exit codes of what was asked for and cannot be."""

    @functools.wraps(command)
    def run(*given: _Given.args, **named: _Given.kwargs) -> int | None:
        try:
            return command(*given, **named)
        except ContextError as error:
            print_error(error)
            return _REFUSED.get(error.parameter, REJECTED)
        except MapError as error:
            print_error(error)
            return USAGE

    return run


class _Algorithm(NamedTuple):
    """A cipher: what its keys and its IV have, bytes, or why it cannot be had."""

    name: str
    key_sizes: tuple[int, ...]
    iv_size: int | None
    refused: str | None


_MAP = click.option("--map", "path", required=True, metavar="PIN", type=Path, help="The map, by its pin.")
_SLOT = click.option(
    "--slot", "key", required=True, metavar="KEY", help="The element: an integer, or hex:BYTES as the map has them."
)
_FIELD = click.option(
    "--field", metavar="PATH", help="The field of the value, as in C; needed where several can hold contexts."
)
_ALGO = click.option("--algo", required=True, metavar="NAME", help="The cipher, such as 'cbc(aes)'.")
_KEY_FILE = click.option(
    "--key-file",
    required=True,
    metavar="FILE",
    type=Path,
    help="The key's bytes and nothing else; /dev/stdin for a pipe.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _at_slot(command: _Command[_Given]) -> _Command[_Given]:
    """The options that say which slot."""
    return _MAP(_SLOT(_FIELD(command)))


def _with_key(command: _Command[_Given]) -> _Command[_Given]:
    """The options that say which cipher and key."""
    return _ALGO(_KEY_FILE(command))


@click.group()
def ctx() -> None:
    """Make, rotate, check and drop crypto contexts in pinned maps.

    The maps may be of any object: a field of type 'struct bpf_crypto_ctx __kptr *' is all it takes. The key goes from the file into the
    kernel, and is erased on the way.
    """


@ctx.command()
@_at_slot
@_with_key
@_explained
def create(path: Path, key: str, field: str | None, algo: str, key_file: Path) -> int | None:
    """Put a new context into a slot that has none."""
    return _put(path, key, field, algo, key_file, there=False)


@ctx.command()
@_at_slot
@_with_key
@_explained
def rotate(path: Path, key: str, field: str | None, algo: str, key_file: Path) -> int | None:
    """Replace the context in a slot. Packets meet the old one or the new one, never none."""
    return _put(path, key, field, algo, key_file, there=True)


@ctx.command()
@_at_slot
@_JSON
@_explained
def check(path: Path, key: str, field: str | None, as_json: bool) -> int | None:
    """Say whether a slot has a context, and whose key it is by its check value.

    The check value is made of the first three bytes of an encrypted block of zeros. References are those of maps and programs. The exit
    code is 1 where there is no context.
    """
    with _slot(path, key, field) as (_, home, slot):
        rows = [_look(home, slot, cpu) for cpu in range(slot.cpus)]
    if as_json:
        print_json({"map": slot.map.name, "field": slot.name, "cpus": rows})
    else:
        _print_checked(slot.map.name, slot.name, rows)
    return OK if all(row["context"] for row in rows) else REJECTED


@ctx.command()
@_at_slot
@_explained
def drop(path: Path, key: str, field: str | None) -> int | None:
    """Take the context out of a slot. Programs that look for it find none from now on."""
    with _slot(path, key, field) as (_, _home, slot):
        dropped = slot.clear()
    note(
        f"{'dropped the context' if dropped else 'there was no context'} in field '{slot.name}' of map '{slot.map.name}'"
    )
    return None


@ctx.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["embedded", "kernel", "auto"]),
    default="auto",
    show_default=True,
    help="Who is asked; auto is the kernel where it can.",
)
@_JSON
def algos(names: tuple[str, ...], engine_name: str, as_json: bool) -> int | None:
    """Say which ciphers can be had, with the lengths of their keys and IVs.

    Each is tried: of the NAMEs, or of some well-known ones. Trying a name that the kernel does not know may load a module.
    """
    from bpfcrypto.abi.errno import text
    from bpfcrypto.context import CryptoContext
    from bpfcrypto.context.ciphers import CANDIDATES, Prober, listed
    from bpfcrypto.runtime import open_engine

    found: list[_Algorithm] = []
    with open_engine(engine_name) as engine, Prober(engine) as prober:
        for name in names or CANDIDATES:
            sizes, iv_size = prober.key_sizes(name), None
            if sizes:
                with CryptoContext.create(engine, name, bytearray(sizes[0])) as made:
                    iv_size = made.iv_size
            refusal = None if sizes else text(prober.errno(name))
            found.append(_Algorithm(name, sizes, iv_size, refusal))
        if as_json:
            print_json({"engine": engine.name, "algorithms": [each._asdict() for each in found]})
            return None
        note(f"on the {engine.name} engine")
    rows = [
        (
            each.name,
            listed(each.key_sizes) if each.key_sizes else "-",
            "-" if each.iv_size is None else each.iv_size,
            each.refused or "ok",
        )
        for each in found
    ]
    print_table(("cipher", "key bytes", "IV bytes", "here"), rows)
    return None


def _put(path: Path, key: str, field: str | None, algo: str, key_file: Path, *, there: bool) -> int | None:
    from bpfcrypto.context import CryptoContext

    with _slot(path, key, field) as (engine, _, slot):
        if _found(slot) is not there:
            _refuse_put(slot.map.name, slot.name, there=there)
            return USAGE
        with CryptoContext.create(engine, algo, key_file) as made:
            made.place(slot.map, slot.key, slot.name)
            note(f"{algo} in field '{slot.name}' of map '{slot.map.name}', key check value {made.check_value}")
    return None


def _found(slot: Slot) -> bool:
    """Whether a context is in the slot; an element that is not there has none."""
    from bpfcrypto.errors import KeyNotFoundError

    try:
        return any(slot.take(cpu) for cpu in range(slot.cpus))
    except KeyNotFoundError:
        return False


def _refuse_put(map: str, field: str, *, there: bool) -> None:
    where = f"in field '{field}' of map '{map}'"
    if there:
        print_error(ContextError(f"there is no context {where}", errno=0, hint="make one: 'bpfcrypto ctx create'"))
    else:
        hint = "replace it: 'bpfcrypto ctx rotate'; or drop it first: 'bpfcrypto ctx drop'"
        print_error(ContextError(f"there is a context already {where}", errno=0, hint=hint))


def _look(home: Home, slot: Slot, cpu: int) -> dict[str, object]:
    """What ``check`` says of one CPU's value."""
    report = home.inspect() if slot.take(cpu) else None
    if report is None:
        return {"cpu": cpu, "context": False}
    others = report.references - 1  # without the one that is looked at
    value = home.check_value()
    return {"cpu": cpu, "context": True, "check_value": value, "iv_size": report.iv_size, "references": others}


def _print_checked(map: str, field: str, rows: list[dict[str, object]]) -> None:
    note(f"field '{field}' of map '{map}'")
    names = {"context": "context", "check_value": "key check value", "iv_size": "IV bytes", "references": "references"}
    cells = [
        [row["cpu"], "yes" if row["context"] else "no", *(row.get(name, "-") for name in list(names)[1:])]
        for row in rows
    ]
    per_cpu = len(rows) > 1
    print_table(("CPU", *names.values())[not per_cpu :], [each[not per_cpu :] for each in cells])


@contextmanager
def _slot(path: Path, key: str, field: str | None) -> Iterator[tuple[KernelEngine, Home, Slot]]:
    """The slot that the options name, on the kernel engine."""
    from contextlib import closing

    from bpfcrypto.cli.values import parse_hex
    from bpfcrypto.context.home import Home
    from bpfcrypto.context.slot import Slot
    from bpfcrypto.kernel.engine import KernelEngine

    if key.startswith("hex:"):
        wanted: object = parse_hex(key.removeprefix("hex:"))
    else:
        try:
            wanted = int(key, 0)
        except ValueError:
            raise click.BadParameter(f"'{key}' is neither an integer nor hex:BYTES", param_hint="'--slot'") from None
    with (
        KernelEngine() as engine,
        closing(Home(engine)) as home,
        closing(engine.open_map(path)) as map,
        closing(Slot(engine, home, map, wanted, field)) as slot,
    ):
        yield engine, home, slot
