"""skb and xdp frames: geometry, addresses and the contexts that programs see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcrypto.abi.ctx import LAYOUTS, SK_BUFF, XDP_MD
from bpfcrypto.abi.progs import ProgType
from bpfcrypto.embedded.memory import AccessFault, Memory
from bpfcrypto.embedded.packet_skb import SkBuff
from bpfcrypto.embedded.packet_xdp import XdpFrame
from bpfcrypto.isa.codec import encode
from bpfcrypto.isa.insn import Insn

if TYPE_CHECKING:
    from bpfcrypto.abi.ctx import CtxLayout

FRAME = bytes(range(100))
LOADS = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
STORES = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}


def load(memory: Memory, packet: SkBuff | XdpFrame, layout: CtxLayout, name: str) -> int:
    field = layout.field(name)
    return memory.load(packet.handle + field.offset, field.size)


def test_data_pointers_bound_the_packet() -> None:
    """What lies between data and data_end is the packet; the byte behind it faults."""
    memory = Memory()
    skb = SkBuff(memory, FRAME)
    data, end = load(memory, skb, SK_BUFF, "data"), load(memory, skb, SK_BUFF, "data_end")

    assert bytes(memory.span(data, end - data)) == FRAME
    with pytest.raises(AccessFault):
        memory.load(end, 1)
    with pytest.raises(AccessFault):
        memory.load(data - 1, 1)


def test_old_addresses_fault_after_a_reallocation() -> None:
    """Growing an skb beyond its room moves it: the old address is nobody's memory."""
    memory = Memory()
    skb = SkBuff(memory, FRAME)
    before = load(memory, skb, SK_BUFF, "data")

    assert skb.change_tail(4000, 0) == 0
    after = load(memory, skb, SK_BUFF, "data")
    assert after != before
    with pytest.raises(AccessFault):
        memory.load(before, 1)
    assert bytes(memory.span(after, 100)) == FRAME


def test_cut_bytes_are_out_of_reach() -> None:
    """Behind the new end of a cut packet nothing can be read."""
    memory = Memory()
    frame = XdpFrame(memory, FRAME)
    data = load(memory, frame, XDP_MD, "data")

    assert frame.adjust_tail(-60) == 0
    assert memory.load(data + 39, 1) == 39
    with pytest.raises(AccessFault):
        memory.load(data + 40, 1)


@pytest.mark.parametrize("packet", [SkBuff, XdpFrame])
def test_an_access_that_is_no_field_faults(packet: type[SkBuff] | type[XdpFrame]) -> None:
    """A context has no bytes but its fields, and read-only fields take no stores."""
    memory = Memory()
    made = packet(memory, FRAME)
    layout = SK_BUFF if packet is SkBuff else XDP_MD

    for size in (1, 2, 4, 8):
        for offset in range(layout.size - size + 1):
            if layout.find(offset, size) is None:
                with pytest.raises(AccessFault):
                    memory.load(made.handle + offset, size)
            if layout.find(offset, size, write=True) is None:
                with pytest.raises(AccessFault):
                    memory.store(made.handle + offset, size, 1)


@pytest.mark.kernel
@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda kind: kind.name)
def test_kernel_allows_exactly_the_accesses_of_the_table(kind: ProgType) -> None:
    """For every offset, size and direction: the kernel loads such a program if and only if the table has the access."""
    from bpfcrypto.kernel import bpf
    from bpfcrypto.kernel.bpf import LoadRequest

    def loads(*insns: Insn) -> bool:
        outcome = bpf.prog_load(LoadRequest(kind, encode((*insns, Insn(0xB7), Insn(0x95)))))
        if outcome.fd is not None:
            outcome.fd.close()
        return outcome.fd is not None

    layout = LAYOUTS[kind]
    wrong = [
        (offset, size, write)
        for size in (1, 2, 4, 8)
        for offset in range(layout.size + 8)
        for write in (False, True)
        if loads(Insn(0xB7), Insn(STORES[size], 1, 0, offset) if write else Insn(LOADS[size], 0, 1, offset))
        != (layout.find(offset, size, write=write) is not None)
    ]
    assert wrong == []


def test_paged_bytes_are_not_contiguous_until_pulled() -> None:
    """Ranges in or across the paged part have no address; after a pull they have, and no byte has changed."""
    memory = Memory()
    skb = SkBuff(memory, FRAME, linear=40)

    assert skb.size == 100
    assert skb.pointer(24, 16) is not None
    assert skb.pointer(25, 16) is None
    assert skb.pointer(40, 16) is None
    assert skb.pointer(60, 16) is None  # the kernel gives an address here, of memory that is not the packet
    assert skb.load(30, 20) == FRAME[30:50]
    assert skb.pull(76) == 0
    assert skb.pointer(60, 16) is not None
    assert skb.to_bytes() == FRAME


OPERATIONS = st.one_of(
    st.tuples(st.just("change_tail"), st.integers(0, 400), st.just(0)),
    st.tuples(st.just("change_head"), st.integers(0, 100), st.just(0)),
    st.tuples(st.just("pull"), st.integers(0, 400)),
    st.tuples(st.just("store"), st.integers(0, 300), st.binary(max_size=40)),
)


@given(st.integers(14, 100), st.lists(OPERATIONS, max_size=12))
def test_an_skb_is_its_bytes_wherever_they_lie(linear: int, operations: list[tuple[object, ...]]) -> None:
    """An skb with a paged part behaves as a linear one, and its memory shows exactly its linear part."""
    split, whole = SkBuff(memory := Memory(), FRAME, linear=linear), SkBuff(Memory(), FRAME)
    for name, *arguments in operations:
        outcome = getattr(split, str(name))(*arguments)

        assert outcome == getattr(whole, str(name))(*arguments)
        assert split.to_bytes() == whole.to_bytes()
        data = load(memory, split, SK_BUFF, "data")
        assert load(memory, split, SK_BUFF, "data_end") == data + split.linear_size
        assert bytes(memory.span(data, split.linear_size)) == split.to_bytes()[: split.linear_size]


ADJUSTMENTS = st.tuples(st.sampled_from(("adjust_head", "adjust_tail")), st.integers(-120, 120))


@given(st.integers(0, 100), st.lists(ADJUSTMENTS, max_size=12))
def test_a_frame_in_fragments_is_its_bytes(linear: int, adjustments: list[tuple[str, int]]) -> None:
    """Load, pointer and the packet's bytes agree, whatever was adjusted."""
    frame = XdpFrame(memory := Memory(), FRAME, linear=linear)
    for name, delta in adjustments:
        getattr(frame, name)(delta)
        data = frame.to_bytes()

        assert len(data) == frame.size
        for offset in range(0, frame.size, 7):
            size = min(11, frame.size - offset)
            assert frame.load(offset, size) == data[offset : offset + size]
            address = frame.pointer(offset, size)
            if address is not None:
                assert bytes(memory.span(address, size)) == data[offset : offset + size]
