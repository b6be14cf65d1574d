"""``bpfcrypto run``: one test run, or one for each packet of a capture."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpfcrypto.cli.dump import dump, print_dumps, to_dict
from bpfcrypto.cli.main import REJECTED
from bpfcrypto.cli.objects import FILE, read_spec, require_program
from bpfcrypto.cli.progress import Verifying, progress
from bpfcrypto.cli.render import duration, note, print_json, print_table, si
from bpfcrypto.cli.values import ASSIGNMENTS, assign, parse_hex, split_assignment, to_json, to_text

if TYPE_CHECKING:
    from bpfcrypto.capture import ReplayTotals
    from bpfcrypto.engine import Collection, Program, RunResult


class Hex(click.ParamType[bytes]):
    """Bytes in hexadecimal."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        return value if isinstance(value, bytes) else parse_hex(str(value))


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be run, and on what.

    Attributes:
        program, setup: names of programs; setup may be None.
        data, ctx: the packet and context of a single run.
        repeat: how often a single run is repeated.
        pcap, write: capture files in and out.
        jobs: how many threads run the program on a capture.
        any_order: whether they do so too where packets see each other's traces.
        dump_maps: whether the contents of maps are shown.
        as_json: whether results are printed as JSON.
    """

    program: str
    setup: str | None
    data: bytes | None
    ctx: bytes
    repeat: int
    pcap: str | None
    write: str | None
    jobs: int
    any_order: bool
    dump_maps: bool
    as_json: bool

    def validate(self) -> None:
        """Refuse combinations that make no sense."""
        if self.pcap is not None and (self.data is not None or self.repeat != 1):
            raise click.UsageError("--pcap goes with neither --data nor --repeat")
        if self.pcap is None and (self.write is not None or self.jobs != 1):
            raise click.UsageError(f"{'--write' if self.write is not None else '--jobs'} needs --pcap")
        if self.write == "-" and self.as_json:
            raise click.UsageError("--json and --write - both want standard output")


@click.command()
@click.argument("file", type=FILE)
@click.option("-p", "--program", required=True, metavar="NAME", help="The program to run.")
@click.option("--setup", metavar="NAME", help="A syscall program to run first, once.")
@click.option(
    "--engine",
    type=click.Choice(["embedded", "kernel", "auto"]),
    default="embedded",
    show_default=True,
    help="Where it runs; auto is the kernel where it can.",
)
@ASSIGNMENTS
@click.option("--data", metavar="HEX", type=Hex(), help="The packet, from its Ethernet header.")
@click.option("--pcap", metavar="IN", help="Run on every packet of a pcap or pcapng file; - is standard input.")
@click.option(
    "--write", metavar="OUT", help="Write the packets that pass to a file of the same kind; - is standard output."
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="Run on a capture in N threads, each on a CPU of its own. The output has the order of the input. A program whose packets see "
    "each other's traces, in maps that are not per CPU, runs in one.",
)
@click.option("--any-order", is_flag=True, help="With --jobs: such a program too, its packets in any order.")
@click.option(
    "--ctx", metavar="HEX", type=Hex(), default=b"", help="The context: __sk_buff, xdp_md, or a syscall program's."
)
@click.option("--repeat", metavar="N", type=click.IntRange(min=1), default=1, help="Run N times on the same packet.")
@click.option("--dump-maps", is_flag=True, help="Show the contents of maps after the run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def run(file: Path, engine: str, assignments: tuple[str, ...], **rest: object) -> int | None:
    """Run a program on one packet, or on all packets of a capture file.

    FILE is an object or a .bpf.c file. Packets that the program drops are left out of the output and counted. Keys are better given as
    @FILE than on the command line, where other users can see them. What programs print goes to standard error; on the kernel engine, to
    the trace_pipe of tracefs.
    """
    from bpfcrypto.runtime import open_engine

    options = Options(**rest)  # type: ignore[arg-type]
    options.validate()
    wanted = dict(map(split_assignment, assignments))
    spec = read_spec(file)
    programs = [name for name in (options.setup, options.program) if name is not None]
    for name in programs:
        require_program(spec, name)
    with ExitStack() as stack:
        with Verifying() as progress:
            opened = stack.enter_context(open_engine(engine, trace=note, progress=progress))
            collection = stack.enter_context(opened.load(spec, programs=programs))
        assign(collection, wanted)
        if options.setup is not None:
            run_setup(collection, options.setup)
        if options.pcap is not None:
            return _run_capture(collection, options)
        program = collection.programs[options.program]
        result = program.run(options.data or b"", ctx=options.ctx, repeat=options.repeat)
        _print_result(collection, program, result, options)
    return None


def run_setup(collection: Collection, name: str) -> None:
    """Run a syscall program that prepares the others.

    Raises:
        ContextError: it returned something other than 0, or left a negative errno in a variable ``status``.
    """
    from bpfcrypto.abi.errno import text
    from bpfcrypto.errors import ContextError

    retval = collection.programs[name].run().retval
    value = retval - (1 << 32) if retval >> 31 else retval
    what = "returned"
    if value == 0 and "status" in collection.variables:
        status = collection.variables["status"].value
        if isinstance(status, int) and status != 0:
            what, value = "left the status", status
    if value == 0:
        return
    errno = -value if -4096 < value < 0 else 0
    raise ContextError(
        f"setup program '{name}' {what} {value}" + (f": {text(errno)}" if errno else ""),
        errno=errno,
        hint="a cipher's name, key length or tag size may be wrong: 'bpfcrypto doctor' lists the ciphers",
    )


def _run_capture(collection: Collection, options: Options) -> int | None:
    from bpfcrypto.capture import ReplayTotals, create_capture, open_capture, replay
    from bpfcrypto.cli.main import print_error
    from bpfcrypto.errors import CaptureError

    assert options.pcap is not None
    program = collection.programs[options.program]
    totals = ReplayTotals()
    failure = None
    with ExitStack() as stack:
        capture = stack.enter_context(open_capture(options.pcap))
        output = None
        if options.write is not None:
            output = stack.enter_context(create_capture(options.write, like=capture))
        try:
            with progress(capture, options.pcap) as show:
                jobs = _jobs(program, options)
                replay(program, capture, output, ctx=options.ctx, totals=totals, on_progress=show, jobs=jobs)
        except CaptureError as error:
            failure = error
    _print_totals(collection, totals, options)
    if failure is not None:
        print_error(failure)
        return REJECTED
    return None


def _jobs(program: Program, options: Options) -> int:
    """In how many threads a capture is gone through."""
    from bpfcrypto.capture import most_jobs, one_job

    if options.jobs == 1:
        return 1
    why = "each packet is given a context" if options.ctx else one_job(program, any_order=options.any_order)
    if why:
        note(f"note: --jobs {options.jobs} is one job here: {why}")
        return 1
    most = most_jobs(program)
    if options.jobs > most:
        note(f"note: --jobs {options.jobs} is {most} here: there are {most} CPUs")
    return min(options.jobs, most)


def _variables(collection: Collection) -> Iterator[tuple[str, object]]:
    for name, variable in collection.variables.items():
        yield name, variable.value


def _contents(collection: Collection, options: Options) -> dict[str, object]:
    """The part of the JSON that --dump-maps adds."""
    return {"maps": {each.name: to_dict(each) for each in dump(collection)}} if options.dump_maps else {}


def _print_result(collection: Collection, program: Program, result: RunResult, options: Options) -> None:
    from bpfcrypto.capture import verdict_name

    if options.as_json:
        print_json(
            {
                "retval": result.retval,
                "data": result.data.hex(),
                "ctx": result.ctx.hex(),
                "duration_ns": result.duration_ns,
                "variables": {name: to_json(value) for name, value in _variables(collection)},
                **_contents(collection, options),
            }
        )
        return
    verdict = verdict_name(program.type, result.retval)
    rows = [("retval", verdict if verdict == str(result.retval) else f"{result.retval} ({verdict})")]
    if result.duration_ns:
        rows.append(("time", duration(result.duration_ns)))
    if result.data:
        rows.append((f"data ({len(result.data)} bytes)", result.data.hex()))
    rows += [(name, to_text(value)) for name, value in _variables(collection)]
    print_table(("what", "value"), rows)
    if options.dump_maps:
        print_dumps(dump(collection))


def _print_totals(collection: Collection, totals: ReplayTotals, options: Options) -> None:
    variables = dict(_variables(collection))
    if options.as_json:
        print_json(
            {
                "packets": totals.packets,
                "bytes": totals.bytes,
                "changed": totals.changed,
                "written": totals.written,
                "dropped": totals.dropped,
                "refused": totals.refused,
                "verdicts": dict(totals.verdicts),
                "duration_ns": totals.duration_ns,
                "variables": {name: to_json(value) for name, value in variables.items()},
                **_contents(collection, options),
            }
        )
        return
    rows: list[tuple[str, object]] = [
        ("packets", totals.packets),
        ("bytes", si(totals.bytes, "B")),
        ("changed", totals.changed),
        ("written" if options.write else "passed", totals.written),
        ("dropped", totals.dropped),
        *totals.verdicts.most_common(),
        ("time in program", duration(totals.duration_ns)),
    ]
    print_table(("what", "value"), rows, right=("value",), err=options.write == "-")
    if options.dump_maps:
        print_dumps(dump(collection), err=options.write == "-")
    if totals.refused:
        note(f"warning: {totals.refused} packets are too short or too long for a test run, and were copied unchanged")
    sys.stdout.flush()
