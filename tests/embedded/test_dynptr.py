"""Dynptrs whose 16 bytes the program wrote itself: a fault, never harm."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.contexts import CryptoContexts
from bpfcrypto.embedded.dynptr import DYNPTR_SIZE, MAX_SIZE, Dynptr, DynptrKind
from bpfcrypto.embedded.helpers_dynptr import NATIVES as HELPERS
from bpfcrypto.embedded.kfuncs import kfuncs
from bpfcrypto.embedded.memory import AccessFault, Memory, Region
from bpfcrypto.embedded.objects import Objects
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.state import RunState, error
from bpfcrypto.spec import ProgramSpec

SPEC = ProgramSpec("forger", "tc", ProgType.SCHED_CLS, ())
EFAULT, EINVAL, E2BIG = 14, 22, 7
CRYPTO = ("bpf_crypto_encrypt", "bpf_crypto_decrypt")


class Bench:
    """A run with an skb, a stack for dynptrs and some memory."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.run = RunState(self.memory, SPEC)
        self.skb = SkBuff(self.memory, bytes(range(64)))
        self.run.packet = self.skb
        self.stack: Region = self.memory.new(64, "stack")
        self.plain: Region = self.memory.new(64, "plain")
        contexts = CryptoContexts(self.memory)
        self.natives = {**HELPERS, **kfuncs(contexts, Objects(self.memory, contexts.rcu))}

    def call(self, name: str, *arguments: int) -> int:
        return self.natives[name](self.run, *arguments, *[0] * (5 - len(arguments)))

    def forge(self, raw: bytes) -> int:
        self.memory.span(self.stack.base, DYNPTR_SIZE, write=True)[:] = raw
        return self.stack.base


@pytest.mark.parametrize(
    "dynptr",
    [
        Dynptr(DynptrKind.LOCAL, 0x1234, 16),
        Dynptr(DynptrKind.RINGBUF, 1 << 63, 16),
        Dynptr(DynptrKind.SKB, 0x1234, 16),
        Dynptr(DynptrKind.XDP, 0x1234, 16),
    ],
    ids=lambda dynptr: dynptr.kind.name,
)
def test_a_dynptr_to_nowhere_faults(dynptr: Dynptr) -> None:
    """Reading and writing through an address that is not this run's is an AccessFault."""
    bench = Bench()
    dynptr.store(bench.memory, bench.stack.base)

    with pytest.raises(AccessFault):
        bench.call("bpf_dynptr_read", bench.plain.base, 4, bench.stack.base)
    with pytest.raises(AccessFault):
        bench.call("bpf_dynptr_write", bench.stack.base, 0, bench.plain.base, 4)
    with pytest.raises(AccessFault):
        bench.call("bpf_dynptr_slice", bench.stack.base, 0, 0, 4)


def test_a_dynptr_larger_than_its_memory_faults() -> None:
    """The size in the dynptr does not widen the memory."""
    bench = Bench()
    Dynptr(DynptrKind.LOCAL, bench.plain.base, 65).store(bench.memory, bench.stack.base)

    assert bench.call("bpf_dynptr_slice", bench.stack.base, 0, 0, 64) == bench.plain.base
    with pytest.raises(AccessFault):
        bench.call("bpf_dynptr_slice", bench.stack.base, 1, 0, 64)


def test_a_dynptr_outlives_its_memory_without_harm() -> None:
    """Once the memory is gone, the dynptr faults."""
    bench = Bench()
    bench.call("bpf_dynptr_from_mem", bench.plain.base, 64, 0, bench.stack.base)
    bench.memory.unmap(bench.plain)
    target = bench.memory.new(8, "target")

    with pytest.raises(AccessFault):
        bench.call("bpf_dynptr_read", target.base, 4, bench.stack.base)


def test_an_xdp_dynptr_over_an_skb_reads_the_packet_of_the_run() -> None:
    """The kind is not what decides: the handle has to be that of the run's packet."""
    bench = Bench()
    Dynptr(DynptrKind.XDP, bench.skb.handle, 64).store(bench.memory, bench.stack.base)

    assert bench.call("bpf_dynptr_read", bench.plain.base, 4, bench.stack.base, 8) == 0
    assert bytes(bench.memory.span(bench.plain.base, 4)) == bytes(range(8, 12))


def test_a_range_behind_a_cut_skb_is_refused() -> None:
    """Where the kernel's slice gives an address beyond the linear part, there is none."""
    bench = Bench()
    bench.call("bpf_dynptr_from_skb", bench.skb.handle, 0, bench.stack.base)
    assert bench.skb.change_tail(32, 0) == 0

    for offset in (17, 32, 33, 48):
        assert bench.call("bpf_dynptr_slice", bench.stack.base, offset, 0, 16) == 0
        assert bench.call("bpf_dynptr_read", bench.plain.base, 16, bench.stack.base, offset) == error(EFAULT)


def test_read_only_dynptrs_refuse_writes() -> None:
    """Bit 31 of the packed word: no write, no address for writing."""
    bench = Bench()
    Dynptr(DynptrKind.LOCAL, bench.plain.base, 16, rdonly=True).store(bench.memory, bench.stack.base)

    assert bench.call("bpf_dynptr_is_rdonly", bench.stack.base) == 1
    assert bench.call("bpf_dynptr_write", bench.stack.base, 0, bench.plain.base, 4) == error(EINVAL)
    assert bench.call("bpf_dynptr_slice_rdwr", bench.stack.base, 0, 0, 4) == 0
    assert bench.call("bpf_dynptr_data", bench.stack.base, 0, 4) == 0
    assert bench.call("bpf_dynptr_slice", bench.stack.base, 0, 0, 4) == bench.plain.base


@given(st.sampled_from(DynptrKind), st.integers(1, MAX_SIZE), st.integers(0, 2**32 - 1), st.booleans())
def test_sixteen_bytes_hold_a_dynptr(kind: DynptrKind, size: int, offset: int, rdonly: bool) -> None:
    """What is stored comes back."""
    memory = Memory()
    stack = memory.new(DYNPTR_SIZE, "stack")
    dynptr = Dynptr(kind, 0x7FFF_1234_5678 if kind else 0, size, offset, rdonly)
    dynptr.store(memory, stack.base)

    assert Dynptr.load(memory, stack.base) == dynptr


ANY_BYTES = st.binary(min_size=16, max_size=16)
ANY_PARTS = st.builds(
    lambda data, size, kind, offset: struct.pack("<QII", data, size | kind << 28, offset),
    st.integers(0, 2),  # a place that exists, put in below
    st.integers(0, 128),
    st.integers(0, 15),
    st.integers(0, 128),
)


@given(st.one_of(ANY_BYTES, ANY_PARTS), st.integers(0, 2**32 - 1), st.integers(0, 80), st.data())
def test_any_bytes_are_a_value_or_a_fault(raw: bytes, offset: int, size: int, data: st.DataObject) -> None:
    """Whatever a program writes over a dynptr, every call of it ends in a value or an AccessFault."""
    bench = Bench()
    places = (bench.skb.handle, bench.plain.base, bench.stack.base)
    where = int.from_bytes(raw[:8], "little")
    if where < len(places):
        raw = places[where].to_bytes(8, "little") + raw[8:]
    address = bench.forge(raw)
    name = data.draw(st.sampled_from(sorted(name for name in bench.natives if "dynptr" in name or name in CRYPTO)))
    arguments = {
        "bpf_dynptr_read": (bench.plain.base, size % 64, address, offset),
        "bpf_dynptr_write": (address, offset, bench.plain.base, size % 64),
        "bpf_dynptr_data": (address, offset, size),
        "bpf_dynptr_slice": (address, offset, bench.plain.base, size % 64),
        "bpf_dynptr_slice_rdwr": (address, offset, bench.plain.base, size % 64),
        "bpf_dynptr_adjust": (address, offset, size),
        "bpf_dynptr_clone": (address, bench.stack.base + 16),
    }.get(name, (address, address, address, address))
    try:
        result = bench.call(name, *arguments)
    except AccessFault:
        return

    assert 0 <= result < 2**64
