"""``bpfcrypto links``: which programs are on which interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bpfcrypto.cli.render import print_json, print_table

if TYPE_CHECKING:
    from bpfcrypto.kernel.attachments import Attachment


@click.command()
@click.option(
    "--netns",
    metavar="NETNS",
    multiple=True,
    help="A network namespace to look at besides this one and those with a name: a path such as /proc/1234/ns/net. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def links(netns: tuple[str, ...], as_json: bool) -> None:
    """Show which programs are attached to interfaces, and where they are pinned.

    The interfaces themselves are asked. Those of each hook stand in the order in which they run. A link without an interface is off: it
    was detached while pinned, or its interface is gone.
    """
    from bpfcrypto.kernel.engine import KernelEngine

    with KernelEngine() as engine:
        found = engine.attachments(netns)
    if as_json:
        print_json([_to_dict(each) for each in found])
    elif found:
        print_table(
            ("interface", "hook", "program", "kind", "link", "pinned", "namespace"),
            [_row(each) for each in found],
        )
    else:
        click.echo("nothing is attached")


def _to_dict(each: Attachment) -> dict[str, object]:
    return {
        "netns": each.netns,
        "interface": each.interface,
        "ifindex": each.ifindex,
        "hook": each.hook,
        "kind": each.kind,
        "link": each.link,
        "program": each.program,
        "name": each.name,
        "pinned": None if each.pinned is None else str(each.pinned),
        "attached": each.attached,
    }


def _row(each: Attachment) -> tuple[object, ...]:
    unknown = f"index {each.ifindex}" if each.attached else "- (off)"
    namespace = "another" if each.netns is None else each.netns or "this"
    return (
        each.interface or unknown,
        each.hook or "xdp",
        f"{each.name} ({each.program})",
        each.kind,
        each.link or "-",
        each.pinned or "-",
        namespace if each.attached else "-",
    )
