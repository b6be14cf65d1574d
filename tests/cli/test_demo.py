"""The demo: the main job from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpfcrypto.kernel.probe import unavailable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The demo, run in an empty folder."""
    folder = tmp_path_factory.mktemp("demo")
    result = subprocess.run(
        [sys.executable, ROOT / "examples/demo.py"],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return folder, result


def test_the_files_are_what_they_must_be(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Decrypting gives the capture back byte for byte; in between it is another file of the same size."""
    folder, result = demo
    original = (ROOT / "examples/traffic.pcap").read_bytes()
    encrypted = (folder / "build/demo/embedded/encrypted.pcap").read_bytes()

    assert result.returncode == 0, result.stdout + result.stderr
    assert (folder / "build/demo/embedded/decrypted.pcap").read_bytes() == original
    assert encrypted != original
    assert len(encrypted) == len(original)


def test_it_tells_what_it_did(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The table counts packets and reasons, and one packet is shown before, between and after."""
    out = demo[1].stdout

    for words in ("embedded engine: ok", "packets", "encrypted", "passed not ip", "as captured", "decrypted"):
        assert words in out
    assert "NO " not in out
    assert "\x1b[" not in out


def test_the_engines_agree(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Where the kernel engine works, its files are the embedded engine's; elsewhere the demo says why it is left out."""
    out = demo[1].stdout
    if unavailable() is None:
        assert "kernel/encrypted.pcap and build/demo/embedded/encrypted.pcap are equal" in out
    else:
        assert "kernel engine: not here: " in out


def test_a_difference_is_a_failure(tmp_path: Path) -> None:
    """If the last file were not the first one, the demo would say so and fail."""
    code = (
        f"import runpy, sys; demo = runpy.run_path({str(ROOT / 'examples/demo.py')!r})\n"
        "Pass = demo['Pass']; from pathlib import Path\n"
        "Path('a').write_bytes(b'x'); p = Pass('encrypt', Path('a'), 0, 0, {}, 0.0)\n"
        "sys.exit(demo['compare']({'embedded': (p, p)}))"
    )

    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert "NO  a is traffic.pcap again" in result.stdout
