"""How the AES of a process comes about: what is chosen, and that nothing wrong gets through the self-test."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from bpfcrypto.embedded.jit import aes, aes_native
from bpfcrypto.embedded.jit.aes_native import NativeAes, native_aes
from bpfcrypto.embedded.jit.aes_selftest import check
from bpfcrypto.embedded.jit.aes_targets import TARGETS, Target, choose, supported
from bpfcrypto.embedded.jit.compile import Host, Unit, compile_object, host
from bpfcrypto.errors import InternalError, NotSupportedError
from support.native_aes import NEEDS_AES, TARGET, llvm, native, runnable

CPUS = {
    "Zen 4": ({"aes", "vaes", "avx512f", "avx2"}, "x86_64", "vaes512"),
    "Zen 3": ({"aes", "vaes", "avx2"}, "x86_64", "vaes256"),
    "Skylake": ({"aes", "avx512f", "avx2"}, "x86_64", "aesni"),
    "Westmere": ({"aes", "sse4.2"}, "x86_64", "aesni"),
    "Core 2": ({"sse3"}, "x86_64", None),
    "Apple M1": ({"aes", "neon"}, "aarch64", "armv8"),
    "Raspberry Pi 4": ({"neon"}, "aarch64", None),
    "a mix-up": ({"aes", "vaes"}, "riscv64", None),
}


@pytest.mark.parametrize(("features", "architecture", "name"), CPUS.values(), ids=CPUS)
def test_choice(features: set[str], architecture: str, name: str | None) -> None:
    """The widest instructions of a CPU are taken, and it is said where there are none."""
    target = choose(features, architecture)

    assert (target and target.name) == name
    assert supported(features, architecture) == (name is not None)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("level", [0, 2])
def test_every_target_makes_an_object(target: Target, level: int) -> None:
    """LLVM takes the IR of each target, makes an object for its architecture, and finds every instruction it asks for."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = f"{target.architecture}-unknown-linux-gnu"
    features = ",".join(f"+{feature}" for feature in sorted(target.features))
    machine = llvm.Target.from_triple(triple).create_target_machine(features=features, opt=level or 1)
    module = llvm.parse_assembly(f'target triple = "{triple}"\n' + aes.module(target))
    module.verify()
    if level:
        builder = llvm.create_pass_builder(machine, llvm.PipelineTuningOptions(speed_level=level))
        builder.getModulePassManager().run(module, builder)

    assembly = machine.emit_assembly(module)
    assert machine.emit_object(module).startswith(b"\x7fELF")
    for symbol in aes.SYMBOLS:
        assert f"\n{symbol}:" in assembly
    for instruction in {"x86": ("aesenc", "aesdec", "aesimc"), "arm": ("aese", "aesmc", "aesd", "aesimc")}[
        target.family
    ]:
        assert instruction in assembly


@NEEDS_AES
def test_one_for_all() -> None:
    """The process has one, for the best instructions of this CPU."""
    features, architecture = host().features, host().architecture

    assert native_aes() is native_aes()
    assert native_aes().target is choose(features, architecture)
    assert repr(native_aes()) == f"<NativeAes {native_aes().target.name}>"


def test_no_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without AES is told so."""
    monkeypatch.setattr(aes_native, "host", lambda: Host("x86_64-none", "generic", frozenset({"sse3"}), "+sse3"))
    with pytest.raises(NotSupportedError, match="CPU with AES instructions"):
        aes_native._native_aes.__wrapped__()


def _flip(call: Callable[..., int], where: int) -> Callable[..., int]:
    """The same function, with one bit of what it wrote to an argument turned over."""

    def wrong(*arguments: object) -> int:
        result = call(*arguments)
        place = arguments[where]
        address = place if isinstance(place, int) else ctypes.addressof(place)  # type: ignore[arg-type]
        byte = ctypes.c_uint8.from_address(address + (20 if where == 2 and len(arguments) == 3 else 0))
        byte.value ^= 1
        return result

    return wrong


WRITTEN = {symbol: 3 if symbol == "aes_crypt" else 2 for symbol in aes.SYMBOLS} | {"aes_wipe": 0}


@NEEDS_AES
@pytest.mark.parametrize(("symbol", "where"), WRITTEN.items(), ids=WRITTEN)
def test_self_test_finds_a_wrong_bit(symbol: str, where: int) -> None:
    """One wrong bit from any function is an internal error."""
    good = native(runnable()[0]).calls
    check(good, "good")
    with pytest.raises(InternalError, match="AES in machine code"):
        check({**good, symbol: _flip(good[symbol], where)}, "bad")


@NEEDS_AES
@pytest.mark.parametrize("mode", ["encrypt", "decrypt"])
def test_self_test_looks_at_the_iv(mode: str) -> None:
    """An IV that is not left as the last ciphertext is an internal error."""
    good = native(runnable()[0]).calls
    symbol = f"aes_cbc_{mode}"
    with pytest.raises(InternalError, match="self-test") as caught:
        check({**good, symbol: _flip(good[symbol], 3)}, "bad")
    assert symbol in caught.value.state


@NEEDS_AES
def test_self_test_runs_when_the_code_is_made() -> None:
    """Code made from a wrong key schedule never becomes an AES."""
    wrong = aes.module(TARGET[native(runnable()[0]).target.name]).replace("i32 27", "i32 29")
    with pytest.raises(InternalError, match="failed its self-test"):
        NativeAes(native(runnable()[0]).target, Unit(compile_object(wrong), aes.SYMBOLS))
