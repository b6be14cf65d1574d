"""``bpfcrypto esp seal`` and ``bpfcrypto esp open``: ESP over capture files, on the embedded engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

import click

from bpfcrypto.cli.main import REJECTED, print_error
from bpfcrypto.cli.progress import Verifying, progress
from bpfcrypto.cli.render import note, print_json, print_table

if TYPE_CHECKING:
    from bpfcrypto.capture import ReplayTotals
    from bpfcrypto.engine import Engine
    from bpfcrypto.programs.esp.offline import Opener, Sealer, Used

_Given = ParamSpec("_Given")
_Command = Callable[_Given, int | None]

_STREAM_EPOCHS = range(1, 17)
_LAST_EPOCH = (1 << 24) - 1
_LAST_SEQUENCE = (1 << 64) - 2


class Epochs(click.ParamType[range]):
    """``A-B``, or one number."""

    name = "epochs"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> range:
        if isinstance(value, range):
            return value
        first, _, last = str(value).partition("-")
        try:
            found = range(int(first), int(last or first) + 1)
        except ValueError:
            self.fail(f"'{value}' is no range of numbers, such as 1-16", param, ctx)
        if not found or not 1 <= found[0] <= found[-1] <= _LAST_EPOCH:
            self.fail(f"'{value}' is not within 1 to {_LAST_EPOCH}, the lower number first", param, ctx)
        return found


def _captures(command: _Command[_Given]) -> _Command[_Given]:
    """What both commands take."""
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--strict", is_flag=True, help="End with 1 if any packet was dropped."),
        click.option(
            "--config",
            required=True,
            metavar="CONFIG",
            type=click.Path(path_type=Path),
            help="The configuration: its policies and its peers.",
        ),
        click.argument("output", metavar="OUT"),
        click.argument("source", metavar="IN"),
    ):
        command = add(command)
    return command


@click.command()
@_captures
@click.option(
    "--epoch",
    metavar="N",
    type=click.IntRange(1, _LAST_EPOCH),
    default=1,
    show_default=True,
    help="The epoch, of peers with a secret.",
)
@click.option(
    "--sequence",
    metavar="N",
    type=click.IntRange(0, _LAST_SEQUENCE),
    default=0,
    show_default=True,
    help="The last number that counts as used in that epoch. Explicit keys have theirs in CONFIG.",
)
def seal(source: str, output: str, config: Path, epoch: int, sequence: int, strict: bool, as_json: bool) -> int | None:
    """Encrypt and authenticate the packets of a capture, as this host would send them.

    IN is a pcap or pcapng file of an Ethernet interface, - is standard input; OUT is of the same kind, - is standard output. Packets to a
    peer's prefixes become ESP, ARP and what CONFIG lets pass stays as it is, and everything else is dropped, packets from a peer as well. An
    MTU is only kept where CONFIG has one. No privileges are needed, and nothing is kept: the same epoch and numbers give two captures the
    same keys and nonces, and who has both can read both. The last numbers that were used are printed. Ends with 1 if packets were
    dropped and none was sealed.
    """
    from bpfcrypto.programs.esp.config import load_config
    from bpfcrypto.programs.esp.offline import sealer

    _require_one_output(output, as_json)
    loaded = load_config(config)
    with ExitStack() as stack:
        with Verifying() as verifying:
            engine = stack.enter_context(_engine(verifying))
            made = stack.enter_context(sealer(engine, loaded, epoch=epoch, sequence=sequence))
        return _Work("SEALED", source, output, strict, as_json).run(made)


@click.command("open")
@_captures
@click.option(
    "--epochs",
    metavar="A-B",
    type=Epochs(),
    help="The epochs, of peers with a secret; by default those in IN, which is read twice, and 1-16 where it is a pipe.",
)
@click.option(
    "--sequence",
    metavar="N",
    type=click.IntRange(0, _LAST_SEQUENCE),
    help="The number before the first of the capture. Packets have only the lower half of extended numbers, so that it is needed above 2^32.",
)
def open_(
    source: str,
    output: str,
    config: Path,
    epochs: range | None,
    sequence: int | None,
    strict: bool,
    as_json: bool,
) -> int | None:
    """Decrypt the ESP packets of a capture, in both directions, whatever made them.

    IN is a pcap or pcapng file of an Ethernet interface, - is standard input; OUT is of the same kind, - is standard output. Packets that
    are not authentic, or not between the prefixes of CONFIG, are dropped; so are those that come twice or far too late, as by a host. What
    is in the clear stays if CONFIG lets it pass. No privileges are needed. Ends with 1 if packets were dropped and none was opened.
    """
    from bpfcrypto.programs.esp.config import load_config
    from bpfcrypto.programs.esp.offline import opener

    _require_one_output(output, as_json)
    loaded = load_config(config)
    with ExitStack() as stack:
        with Verifying() as verifying:
            engine = stack.enter_context(_engine(verifying))
            made = stack.enter_context(opener(engine, loaded, sequence=sequence))
        if epochs is None and os.path.isfile(source):
            _look(made, source)
        else:
            made.install_epochs(epochs or _STREAM_EPOCHS)
        return _Work("OPENED", source, output, strict, as_json).run(made)


def _engine(verifying: Verifying) -> Engine:
    from bpfcrypto.runtime import open_engine

    return open_engine("embedded", trace=note, progress=verifying)


def _require_one_output(output: str, as_json: bool) -> None:
    if output == "-" and as_json:
        raise click.UsageError("--json and OUT - both want standard output")


def _look(made: Opener, source: str) -> None:
    """Find out which epochs a file has. Damage is for those who read it for its packets."""
    from bpfcrypto.capture import open_capture, replay
    from bpfcrypto.errors import CaptureError

    with suppress(CaptureError), open_capture(source) as capture:
        replay(made.looker, capture)
    made.install_found()
    for missing in made.missing:
        note(f"warning: {missing}")


class _Work:
    """One capture on its way.

    Args:
        wanted: the verdict of packets that the command is for.
        source, output: capture files in and out.
        strict: whether any packet that is dropped is a failure.
        as_json: whether results are printed as JSON.
    """

    def __init__(self, wanted: str, source: str, output: str, strict: bool, as_json: bool) -> None:
        self._wanted = wanted
        self._source = source
        self._output = output
        self._strict = strict
        self._as_json = as_json

    def run(self, made: Sealer | Opener) -> int | None:
        """Run the programs on all packets; the exit code."""
        from bpfcrypto.capture import ReplayTotals, create_capture, open_capture, replay
        from bpfcrypto.errors import CaptureError
        from bpfcrypto.programs.esp.verdicts import drops

        totals, failure = ReplayTotals(), None
        with ExitStack() as stack:
            capture = stack.enter_context(open_capture(self._source))
            output = stack.enter_context(create_capture(self._output, like=capture))
            try:
                with progress(capture, self._source) as show:
                    replay(made.program, capture, output, totals=totals, on_progress=show, drop_refused=True)
            except CaptureError as error:
                failure = error
        verdicts, used = made.verdicts(), list(made.used())
        self._print(totals, verdicts, used)
        if failure is not None:
            print_error(failure)
            return REJECTED
        lost = sum(drops(verdicts).values()) + totals.refused
        if lost and not verdicts.get(self._wanted):
            note(f"error: no packet was {self._wanted.lower()}")
            return REJECTED
        return REJECTED if lost and self._strict else None

    def _print(self, totals: ReplayTotals, verdicts: dict[str, int], used: Sequence[Used]) -> None:
        from bpfcrypto.programs.esp.verdicts import VERDICTS

        if self._as_json:
            print_json(
                {
                    "packets": totals.packets,
                    "bytes": totals.bytes,
                    "written": totals.written,
                    "dropped": totals.dropped,
                    "refused": totals.refused,
                    "verdicts": verdicts,
                    "associations": [_to_dict(each) for each in used],
                    "duration_ns": totals.duration_ns,
                }
            )
            return
        err = self._output == "-"
        rows: list[tuple[object, ...]] = [
            (name, verdicts[name], verdict.text) for name, verdict in VERDICTS.items() if name in verdicts
        ]
        if totals.refused:
            rows.append(("(size)", totals.refused, "no test run takes a packet so short or so long: dropped"))
        print_table(("verdict", "packets", "meaning"), rows, right=("packets",), err=err)
        columns = ("peer", "dir", "SPI", "packets", "sequence")
        cells = [
            (each.peer.name, _direction(each), f"{each.association.spi:#x}", _packets(each), _sequence(each))
            for each in used
        ]
        if cells:
            click.echo(err=err)
            print_table(columns, cells, right=("packets", "sequence"), err=err)
        sys.stdout.flush()


def _direction(each: Used) -> str:
    return "out" if each.association.outbound else "in"


def _packets(each: Used) -> int:
    return sum(each.tally.packets.values())


def _sequence(each: Used) -> int:
    """The last number, of what was sealed or of what was opened."""
    return each.association.sequence if "SEALED" in each.tally.packets else each.association.highest


def _to_dict(each: Used) -> dict[str, object]:
    return {
        "peer": each.peer.name,
        "direction": _direction(each),
        "spi": each.association.spi,
        "sequence": _sequence(each),
        "packets": dict(each.tally.packets),
    }
