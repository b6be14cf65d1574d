"""Pages of results, such as docs/reference/speed.md, with their numbers as JSON and a plot for each group."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from bench.rows import Row, plot

HEAD = """# How fast it is

Written by `make bench ARGS=--write`; other machines give other numbers, and much the same ratios. What is compared took turns in the same run, and medians count.
Measured on {machine}.

"""

TITLES = {
    "programs": "Programs as machine code: time / the kernel's",
    "AES": "AES in machine code: speed / OpenSSL's",
    "captures": "Captures, from file to file",
    "calls": "Calls for one packet",
    "compiling": "Compiling",
    "verifier": "The verifier",
    "interpreter": "The interpreter",
    "loading": "Loading the example",
    "commands": "Whole commands",
}
NOTES = {
    "programs": "Both run the same object on the same packet; a program that does nothing is taken off both. 1 is the kernel's own machine code. "
    "`primes` and `fnv` wait for one division or multiplication after another, as the kernel's code does: there is nothing to gain, and they are even "
    "within what a measurement can tell.",
    "AES": "A call by pointer with a key that is ready, beside `EVP_EncryptUpdate` and `EVP_DecryptUpdate` with a context that is ready, both called "
    "from one compiled loop. In CBC encryption each block waits for the one before, for everybody.",
    "captures": "Read, encrypted in ECB mode and written, from file to file, by one job. `write()` alone from a buffer in the cache is the limit; at 64 bytes the work on "
    "packets takes as long again. The contender reads and writes with dpkt, cuts each packet at a fixed offset, and encrypts with one call of `cryptography`, which is the "
    "least that Python can do; a hundred times that is more than the disk takes.",
    "calls": "What a call takes beyond the program's own time: one packet in, one result out.",
    "compiling": "Processor time, LLVM included. A program is compiled once for each machine; afterwards its code comes from disk.",
    "commands": "Of a run, nearly all is Python's start and the imports of click, rich, pyelftools and llvmlite.",
}
_PCAP_HEADER, _RECORD_HEADER = 24, 16


def machine() -> str:
    """What a page says of the machine: no more than others can have as well."""
    return f"{platform.machine()}, {platform.system()} {platform.release().split('-')[0]}"


def write(
    folder: Path, rows: Sequence[Row], head: str, name: str, titles: Mapping[str, str], notes: Mapping[str, str]
) -> None:
    """Write a page, its data and its plots into a folder.

    Args:
        folder: where to.
        rows: what was measured; those of a group stand together.
        head: what the page begins with.
        name: of the page, its data and its plots.
        titles, notes: of groups.
    """
    text = [head]
    for group, found in groupby(rows, key=lambda row: row.group):
        each = list(found)
        title = titles.get(group, group)
        picture = f"{name}-{re.sub('[^a-z0-9]+', '-', group.lower()).removeprefix('esp-')}.svg"
        (folder / picture).write_text(plot(title, each))
        text.append(f"## {title}\n\n")
        if group in notes:
            text.append(f"{notes[group]}\n\n")
        text.append(f"![{title}]({picture})\n\n| what | value | goal | |\n|---|---:|---:|---|\n")
        text += [f"| {row.name} | {row.shown} | {row.goal_shown} | {row.verdict} |\n" for row in each]
        text.append("\n")
    (folder / f"{name}.md").write_text("".join(text).rstrip() + "\n")
    (folder / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def first_packet(path: Path) -> bytes:
    """A pcap file with the first packet of another."""
    data = path.read_bytes()
    size = int.from_bytes(data[_PCAP_HEADER + 8 : _PCAP_HEADER + 12], "little")
    return data[: _PCAP_HEADER + _RECORD_HEADER + size]
