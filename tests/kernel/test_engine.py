"""The engine: sources, choices, verdicts, and nothing left behind."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.engine import Checker, Engine
from bpfcrypto.errors import BpfCryptoError, ObjectError, VerifierError
from bpfcrypto.kernel.collection import KernelCollection
from bpfcrypto.kernel.engine import KernelEngine
from bpfcrypto.loader.load import load_spec
from support.ciphers import cipher_users


def test_satisfies_the_protocols() -> None:
    """It is an engine and a checker, also for the type checker."""
    engine: Engine = KernelEngine()

    assert engine.name == "kernel"
    assert isinstance(engine, Checker)


@pytest.mark.kernel
def test_sources(kernel_engine: KernelEngine, cipher_object: bytes, tmp_path: Path) -> None:
    """A path, bytes and a spec load alike; only programs marked for loading are loaded."""
    path = tmp_path / "cipher.bpf.o"
    path.write_bytes(cipher_object)
    for source in (path, str(path), cipher_object, load_spec(cipher_object)):
        with kernel_engine.load(source) as collection:
            assert list(collection.programs) == ["setup", "encrypt", "grow"]
            assert "contexts" in collection.maps
            assert "key" in collection.variables


@pytest.mark.parametrize("programs", [["nope"], ["encrypt", "nope"]])
def test_unknown_program(cipher_object: bytes, programs: list[str]) -> None:
    """A name that the object does not have is refused with the names it has."""
    with pytest.raises(ObjectError, match="there is no program 'nope'") as caught:
        KernelEngine().load(cipher_object, programs=programs)

    assert caught.value.hint == "its programs: setup, encrypt, grow, leak"


def test_unreadable_source(tmp_path: Path) -> None:
    """A file that is not there, and one that is no object, are ObjectErrors with the file's name."""
    with pytest.raises(ObjectError, match=r"gone\.o: cannot be read"):
        KernelEngine().load(tmp_path / "gone.o")
    path = tmp_path / "text.o"
    path.write_text("hello")
    with pytest.raises(ObjectError, match=r"text\.o"):
        KernelEngine().load(path)


@pytest.mark.kernel
def test_rejected_program(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """The error has the program's name, the message, the errno and the whole log with source lines."""
    with pytest.raises(VerifierError) as caught:
        kernel_engine.load(cipher_object, programs=["setup", "leak"])

    error = caught.value
    assert (error.program, error.errno) == ("leak", errno.EACCES)
    assert "invalid mem access 'scalar'" in error.message
    assert "return *(volatile u32 *)(u64)skb->len;" in error.log
    assert "processed " in error.log


@pytest.mark.kernel
def test_check(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """Each program has its own verdict, in the order of the file, and no rejection is raised."""
    verdicts = kernel_engine.check(cipher_object, programs=["leak", "grow", "setup"])

    assert [(v.program, v.section, v.type, v.accepted, v.errno) for v in verdicts] == [
        ("setup", "syscall", ProgType.SYSCALL, True, 0),
        ("grow", "xdp", ProgType.XDP, True, 0),
        ("leak", "?tc", ProgType.SCHED_CLS, False, errno.EACCES),
    ]
    assert [bool(v.message) for v in verdicts] == [False, False, True]
    assert "invalid mem access 'scalar'" in verdicts[2].message
    assert all(v.insns_processed > 0 and f"processed {v.insns_processed} insns" in v.log for v in verdicts)


@pytest.mark.kernel
def test_licence_is_part_of_the_verdict(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """A program that calls kfuncs without a compatible licence is rejected as the kernel does."""
    spec = replace(load_spec(cipher_object), license="MIT")

    verdict = kernel_engine.check(spec, programs=["encrypt"])[0]
    assert verdict.message == "cannot call kernel function from non-GPL compatible program"
    assert verdict.errno == errno.EINVAL


@pytest.mark.kernel
def test_log_on_demand(cipher_object: bytes) -> None:
    """An engine that is asked to keeps the log of accepted programs."""
    with KernelEngine(log=True).load(cipher_object) as collection:
        assert "processed " in collection.programs["encrypt"].log
    with KernelEngine().load(cipher_object) as collection:
        assert collection.programs["encrypt"].log == ""


@pytest.mark.kernel
@pytest.mark.parametrize("programs", [None, ["leak"]])
def test_no_descriptor_is_left(
    kernel_engine: KernelEngine, cipher_object: bytes, programs: list[str] | None, bpf_fds: Callable[[], dict[str, str]]
) -> None:
    """After closing, and after a failure half-way, this process holds what it held before."""
    before = bpf_fds()
    for _ in range(3):
        try:
            with kernel_engine.load(cipher_object, programs=programs) as collection:
                collection.variables["key"].value = b"k" * 16
                assert len(bpf_fds()) > len(before)
        except VerifierError:
            assert programs == ["leak"]
        kernel_engine.check(cipher_object, programs=programs)

    assert bpf_fds() == before


@pytest.mark.kernel
def test_forgotten_collection_is_dropped(
    kernel_engine: KernelEngine, cipher_object: bytes, bpf_fds: Callable[[], dict[str, str]]
) -> None:
    """A collection that nobody closes gives up its descriptors with the last reference."""
    before = bpf_fds()
    collection = kernel_engine.load(cipher_object)
    assert len(bpf_fds()) > len(before)
    del collection

    assert bpf_fds() == before


@pytest.mark.kernel
def test_no_context_is_left(kernel_engine: KernelEngine, cipher_object: bytes) -> None:
    """Contexts in a closed collection's maps are freed, after a moment: the cipher loses as many users as it had won.

    The count is the whole machine's, so others may add or drop a few meanwhile.
    """
    contexts, others = 50, 10
    before = cipher_users("ecb(aes)")
    collections = [kernel_engine.load(cipher_object, programs=["setup"]) for _ in range(contexts)]
    for each in collections:
        assert each.programs["setup"].run(ctx=bytes(8)).retval == 0
    held = cipher_users("ecb(aes)")
    assert held >= before + contexts - others

    for each in collections:
        each.close()
    deadline = time.monotonic() + 10
    while cipher_users("ecb(aes)") > held - contexts + others:
        assert time.monotonic() < deadline, "contexts are still there"
        time.sleep(0.05)


@pytest.mark.kernel
def test_views(cipher: KernelCollection) -> None:
    """Typed maps and variables speak Python, and keep quiet about the context."""
    cipher.programs["setup"].run(ctx=bytes(8))
    cipher.programs["encrypt"].run(bytes(30))

    assert cipher.maps["contexts"].typed[0]["uses"] == 1
    assert cipher.maps["contexts"].typed[0]["cctx"] is None
    assert "key" not in repr(cipher)
    assert isinstance(cipher.spec.source, str)


@pytest.mark.kernel
def test_mappings_are_read_only(cipher: KernelCollection) -> None:
    """What a collection holds cannot be replaced."""
    for mapping in (cipher.programs, cipher.maps, cipher.variables):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]


def test_polite_without_bpf(monkeypatch: pytest.MonkeyPatch, cipher_object: bytes) -> None:
    """On another system the engine can be made, says why it cannot work, and refuses to load with that reason."""
    from bpfcrypto.kernel import probe, syscall

    for cached in (probe.unavailable, probe.capabilities, syscall._entry):
        cached.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    try:
        engine = KernelEngine()
        why_not = engine.capabilities.why_not
        assert why_not is not None
        assert "this is darwin" in why_not["kernel"]
        with pytest.raises(BpfCryptoError, match="this is darwin"):
            engine.load(cipher_object)
    finally:
        for cached in (probe.unavailable, probe.capabilities, syscall._entry):
            cached.cache_clear()
