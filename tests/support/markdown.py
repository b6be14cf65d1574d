"""Reads fenced blocks out of Markdown pages, and runs the commands that they show.

A ``console`` block is a transcript: a line after ``$`` is a command, which goes on after a backslash and in lines after ``>``; the lines
below it are what it prints on standard output and standard error. ``...`` stands for any text within a line, and alone on a line for any number of lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line that it starts on."""

    page: Path
    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command of a transcript, and what it is said to print."""

    block: Block
    text: str
    output: str


def pages() -> list[Path]:
    """Every Markdown page of the repository."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    language, start, lines = None, 0, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if language is None and (match := re.fullmatch(r"```(\w*)", line)):
            language, start, lines = match[1], number + 1, []
        elif language is not None and line == "```":
            yield Block(page, language, "\n".join(lines) + "\n", start)
            language = None
        elif language is not None:
            lines.append(line)


def commands(block: Block) -> Iterator[Command]:
    """The commands of a transcript."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        taken = 1
        while lines[taken - 1].endswith("\\") or (taken < len(lines) and lines[taken].startswith(">")):
            taken += 1
        text = "\n".join(re.sub(r"^> ?", "", line) for line in lines[:taken])
        yield Command(block, text, "\n".join(lines[taken:]))


def execute(command: str, folder: Path) -> str:
    """What a shell command prints, with this Python's ``bin`` first on PATH; ``examples`` is there, as in a checkout."""
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return "\n".join(line.rstrip() for line in result.stdout.splitlines())


def agrees(shown: str, printed: str) -> bool:
    """Whether what a page shows stands for what was printed. Runs of spaces are alike: columns are as wide as their widest time."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"
        for line in _lines(shown)
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _lines(text: str) -> list[str]:
    return [re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines()]
