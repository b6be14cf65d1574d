"""The crypto kfuncs as programs reach them: what they write, what they refuse, and what is a trap here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bpfcrypto.abi.helpers import HELPERS as HELPER_TABLE
from bpfcrypto.abi.kfuncs import KFUNCS, SUFFIXES, KfuncFlag
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.crypto.params import encode
from bpfcrypto.embedded.contexts import CryptoContexts
from bpfcrypto.embedded.dynptr import Dynptr, DynptrKind
from bpfcrypto.embedded.kfuncs import kfuncs
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.objects import Objects
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.embedded.state import RunState, error
from bpfcrypto.spec import ProgramSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bpfcrypto.abi.helpers import Helper

EINVAL = 22
PARAMS = bytes(encode("ecb(aes)", bytes(range(16))))
# AES-128 of the block 00..0f under the key 00..0f, by an independent implementation
PLAIN, CIPHER = bytes(range(16)), bytes.fromhex("0a940bb5416ef045f1c39458c653ea5a")


class Bench:
    """A run that can call kfuncs, with memory for everything they take."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.contexts = CryptoContexts(self.memory)
        self.run = RunState(self.memory, ProgramSpec("bench", "tc", ProgType.SCHED_CLS, ()))
        self.natives = kfuncs(self.contexts, Objects(self.memory, self.contexts.rcu))
        self.params = self.memory.new(512, "params")
        self.err = self.memory.new(4, "err")
        self.stack = self.memory.new(64, "stack")
        self.data = self.memory.new(64, "data")

    def call(self, name: str, *arguments: int) -> int:
        return self.natives[name](self.run, *arguments, *[0] * (5 - len(arguments)))

    def create(self, params: bytes = PARAMS, size: int = 408) -> tuple[int, int]:
        self.memory.span(self.params.base, len(params), write=True)[:] = params
        self.memory.store(self.err.base, 4, 0xDEAD)
        address = self.call("bpf_crypto_ctx_create", self.params.base, size, self.err.base)
        raw = self.memory.load(self.err.base, 4)
        return address, raw - (1 << 32) if raw >> 31 else raw

    def dynptr(self, slot: int, value: Dynptr) -> int:
        value.store(self.memory, self.stack.base + 16 * slot)
        return self.stack.base + 16 * slot


def test_err_is_written_on_success_and_failure() -> None:
    """0 for a context, the errno where there is none: a sentinel never survives."""
    bench = Bench()
    address, err = bench.create()

    assert (address != 0, err) == (True, 0)
    assert bench.create(size=407) == (0, -EINVAL)


def test_null_params_are_refused_and_null_err_is_a_trap() -> None:
    """The kernel answers EINVAL to the first and would write to address 0 in the second."""
    bench = Bench()

    assert bench.call("bpf_crypto_ctx_create", 0, 0, bench.err.base) == 0
    assert bench.memory.load(bench.err.base, 4) == error(EINVAL) & 0xFFFFFFFF
    with pytest.raises(AccessFault, match="NULL for 'err'"):
        bench.call("bpf_crypto_ctx_create", bench.params.base, 408, 0)
    assert bench.contexts.live == 0


def test_references_are_counted() -> None:
    """Acquire and release meet; the context goes with the last reference, and a stale address faults."""
    bench = Bench()
    address, _ = bench.create()

    assert bench.call("bpf_crypto_ctx_acquire", address) == address
    assert bench.call("bpf_crypto_ctx_release", address) == 0
    assert bench.contexts.live == 1
    assert bench.call("bpf_crypto_ctx_release", address) == 0
    assert bench.contexts.live == 0
    with pytest.raises(AccessFault):
        bench.call("bpf_crypto_ctx_release", address)


def test_encrypts_a_block_of_memory_in_place() -> None:
    """One dynptr as source and destination, NULL as IV."""
    bench = Bench()
    address, _ = bench.create()
    bench.memory.span(bench.data.base, 16, write=True)[:] = PLAIN
    whole = bench.dynptr(0, Dynptr(DynptrKind.LOCAL, bench.data.base, 16))

    assert bench.call("bpf_crypto_encrypt", address, whole, whole, 0) == 0
    assert bytes(bench.memory.span(bench.data.base, 16)) == CIPHER
    assert bench.call("bpf_crypto_decrypt", address, whole, whole, 0) == 0
    assert bytes(bench.memory.span(bench.data.base, 16)) == PLAIN


@pytest.mark.parametrize(
    ("offset", "allowed"), [(0, True), (24, True), (25, False), (40, False), (41, False), (48, False)]
)
def test_skb_ranges_must_be_linear(offset: int, allowed: bool) -> None:
    """Across, at and beyond the end of the linear part: EINVAL, and the packet is as it was."""
    bench = Bench()
    skb = SkBuff(bench.memory, bytes(64), linear=40)
    bench.run.packet = skb
    address, _ = bench.create()
    part = bench.dynptr(0, Dynptr(DynptrKind.SKB, skb.handle, 16, offset))

    assert bench.call("bpf_crypto_encrypt", address, part, part, 0) == (0 if allowed else error(EINVAL))
    assert (skb.to_bytes() == bytes(64)) is not allowed


@pytest.mark.parametrize(
    ("offset", "size", "allowed"), [(24, 16, True), (25, 16, False), (40, 16, True), (32, 32, False)]
)
def test_xdp_ranges_must_be_in_one_piece(offset: int, size: int, allowed: bool) -> None:
    """The whole destination counts, also where the source is shorter."""
    bench = Bench()
    frame = XdpFrame(bench.memory, bytes(64), linear=40)
    bench.run.packet = frame
    address, _ = bench.create()
    src = bench.dynptr(0, Dynptr(DynptrKind.LOCAL, bench.data.base, 16))
    dst = bench.dynptr(1, Dynptr(DynptrKind.XDP, frame.handle, size, offset))

    assert bench.call("bpf_crypto_encrypt", address, src, dst, 0) == (0 if allowed else error(EINVAL))


def test_read_only_destinations_are_refused() -> None:
    """EINVAL before anything is written."""
    bench = Bench()
    address, _ = bench.create()
    src = bench.dynptr(0, Dynptr(DynptrKind.LOCAL, bench.data.base, 16))
    dst = bench.dynptr(1, Dynptr(DynptrKind.LOCAL, bench.data.base, 16, rdonly=True))

    assert bench.call("bpf_crypto_encrypt", address, src, dst, 0) == error(EINVAL)
    assert bytes(bench.memory.span(bench.data.base, 16)) == bytes(16)


@pytest.mark.parametrize("wrong", ["data", "stack", "null"])
def test_what_is_no_context_is_a_trap(wrong: str) -> None:
    """An address that is not a context's cannot be used as one."""
    bench = Bench()
    address = {"data": bench.data.base, "stack": bench.stack.base, "null": 0}[wrong]
    whole = bench.dynptr(0, Dynptr(DynptrKind.LOCAL, bench.data.base, 16))

    with pytest.raises(AccessFault, match="not a crypto context"):
        bench.call("bpf_crypto_encrypt", address, whole, whole, 0)


def test_the_table_of_kfuncs_is_well_formed() -> None:
    """Names are keys, sizes follow memory, suffixes are known, ACQUIRE kfuncs return pointers."""
    for name, kfunc in KFUNCS.items():
        assert kfunc.name == name
        assert kfunc.types
        assert all(param.suffix in ("", *SUFFIXES) for param in kfunc.params)
        for before, param in zip((None, *kfunc.params), kfunc.params, strict=False):
            if param.suffix in ("__sz", "__szk"):
                assert before is not None
                assert before.type.endswith("*")
        if kfunc.flags & KfuncFlag.ACQUIRE:
            assert kfunc.result.endswith("*")


@pytest.mark.kernel
def test_kernel_allows_calls_of_exactly_the_program_types_of_the_tables() -> None:
    """A bare call is refused as such in the types that a row leaves out, and in no other."""
    from bpfcrypto.isa.insn import Insn
    from bpfcrypto.isa.opcode import CALL
    from bpfcrypto.kernel.probe import PROGRAM_TYPES, can_call

    def allowed(insn: Insn) -> set[ProgType]:
        return {kind for kind in PROGRAM_TYPES if can_call(kind, insn)}

    known: Mapping[str, Helper] = {helper.name: helper for helper in HELPER_TABLE.values()}
    wrong = [
        name
        for name, helper in known.items()
        if helper.types and allowed(Insn(CALL, imm=helper.id)) - _tracing(name) != helper.types
    ]
    assert wrong == []


def _tracing(name: str) -> set[ProgType]:
    """Syscall programs know these only in their tracing form, which they cannot call."""
    return {ProgType.SYSCALL} if name in ("bpf_sk_storage_get", "bpf_sk_storage_delete") else set()
