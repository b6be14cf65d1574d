"""Pins: objects that outlive their collection, and clear words when pinning does not work."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bpfcrypto.abi.maps import MapType
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.errors import PinError
from bpfcrypto.kernel import pin
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.engine import KernelEngine

pytestmark = pytest.mark.kernel


def test_context_survives_its_loader(bpf_directory: Path, kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """A pinned map keeps its context and a pinned program still encrypts with it, after everything else is closed."""
    with kernel_engine.load(cipher_object) as collection:
        assert collection.programs["setup"].run(ctx=bytes(8)).retval == 0
        expected = collection.programs["encrypt"].run(bytes(30)).data
        collection.maps["contexts"].pin(bpf_directory / "contexts")
        collection.programs["encrypt"].pin(bpf_directory / "encrypt")

    program = kernel_engine.open_program(bpf_directory / "encrypt")
    contexts = kernel_engine.open_map(bpf_directory / "contexts")

    assert program.run(bytes(30)).data == expected
    assert (program.name, program.type) == ("encrypt", ProgType.SCHED_CLS)
    assert (contexts.name, contexts.spec.type, contexts.spec.value_size) == ("contexts", MapType.ARRAY, 16)
    assert contexts.typed[0]["uses"] == 2
    program.close()
    contexts.close()


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [("taken", errno.EEXIST, "already"), ("no/where", errno.ENOENT, "does not exist")],
)
def test_places_that_do_not_work(
    bpf_directory: Path, cipher: KernelCollection, name: str, number: int, words: str
) -> None:
    """An existing name and a missing directory are told apart."""
    cipher.maps["contexts"].pin(bpf_directory / "taken")

    with pytest.raises(PinError, match="BPF_OBJ_PIN") as caught:
        cipher.programs["encrypt"].pin(bpf_directory / name)
    assert caught.value.errno == number
    assert caught.value.hint is not None
    assert words in caught.value.hint


def test_not_a_bpf_filesystem(tmp_path: Path, cipher: KernelCollection) -> None:
    """Any other file system is named as such, and nobody is told to mount over it."""
    with pytest.raises(PinError) as caught:
        cipher.maps["contexts"].pin(tmp_path / "pin")

    assert caught.value.hint == f"'{tmp_path}' is not in a BPF file system: pin below one, such as /sys/fs/bpf"


def test_no_bpf_filesystem_where_it_belongs(
    cipher: KernelCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is mounted at the usual place: the hint is the command that mounts it, whatever errno the place gives."""
    monkeypatch.setattr(pin, "DEFAULT_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(pin, "_NOT_MOUNTED", f"mount -t bpf bpf {tmp_path}")

    with pytest.raises(PinError) as caught:
        cipher.maps["contexts"].pin(tmp_path / "pin")
    assert caught.value.hint == f"mount -t bpf bpf {tmp_path}"


def test_nothing_there(tmp_path: Path, kernel_engine: KernelEngine) -> None:
    """Opening what is not pinned says so."""
    with pytest.raises(PinError, match="BPF_OBJ_GET: ENOENT") as caught:
        kernel_engine.open_map(tmp_path / "missing")

    assert caught.value.hint == "nothing is pinned there"


def test_wrong_kind(bpf_directory: Path, kernel_engine: KernelEngine, cipher: KernelCollection) -> None:
    """A pinned map is not a program, and the other way round."""
    cipher.maps["contexts"].pin(bpf_directory / "m")
    cipher.programs["encrypt"].pin(bpf_directory / "p")

    with pytest.raises(PinError, match="is a map, not a prog"):
        kernel_engine.open_program(bpf_directory / "m")
    with pytest.raises(PinError, match="is a prog, not a map"):
        kernel_engine.open_map(bpf_directory / "p")
