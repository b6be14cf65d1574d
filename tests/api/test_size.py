"""The tree stays readable: small files, a docstring on top, and nothing that belongs to one machine."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/bpfcrypto").rglob("*.py"))
TABLES = ROOT / "src/bpfcrypto/abi"

CAP = 600
MEDIAN = 200

# Folders that only exist on the machine of whoever wrote them down.
MACHINE_PATHS = re.compile(rb"/(?:home|Users)/[a-z]|/root/[a-z.]|[A-Z]:\\Users", re.ASCII)


@cache
def tracked() -> list[Path]:
    """Every file of the repository; outside a git checkout, every file that is not generated."""
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if result.returncode == 0 and result.stdout:
        return [path for name in result.stdout.decode().split("\0") if (path := ROOT / name).is_file()]
    folders = ("src", "tests", "docs", "examples", "tools", "bench")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_small_and_say_what_they_decide(path: Path) -> None:
    """No file but a table of facts is longer than 600 lines, and each begins with a docstring."""
    text = path.read_text()

    assert TABLES in path.parents or len(text.splitlines()) <= CAP
    assert ast.get_docstring(ast.parse(text)), "the docstring on top says what the file decides"


def test_the_median_file_is_short() -> None:
    """Half of the files can be read in a few minutes."""
    sizes = [len(path.read_text().splitlines()) for path in SOURCES if path.name != "__init__.py"]

    assert statistics.median(sizes) <= MEDIAN


def test_tests_are_small() -> None:
    """Tests are read, too."""
    long = [path for path in tracked() if "tests" in path.parts and path.suffix == ".py" if lines(path) > CAP]

    assert long == []


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_path_of_one_machine() -> None:
    """Nothing in the tree, objects included, names a folder of somebody's machine."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0].decode()}"
        for path in tracked()
        if path != Path(__file__)
        for match in MACHINE_PATHS.finditer(path.read_bytes())
    ]

    assert found == []


def test_every_test_says_what_it_proves() -> None:
    """A test function has a docstring."""
    silent = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in tracked()
        if path.name.startswith("test_") and path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_licences_are_there() -> None:
    """Every licence that a file names has its text in the tree."""
    named = {
        name
        for path in tracked()
        if path.suffix in {".c", ".h"}
        for expression in re.findall(r"SPDX-License-Identifier: ([^*\n]+)", path.read_text())
        for name in re.split(r"\s+(?:OR|AND|WITH)\s+|[()]", expression.strip())
        if name
    }

    assert named, "BPF C carries a licence identifier"
    assert all((ROOT / "LICENSES" / f"{name}.txt").exists() for name in named)
