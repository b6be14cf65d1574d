"""The layers of the architecture hold, and start-up stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bpfcrypto.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = ("rich", "cryptography", "elftools", "llvmlite", "ziglang", "importlib.metadata", "subprocess", "logging")


def test_import_contracts_hold() -> None:
    """Higher layers import lower ones, never the other way round."""
    program = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"

    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running ``code``."""
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Help and version answer at once: click is the only dependency that they load."""
    loaded = loaded_by(f"from bpfcrypto.cli.main import main; main({arguments!r})")

    assert loaded.isdisjoint(HEAVY)
    assert "bpfcrypto.engine" not in loaded


def test_importing_the_package_loads_nothing() -> None:
    """``import bpfcrypto`` alone loads none of its modules; names are fetched on first use."""
    loaded = loaded_by("import bpfcrypto")

    assert {name for name in loaded if name.startswith("bpfcrypto")} == {"bpfcrypto"}


def test_unknown_names_are_attribute_errors() -> None:
    """The lazy names do not hide typing mistakes."""
    import bpfcrypto

    with pytest.raises(AttributeError, match="no attribute 'open_engin'"):
        _ = bpfcrypto.open_engin  # type: ignore[attr-defined]


def test_public_names_are_sorted_and_there() -> None:
    """``__all__`` is sorted and every name in it can be had."""
    import bpfcrypto

    assert sorted(bpfcrypto.__all__) == bpfcrypto.__all__
    assert all(getattr(bpfcrypto, name) is not None for name in bpfcrypto.__all__)
    assert set(bpfcrypto.__all__) <= set(dir(bpfcrypto))
