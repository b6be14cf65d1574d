"""The make targets, as far as they can be tried without installing anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV_SCRIPT = ROOT / "tools/venv.sh"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@needs_make
def test_make_alone_prints_every_target() -> None:
    """``make`` explains each target and does nothing."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    printed = run("make", "--no-print-directory").stdout

    assert {"setup", "demo", "test", "lint", "bpf", "bench", "bench-link", "clean"} <= set(targets)
    assert re.findall(r"^  make ([a-z-]+)", printed, re.MULTILINE) == targets


def test_an_old_python_is_named(tmp_path: Path) -> None:
    """Where the chosen interpreter is too old, nothing is made, and the message says so."""
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    result = run("sh", str(VENV_SCRIPT), str(tmp_path / "venv"), ".", str(tmp_path / "stamp"), PYTHON=str(old))

    assert result.returncode == 1
    assert f"error: bpfcrypto needs Python 3.11 or newer, which '{old}' is not" in result.stderr
    assert "hint: " in result.stderr
    assert list(tmp_path.iterdir()) == [old]


def test_no_python_at_all(tmp_path: Path) -> None:
    """Where there is no Python on PATH, the message says how to get one."""
    for tool in ("sh", "rm"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")

    result = run("sh", str(VENV_SCRIPT), str(tmp_path / "venv"), ".", "stamp", PATH=str(tmp_path), PYTHON="")

    assert result.returncode == 1
    assert "there is none on PATH" in result.stderr


def test_packages_that_cannot_be_had(tmp_path: Path) -> None:
    """Without an index the message says how to name another one, and the target is not marked as done."""
    venv, stamp = tmp_path / "venv", tmp_path / "stamp"
    (venv / "bin").mkdir(parents=True)
    pip_fails = venv / "bin/python"
    pip_fails.write_text(f'#!/bin/sh\n[ "$1" = -m ] && exit 1\nexec "{sys.executable}" "$@"\n')
    pip_fails.chmod(0o755)

    result = run("sh", str(VENV_SCRIPT), str(venv), ".", str(stamp))

    assert result.returncode == 1
    assert "hint: without access to PyPI" in result.stderr
    assert not stamp.exists()


def test_continuous_integration_runs_lint_and_tests_with_the_kernel() -> None:
    """.ci/run is an executable script that stops at the first failure and never skips kernel tests."""
    script = ROOT / ".ci/run"
    text = script.read_text()

    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    assert "BPFCRYPTO_REQUIRE_KERNEL=1" in text
    assert run("bash", "-n", str(script)).returncode == 0
