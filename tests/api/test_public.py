"""The public names: sorted, present, documented, and cheap to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bpfcrypto

HEAVY = ("ctypes", "cryptography", "elftools", "click", "rich")


def test_names_are_sorted_and_exist() -> None:
    """__all__ is in order, without doubles, and every name can be had."""
    assert list(bpfcrypto.__all__) == sorted(set(bpfcrypto.__all__))
    for name in bpfcrypto.__all__:
        assert getattr(bpfcrypto, name) is not None
        assert name in dir(bpfcrypto)


@pytest.mark.parametrize("name", bpfcrypto.__all__)
def test_names_are_documented(name: str) -> None:
    """Every public class and function says what it is."""
    assert (getattr(bpfcrypto, name).__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bpfcrypto.nonsense  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    """`import bpfcrypto` alone loads none of the dependencies and no engine."""
    code = f"import sys, bpfcrypto; print(*[m for m in sys.modules if m.split('.')[0] in {HEAVY} or m.startswith('bpfcrypto.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert loaded == []


def test_the_embedded_engine_is_the_default() -> None:
    """It runs everywhere; an unknown name is refused with the known ones."""
    with bpfcrypto.open_engine() as engine:
        assert engine.name == "embedded"
    with pytest.raises(bpfcrypto.NotSupportedError, match="embedded, kernel or auto"):
        bpfcrypto.open_engine("magic")


def test_auto_falls_back_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a usable kernel, auto is the embedded engine and its capabilities tell the reason."""
    from bpfcrypto.kernel import probe

    monkeypatch.setattr(probe, "unavailable", lambda: "no bpf(2) today")
    engine = bpfcrypto.open_engine("auto")

    assert engine.name == "embedded"
    assert engine.capabilities.why_not is not None
    assert engine.capabilities.why_not["kernel engine"] == "no bpf(2) today"


@pytest.mark.kernel
def test_auto_takes_the_kernel_where_it_can() -> None:
    """With bpf(2) at hand, auto is the kernel engine."""
    assert bpfcrypto.open_engine("auto").name == "kernel"
