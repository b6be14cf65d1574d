"""The main job, end to end: encrypt every packet of a real capture with a BPF program, decrypt it again, and compare.

    make demo

It needs no root and no compiler: the embedded engine runs everywhere. Where this process may use bpf(2) and the kernel has the crypto
kfuncs, the same object does the same work on the kernel engine too, and both must write the same bytes. The exit code is 0 only if
every file is what it must be.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bpfcrypto import BpfCryptoError, Collection, Engine, open_engine
from bpfcrypto.btf.types import Enum
from bpfcrypto.capture import Packet, create_capture, open_capture, replay

EXAMPLES = Path(__file__).parent
OBJECT = EXAMPLES / "crypto_packets.bpf.o"
TRAFFIC = EXAMPLES / "traffic.pcap"
OUTPUT = Path("build/demo")

CIPHER = "cbc(aes)"
KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f")  # for show, so that every run gives the same files

out = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


@dataclass(frozen=True)
class Pass:
    """One way through the program.

    Attributes:
        program: ``encrypt`` or ``decrypt``.
        path: the capture file that it wrote.
        packets, bytes: what went in.
        verdicts: the program's own counters, by reason.
        seconds: time for all packets, files included.
    """

    program: str
    path: Path
    packets: int
    bytes: int
    verdicts: dict[str, int]
    seconds: float


def main() -> int:
    """Do the job on every engine that is there, and show it."""
    started = time.monotonic()
    out.print("bpfcrypto: encrypt and decrypt a real capture\n", style="bold")
    with ExitStack() as stack:
        engines = list(available_engines(stack))
        out.print(f"\n{OBJECT.name} with {CIPHER} and a {len(KEY) * 8}-bit key, on {TRAFFIC.name}\n")
        jobs = {engine.name: do_job(engine) for engine in engines}
    print_table(jobs)
    encrypted, decrypted = next(iter(jobs.values()))
    print_packet(encrypted.path, decrypted.path)
    faults = compare(jobs)
    out.print(f"\n{time.monotonic() - started:.1f} s in all")
    return 1 if faults else 0


def available_engines(stack: ExitStack) -> Iterable[Engine]:
    """The engines that can do the job here; says of each whether it can, and why not."""
    out.print(f"  Python {platform.python_version()} on {platform.system()} {platform.release()} {platform.machine()}")
    for name in ("embedded", "kernel"):
        try:
            engine = stack.enter_context(open_engine(name))
        except BpfCryptoError as error:
            say_why_not(name, str(error))
            continue
        if "bpf_crypto_encrypt" in engine.capabilities.kfuncs:
            out.print(f"  {name} engine: [green]ok[/]")
            yield engine
        else:
            say_why_not(name, "; ".join((engine.capabilities.why_not or {}).values()) or "it has no crypto kfuncs")


def say_why_not(name: str, why: str) -> None:
    """One line for an engine that cannot be used."""
    out.print(f"  {name} engine: [yellow]not here[/]: ", Text(why), sep="")


def do_job(engine: Engine) -> tuple[Pass, Pass]:
    """Load the object, make the crypto context, and send the capture through encrypt and the result through decrypt."""
    folder = OUTPUT / engine.name
    folder.mkdir(parents=True, exist_ok=True)
    with engine.load(OBJECT, programs=["setup", "encrypt", "decrypt"]) as collection:
        collection.variables["cipher"].value = CIPHER
        collection.variables["key"].value = KEY
        collection.variables["key_len"].value = len(KEY)
        collection.programs["setup"].run()
        status = collection.variables["status"].value
        if status != 0:
            raise SystemExit(f"error: no crypto context: errno {-status}")
        encrypted = send_through(collection, "encrypt", TRAFFIC, folder / "encrypted.pcap")
        decrypted = send_through(collection, "decrypt", encrypted.path, folder / "decrypted.pcap")
    return encrypted, decrypted


def send_through(collection: Collection, program: str, source: Path, target: Path) -> Pass:
    """Run one program on every packet of a capture."""
    before = counters(collection)
    started = time.monotonic()
    with open_capture(source) as capture, create_capture(target, like=capture) as output:
        totals = replay(collection.programs[program], capture, output)
    seconds = time.monotonic() - started
    verdicts = {name: count - before[name] for name, count in counters(collection).items()}
    if totals.refused:
        verdicts["NOT_RUN_FOR_ITS_SIZE"] = totals.refused
    return Pass(program, target, totals.packets, totals.bytes, verdicts, seconds)


def counters(collection: Collection) -> dict[str, int]:
    """The program's per-CPU counters, summed, under the names of its ``enum verdict``."""
    btf = collection.spec.btf
    assert btf is not None
    verdict = btf[btf.find("verdict") or 0]
    assert isinstance(verdict, Enum)
    values = collection.maps["counters"].typed
    named = {each.value: each.name for each in verdict.values}
    return {named[index]: sum(cpu["packets"] for cpu in values[index]) for index in values}


def print_table(jobs: dict[str, tuple[Pass, Pass]]) -> None:
    """One column for each pass, one line for each reason that occurred."""
    passes = [(engine, each) for engine, pair in jobs.items() for each in pair]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("")
    for engine, each in passes:
        table.add_column(f"{engine}\n{each.program}", justify="right")
    table.add_row("packets", *(str(each.packets) for _, each in passes))
    table.add_row("bytes", *(f"{each.bytes:,}" for _, each in passes))
    reasons = [name for name in passes[0][1].verdicts if any(each.verdicts.get(name) for _, each in passes)]
    for name in reasons:
        table.add_row(name.lower().replace("_", " "), *(str(each.verdicts.get(name) or "-") for _, each in passes))
    table.add_row("time", *(f"{each.seconds * 1000:.0f} ms" for _, each in passes))
    out.print(table)


def print_packet(encrypted: Path, decrypted: Path) -> None:
    """The first short packet that was encrypted: as captured, on the wire, and back."""
    with open_capture(TRAFFIC) as a, open_capture(encrypted) as b, open_capture(decrypted) as c:
        chosen = first_short(zip(a, b, c, strict=True))
    if chosen is None:
        return
    before, between, back = chosen
    out.print(
        f"\npacket {before.number}: {len(before.data)} bytes; > marks lines that differ from the packet as captured"
    )
    for title, packet in (("as captured", before), ("encrypted", between), ("decrypted", back)):
        out.print(f"\n  {title}", style="bold")
        print_hex(packet.data, before.data)


def first_short(triples: Iterable[tuple[Packet, Packet, Packet]]) -> tuple[Packet, Packet, Packet] | None:
    """The first changed packet of at most 128 bytes."""
    return next((each for each in triples if each[0].data != each[1].data and len(each[0].data) <= 128), None)


def print_hex(data: bytes, reference: bytes) -> None:
    """Sixteen bytes a line, those that differ from ``reference`` in red."""
    for at in range(0, len(data), 16):
        line, same = data[at : at + 16], reference[at : at + 16]
        text = Text(f"  {'>' if line != same else ' '} {at:04x}  ")
        for byte, other in zip(line, same, strict=True):
            text.append(f"{byte:02x} ", style="" if byte == other else "red")
        text.append("   " * (16 - len(line)) + " ")
        text.append("".join(chr(byte) if 32 <= byte < 127 else "." for byte in line), style="dim")
        out.print(text)


def compare(jobs: dict[str, tuple[Pass, Pass]]) -> int:
    """Compare files byte for byte and say what was found; the number of faults."""
    original = TRAFFIC.read_bytes()
    out.print()
    results = []
    for encrypted, decrypted in jobs.values():
        results.append(
            (f"{decrypted.path} is {TRAFFIC.name} again, byte for byte", decrypted.path.read_bytes() == original)
        )
        results.append((f"{encrypted.path} differs from it", encrypted.path.read_bytes() != original))
    first, *others = jobs.values()
    for other in others:
        same = other[0].path.read_bytes() == first[0].path.read_bytes()
        results.append((f"{other[0].path} and {first[0].path} are equal", same))
    for text, good in results:
        out.print("[green]yes[/]" if good else "[red]NO [/]", Text(f" {text}"), sep="")
    return sum(not good for _, good in results)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BpfCryptoError as error:
        sys.exit(f"error: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
