"""``bpfcrypto attach`` and ``bpfcrypto detach``: programs onto interfaces, and off again."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.abi.hooks import Hook
from bpfcrypto.cli.main import exit_code, print_error
from bpfcrypto.cli.objects import FILE, read_spec, require_program
from bpfcrypto.cli.render import note
from bpfcrypto.cli.run import run_setup
from bpfcrypto.cli.values import ASSIGNMENTS, assign, split_assignment
from bpfcrypto.errors import BpfCryptoError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpfcrypto.kernel.collection import KernelCollection
    from bpfcrypto.kernel.engine import KernelEngine
    from bpfcrypto.link import Link, Order

NETNS_HELP = "The network namespace: a name as 'ip netns' has it, or a path such as /proc/1234/ns/net."


@click.command()
@click.argument("file", type=FILE)
@click.option("-p", "--program", required=True, metavar="NAME", help="The program to attach.")
@click.option("-i", "--interface", required=True, metavar="NAME", help="The interface.")
@click.option(
    "--pin",
    required=True,
    metavar="PIN",
    help="What keeps it attached: a path in a BPF file system, or a name in /sys/fs/bpf.",
)
@click.option("--netns", metavar="NETNS", help=NETNS_HELP)
@click.option(
    "--hook",
    type=click.Choice([hook.value for hook in Hook]),
    help="Where on the interface; by default what the program's section says.",
)
@click.option("--first", is_flag=True, help="Run it before the other programs of the hook, not behind them.")
@click.option("--before", metavar="PIN", help="Run it just before the program of that link.")
@click.option("--after", metavar="PIN", help="Run it just behind the program of that link.")
@click.option("--replace", is_flag=True, help="If PIN is a link there already, put the program in its place.")
@click.option(
    "--pin-map",
    "pinned_maps",
    metavar="NAME=PIN",
    multiple=True,
    help="Use the map that is pinned as PIN, contexts included; if nothing is, pin the new one there. May be repeated.",
)
@click.option("--setup", metavar="NAME", help="A syscall program to run first, once.")
@ASSIGNMENTS
def attach(
    file: Path,
    program: str,
    interface: str,
    pin: str,
    netns: str | None,
    hook: str | None,
    first: bool,
    before: str | None,
    after: str | None,
    replace: bool,
    pinned_maps: tuple[str, ...],
    setup: str | None,
    assignments: tuple[str, ...],
) -> None:
    """Attach a program to an interface, and pin it there.

    FILE is an object or a .bpf.c file. The program stays when this command has ended, and its maps and crypto contexts with it, until
    'bpfcrypto detach PIN'. Whatever happens, SIGKILL included, it ends up attached and pinned, or not at all. With --replace every
    packet meets the old program or the new one, and --setup has run before the first meets the new one.
    """
    from bpfcrypto.kernel.engine import KernelEngine
    from bpfcrypto.kernel.pin import place

    if sum((first, before is not None, after is not None)) > 1:
        raise click.UsageError("only one of --first, --before and --after")
    wanted = dict(split_assignment(each) for each in assignments)
    maps = {name: place(path) for name, path in (split_assignment(each, "--pin-map") for each in pinned_maps)}
    spec = read_spec(file)
    names = [name for name in (setup, program) if name is not None]
    for name in names:
        require_program(spec, name)
    with ExitStack() as stack:
        engine = stack.enter_context(KernelEngine())
        collection = stack.enter_context(engine.load(spec, programs=names, reuse=maps))
        assign(collection, wanted)
        if setup is not None:
            run_setup(collection, setup)
        link = collection.programs[program].attach(
            interface,
            Hook(hook) if hook is not None else None,
            netns=netns,
            pin=pin,
            order=_order(engine, stack, first=first, before=before, after=after, netns=netns),
            replace=replace,
        )
        stack.enter_context(link)
        _pin_maps(collection, maps, link, fresh=not replace)
        note(f"attached, and pinned as {link.pinned}")


def _pin_maps(collection: KernelCollection, maps: Mapping[str, Path], link: Link, *, fresh: bool) -> None:
    """Pin what is not pinned yet, behind the link: before it, a crash would leave maps that nobody uses."""
    done: list[Path] = []
    try:
        for name, path in maps.items():
            if not path.exists():
                collection.maps[name].pin(path)
                done.append(path)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        if fresh:
            link.detach()
        raise


def _order(
    engine: KernelEngine, stack: ExitStack, *, first: bool, before: str | None, after: str | None, netns: str | None
) -> Order | None:
    from bpfcrypto.link import Order

    neighbour = before if before is not None else after
    if neighbour is not None:
        link: Link = engine.open_link(neighbour, netns)
        stack.callback(link.close)
        return Order(link, before=before is not None)
    return Order() if first else None


@click.command()
@click.argument("pins", metavar="PIN...", nargs=-1, required=True)
@click.option("--netns", metavar="NETNS", help=f"Where to look on kernels without TCX. {NETNS_HELP}")
def detach(pins: tuple[str, ...], netns: str | None) -> int | None:
    """Take programs off their interfaces, and their pins away.

    PIN is what 'bpfcrypto attach' was given. A PIN that is no link is an error, and the others are detached all the same.
    """
    from bpfcrypto.kernel.engine import KernelEngine

    code = 0
    with KernelEngine() as engine:
        for pin in pins:
            try:
                with engine.open_link(pin, netns) as link:
                    link.detach()
            except BpfCryptoError as error:
                print_error(error)
                code = max(code, exit_code(error))
    return code or None
